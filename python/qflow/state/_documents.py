"""The documents of a home: made, opened once each, compacted in the background, erased."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio

from qflow.clock import Clock, SystemClock, random_bytes
from qflow.errors import (
    BusyError,
    DocumentNotFoundError,
    ErasedError,
    UnavailableError,
)
from qflow.state import _document_rows as rows
from qflow.state._document import Document
from qflow.state._document_care import Care
from qflow.state._document_check import check_documents
from qflow.state._document_form import Owner, document_id
from qflow.state._document_live import Live
from qflow.state._document_load import Identity, Loaded, load
from qflow.state._document_ports import DocumentKeys, Forget, Members
from qflow.state._document_store import Store
from qflow.state._document_told import Telling
from qflow.state._document_words import ALIVE, ERASED, ERASING, CompactionLimits, Listed
from qflow.state._ports import Pins, Signer, Tell
from qflow.state._saved import Finding
from qflow.trust import public_of_did

if TYPE_CHECKING:
    from qflow.storage import SqliteBlocks

OPEN_MAX: Final = 1024
"""Documents in memory at once."""


class Documents:
    """The CRDT documents in `state.db`. Entered: they can be opened. Left: everything is saved,
    nothing runs, and every `Document` is closed.

    `signer` is whose replica this is: without one documents are read only. `members` gives the
    replicas whose changes are taken: this one alone, unless told otherwise. `pins` hears what other
    stores are to have, `tell` what happened, `forget` of a document and the number of its key
    before that is destroyed. All calls belong to one event loop; several processes may have one
    `state.db` open, and see what the other wrote when they write.
    """

    def __init__(
        self,
        blocks: SqliteBlocks,
        *,
        subnet: str,
        keys: DocumentKeys,
        signer: Signer | None,
        members: Members = lambda name: (),
        pins: Pins | None = None,
        tell: Tell | None = None,
        forget: Forget = lambda doc, key: None,
        clock: Clock | None = None,
        limits: CompactionLimits | None = None,
        quorum: int | None = None,
    ) -> None:
        self._store = Store(blocks, subnet)
        self._keys, self._members, self._tell, self._forget = keys, members, tell, forget
        self._clock = clock or SystemClock()
        public = bytes(32) if signer is None else public_of_did(signer.did)
        self._node = "" if signer is None else signer.did
        seed = None if signer is None else signer.seed
        self._me = Identity(public, seed, random_bytes(16))
        self._care = Care(
            self._store, self._clock, limits or CompactionLimits(), pins=pins, quorum=quorum
        )
        self._open: dict[str, Document] = {}
        self._opening: dict[str, anyio.Lock] = {}
        self._entered = False

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._finish_erasures)
        await self._care.__aenter__()
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        with anyio.CancelScope(shield=True):
            for document in [*self._open.values()]:
                await document.close()
        await self._care.__aexit__(kind, error, trace)

    # -- finding ---------------------------------------------------------------------------

    def id_of(self, name: str) -> bytes:
        """The id of a document, whether it is here or not. Raises ValueError for a bad name."""
        return document_id(self._store.subnet, name)

    async def list(self) -> Sequence[Listed]:
        """All documents of this home by name, those too that were erased; nothing is verified."""
        return await self._store.database.read_async(rows.listed)

    def key_number(self, doc: bytes) -> int | None:
        """The number of a document's data key by its id; None when it is not here; blocks."""
        row = self._store.database.read(lambda db: rows.row_of(db, doc))
        return None if row is None or row.state != ALIVE else row.key

    # -- opening ---------------------------------------------------------------------------

    async def open(self, name: str, *, create: bool = True) -> Document:
        """The document of this name, made when there is none; the same object while it is open.

        Every block and signature of it is verified first. Raises DocumentNotFoundError (there is
        none and `create` is False), VerificationError, which names the block that is damaged or
        missing: it stays closed then; ErasedError (it was deleted), BusyError (OPEN_MAX are open),
        UnavailableError (its key is not here), ValueError for a bad name.
        """
        doc = self.id_of(name)
        async with self._one_opening(name):
            self._check_entered()
            if (found := self._open.get(name)) is not None and not found.closed:
                return found
            if len(self._open) >= OPEN_MAX:
                raise BusyError(f"{OPEN_MAX} documents are open: close some")
            telling = Telling(self._tell, doc, name, self._node)
            made = partial(self._load, doc, name, create, telling)
            row, owner, loaded = await anyio.to_thread.run_sync(made)
            self._check_entered()
            live = Live(
                self._store, row, owner, self._me, loaded,
                members=self._members, telling=telling, care=self._care,
            )  # fmt: skip
            self._open[name] = document = Document(live)
            live.on_close = partial(self._closed, name)
            self._care.look_at(live)
            return document

    @asynccontextmanager
    async def _one_opening(self, name: str) -> AsyncGenerator[None, None]:
        """Others that open this document wait. The lock is there as long as anybody has it or waits
        for it: two locks would make two of one document."""
        lock = self._opening.setdefault(name, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._opening.pop(name, None)

    def _closed(self, name: str) -> None:
        self._open.pop(name, None)

    def _load(
        self, doc: bytes, name: str, create: bool, telling: Telling
    ) -> tuple[rows.Row, Owner, Loaded]:
        row = self._store.database.read(lambda db: rows.row_of(db, doc))
        if row is None:
            if not create:
                raise DocumentNotFoundError(f"no document is called {name!r:.200}")
            row = self._create(doc, name, telling)
        if row.state != ALIVE:
            raise ErasedError(f"document {name} was deleted; a name is used once")
        owner = Owner(self._store.subnet, doc, self._keys.key_of(doc, row.key))
        return row, owner, load(self._store, row, owner, self._me)

    def _create(self, doc: bytes, name: str, telling: Telling) -> rows.Row:
        if self._me.seed is None:
            raise UnavailableError("nobody is there to sign: no document is made")
        key = self._keys.take()
        row = self._store.create(name, Owner(self._store.subnet, doc, key), self._clock.now_ms())
        telling.created()
        return row

    def _check_entered(self) -> None:
        if not self._entered:
            raise UnavailableError("documents are closed")

    # -- deleting --------------------------------------------------------------------------

    async def delete(self, name: str) -> bool:
        """Erase a document: its blocks go, its pins are released, its key is destroyed. Durable on
        return; cut short, it is finished at the next opening. False when there is none.

        The name is never used again: this replica's old changes may still be elsewhere, and a new
        beginning would contradict them. Raises OSError or CorruptError of the keyring: then the
        document is gone and its key is destroyed at the next opening.
        """
        doc = self.id_of(name)
        if (document := self._open.get(name)) is not None:
            await document.close()
        with anyio.CancelScope(shield=True):
            erased = await anyio.to_thread.run_sync(self._erase, doc)
            self._care.wake()
        if erased:
            Telling(self._tell, doc, name, self._node).deleted()
        return erased

    def _erase(self, doc: bytes) -> bool:
        row = self._store.database.read(lambda db: rows.row_of(db, doc))
        if row is None or row.state == ERASED:
            return False
        self._store.database.write(lambda db: self._care.begin_erasing(db, doc))
        self._finish_erasing(row)
        return True

    def _finish_erasing(self, row: rows.Row) -> None:
        self._forget(row.id, row.key)
        self._keys.shred([row.key])
        self._store.database.write(lambda db: rows.set_state(db, row.number, ERASED))

    def _finish_erasures(self) -> None:
        """What a crash cut short, and what a copy of the keyring brought back."""
        found = self._store.database.read(rows.rows)
        for row in found:
            brought_back = row.state == ERASED and self._keys.has(row.key)
            if row.state == ERASING or brought_back:
                self._finish_erasing(row)

    # -- care ------------------------------------------------------------------------------

    async def verify(self) -> Sequence[Finding]:
        """Check every document: its blocks, their order, seals and signatures. What is found is
        gathered, not raised."""
        return await anyio.to_thread.run_sync(check_documents, self._store, self._keys)

    async def publish(self) -> int:
        """Have other stores pin every document as it is now; how many there were to tell of. Also
        done in the background and at the end."""
        return await self._care.publish()

    async def settle(self) -> None:
        """Return when no compaction runs and none is due, for tests and for an orderly pause."""
        await self._care.settle()
