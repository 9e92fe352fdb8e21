"""A document in memory and its log on the disk: first saved, then shown."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import msgspec

from qflow import _core
from qflow.errors import PoisonedError, StaleError, UnavailableError, VerificationError
from qflow.state import _document_rows as rows
from qflow.state._document_attestation import Attestation
from qflow.state._document_evidence import Evidence, evidence_in, unsealed
from qflow.state._document_form import Owner, operation_digest
from qflow.state._document_load import Identity, Loaded, load
from qflow.state._document_ports import Members
from qflow.state._document_store import Added, Store, Tail, added_blocks
from qflow.state._document_told import Telling
from qflow.state._document_watch import Watchers
from qflow.state._document_words import CONFLICTS_MAX, Applied, Compacted, Conflict, is_under

if TYPE_CHECKING:
    from qflow._core import Applied as CoreApplied
    from qflow._core import CheckedChanges, CrdtDocument, CrdtTransaction
    from qflow.state._document_care import Care

T = TypeVar("T")

CHANGES_INLINE: Final = 16
OPERATIONS_INLINE: Final = 4096
"""Taken in the event loop; more of them in a thread."""
INLINE_BYTES: Final = 32 << 10
"""Of changes that are sealed, checked and applied in the event loop; more of them in a thread."""


class Live:
    """One open document. All calls belong to one event loop."""

    def __init__(
        self,
        store: Store,
        row: rows.Row,
        owner: Owner,
        me: Identity,
        loaded: Loaded,
        *,
        members: Members,
        telling: Telling,
        care: Care,
    ) -> None:
        self.store, self.row, self.owner, self.me = store, row, owner, me
        self.core: CrdtDocument = loaded.core
        self.tail = loaded.tail
        self.watchers = Watchers()
        self.closed = False
        self._members, self.telling, self.care = members, telling, care
        self._evidence: set[bytes] = set()
        self._waiting: set[bytes] = set()
        """CIDs of changes that are on the disk and wait for others."""
        self.on_close: Callable[[], None] = lambda: None
        self._lock = anyio.Lock()

    @property
    def members(self) -> list[bytes]:
        """The replicas whose changes are taken, as of now."""
        return sorted({self.me.replica, *self._members(self.row.name)})

    def check_open(self) -> None:
        """Raise UnavailableError when the document was closed."""
        if self.closed:
            raise UnavailableError(f"document {self.row.name} was closed")

    def conflicts(self, path: str, limit: int) -> list[Conflict]:
        """See `Document.conflicts`."""
        self.check_open()
        found = [Conflict(**one) for one in self.core.conflicts(limit + 1)]
        if len(found) > limit:
            raise UnavailableError(
                f"document {self.row.name} has more than {limit} conflicts: they are not all told"
            )
        return [one for one in found if is_under(one.path, path)]

    # -- writing ---------------------------------------------------------------------------

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[CrdtDocument, None]:
        """The document, for one who changes it; others wait."""
        async with self._lock:
            self.check_open()
            yield self.core

    async def commit(self, draft: CrdtTransaction, op: bytes | None) -> None:
        """Sign, save and then show what was written. Within `writing`."""
        if self.me.seed is None:
            raise UnavailableError("nobody is there to sign: nothing is written")
        if op is not None and self.core.knows_operation(op):
            return
        close = partial(draft.close, self.me.seed, op)
        sealed = await _run(close, len(draft) > OPERATIONS_INLINE)
        digest = None if op is None else operation_digest(self.row.id, op)
        # Not to be cancelled between saving and showing: the next change would be signed in the
        # place of one that is on the disk.
        with anyio.CancelScope(shield=True):
            if not len(sealed) or not await self._save(sealed, digest):
                return
            applied = await self.show(sealed)
        self.watchers.tell(applied.touched, local=True, operations=applied.operations)
        self.care.look_at(self)

    async def apply(self, packs: Sequence[bytes]) -> Applied:
        """See `Document.apply`."""
        check = partial(_check, packs, self.row.id, self.members)
        checked = await anyio.to_thread.run_sync(check)
        async with self.writing():
            with anyio.CancelScope(shield=True):
                done = _sum([await self._take(one) for one in checked])
                done = msgspec.structs.replace(done, waiting=self.core.stats()["waiting"])
                if done.applied:
                    await self.notice()
        self.telling.refused(done.refused)
        self.care.look_at(self)
        return done

    async def _take(self, checked: CheckedChanges) -> Applied:
        """Save and show what is new of changes that verify. How many wait, the caller counts."""
        fresh = await _run(partial(self._fresh, checked), len(checked) > CHANGES_INLINE)
        refused = [*checked.refused]
        known = len(checked) - len(fresh)
        applied = operations = 0
        if len(fresh):
            await self._save(fresh, None)
            shown = await self.show(fresh)
            applied, operations = shown.applied, shown.operations
            refused += shown.refused
            known += shown.known
            if shown.waiting or self._waiting:
                self._waiting.update(fresh.cids)
                self._waiting = {c for c in self._waiting if not self.core.knows_change(c)}
                self._waiting -= {cid for cid, _ in refused}
            if shown.forked:
                await self.keep_evidence()
            self.watchers.tell(shown.touched, local=False, operations=operations)
        return Applied(
            applied=applied, known=known, waiting=0, refused=tuple(refused), operations=operations
        )

    def _fresh(self, checked: CheckedChanges) -> CheckedChanges:
        """Those that are not here and do not wait: a peer that sends the same again does not make
        the log longer."""
        knows, waiting = self.core.knows_change, self._waiting
        return checked.only([cid for cid in checked.cids if cid not in waiting and not knows(cid)])

    async def _save(self, checked: CheckedChanges, digest: bytes | None) -> bool:
        """Add changes to the log, durable on return; False when the operation was done already.

        Raises StaleError when another process wrote first: what it wrote is read then."""
        append = self.store.append
        doc, head = self.row.id, self.tail.head
        try:
            pack = checked.pack()
            make = partial(
                added_blocks,
                self.owner,
                self.tail.number + 1,
                head,
                [(pack, checked.operations)] if len(checked) else [],
            )
            added = await _run(make, len(pack) > INLINE_BYTES)
            saved = await self.store.database.write_async(
                lambda db: append(db, doc, head, added, digest)
            )
        except StaleError:
            await self.refresh()
            raise
        except PoisonedError:  # it may be on the disk: nobody goes on from here
            raise
        except BaseException:
            self.core.abandon()
            raise
        if not saved:
            self.core.abandon()
        else:
            self.tail = self.tail.with_blocks(added.rows)
        return saved

    async def show(self, checked: CheckedChanges) -> CoreApplied:
        """Apply what was saved."""
        return await _run(partial(self.core.apply, checked), len(checked) > CHANGES_INLINE)

    async def notice(self) -> None:
        """Tell of new conflicts. Looks at all that there are: once for what one call brought in."""
        if self.telling.is_heard:
            found = await anyio.to_thread.run_sync(self.core.conflicts, CONFLICTS_MAX)
            self.telling.conflicts([Conflict(**one) for one in found])

    async def keep_evidence(self) -> None:
        """Keep on the disk what shows that replicas equivocated; told after that."""
        for one in [evidence_in(pack, self.row.id) for pack in self.core.evidence()]:
            if one.digest in self._evidence:
                continue
            keep = partial(one.keep, self.row.number, self.owner)
            if await self.store.database.write_async(keep):
                self.telling.equivocation(one.replica, one.changes)
            self._evidence.add(one.digest)

    async def refresh(self) -> None:
        """Read what another process wrote. Within `writing`.

        Raises VerificationError when it is not good: the document is closed then."""
        read = partial(load, self.store, self.row, self.owner, self.me)
        try:
            loaded = await anyio.to_thread.run_sync(read)
        except BaseException:
            self._shut()
            raise
        self.core, self.tail = loaded.core, loaded.tail
        self.watchers.tell([""], local=False, operations=0)

    async def put_in_place(self, core: CrdtDocument, base: Added, added: Added) -> None:
        """Have another base and log; their parts are stored. Within `writing`.

        Raises StaleError when another process wrote first: what it wrote is read then."""
        replace = partial(
            self.store.replace,
            doc=self.row.id,
            head=self.tail.head,
            base=base._replace(parts=[]),
            added=added._replace(parts=[]) if added.blocks else None,
        )
        try:
            await self.store.database.write_async(replace)
        except StaleError:
            await self.refresh()
            raise
        first = base.rows[0]
        self.core = core
        if not core.stats()["waiting"]:
            self._waiting.clear()
        self.tail = Tail(first.cid, first.number, first.number).with_blocks(added.rows)

    # -- care ------------------------------------------------------------------------------

    def tail_stats(self) -> dict[str, int]:
        """Of the log behind the base."""
        tail = self.tail
        return {
            "log_blocks": tail.blocks,
            "log_bytes": tail.size_bytes,
            "log_operations": tail.operations,
        }

    async def compact(self) -> Compacted:
        """See `Document.compact`."""
        return await self.care.compact(self)

    async def attestations(self) -> list[bytes]:
        """See `Document.attestations`."""
        return await anyio.to_thread.run_sync(self.attestations_now)

    def attestations_now(self) -> list[bytes]:
        """The same; blocks."""
        return self.store.database.read(partial(rows.attestations_of, number=self.row.number))

    async def evidence(self) -> list[Evidence]:
        """See `Document.evidence`."""
        found = await self.store.database.read_async(
            partial(rows.evidence_of, number=self.row.number)
        )
        return unsealed(found, self.owner)

    async def take_attestation(self, data: bytes) -> None:
        """Keep what a member says; raises VerificationError for anybody else."""
        one = Attestation.parse(data)
        if one.doc != self.row.id or one.replica not in self.members:
            raise VerificationError("an attestation of another document, or of no member")
        await self.keep_attestation(one)

    async def keep_attestation(self, one: Attestation) -> None:
        """Keep it in the place of what its member said before; durable on return."""
        number, replica, data = self.row.number, one.replica, one.encode()
        put = partial(rows.put_attestation, number=number, replica=replica, data=data)
        await self.store.database.write_async(put)

    # -- the end ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Return when what is being written is saved; then nothing is written any more."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                self._shut()

    def _shut(self) -> None:
        if not self.closed:
            self.closed = True
            self.watchers.close()
            self.care.forget(self)
            self.on_close()


def _check(packs: Sequence[bytes], doc: bytes, members: list[bytes]) -> list[CheckedChanges]:
    return [_core.check_changes(pack, doc=doc, members=members) for pack in packs]


async def _run(call: Callable[[], T], large: bool) -> T:
    """Call it here, or in a thread when it takes long."""
    return await anyio.to_thread.run_sync(call) if large else call()


def _sum(results: Sequence[Applied]) -> Applied:
    return Applied(
        applied=sum(one.applied for one in results),
        known=sum(one.known for one in results),
        waiting=sum(one.waiting for one in results),
        refused=tuple(one for result in results for one in result.refused),
        operations=sum(one.operations for one in results),
    )
