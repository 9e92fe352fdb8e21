"""Taking care of the keys: what there is, the next epoch, and keys that come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.abc import TaskStatus

from qflow.api._keys import Foreign, Imported, Keys
from qflow.audit._erasures import apply_erasures
from qflow.audit._own import OwnChain, Row
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.errors import (
    BusyError,
    LockedError,
    QflowError,
    UnavailableError,
    VerificationError,
)
from qflow.node._files import open_files
from qflow.node._stored import stored_beside
from qflow.storage._endpoint import BACKOFF_S_MAX, backoff_ms
from qflow.trust import KeyFile, Keyring, Rotation, parse_key_file

if TYPE_CHECKING:
    from qflow.config import Config

ROTATED: Final = "q.qflow.keys.rotated.v1"
EXPORTED: Final = "q.qflow.keys.exported.v1"
IMPORTED: Final = "q.qflow.keys.imported.v1"

_log = logger(__name__)


class KeyCare:
    """The keys of a home, by the only writer of its log."""

    def __init__(self, keys: Keyring, own: OwnChain, *, did: str, subnet: str) -> None:
        self._keys, self._own, self._did, self._subnet = keys, own, did, subnet
        self._lock = anyio.Lock()
        self._brought = 0
        self.rotated: Callable[[], None] = lambda: None
        """Called in a thread after a rotation; set by whoever keeps envelopes elsewhere."""

    async def settle(self) -> None:
        """Tell, and put on record, what a crash kept from it. To be called when `rotated` is set;
        nothing is written when there is nothing."""
        async with self._lock:
            await self._settle()

    async def attend(
        self, clock: Clock, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """As `settle`; tried again, later and later, when another process keeps the store of states
        to itself. Started after the first attempt, and raises only what that one does else."""
        tries = 0
        while True:
            try:
                await self.settle()
            except QflowError as error:
                if not tries and not isinstance(error, LockedError | BusyError):
                    raise
                _log.warning("a rotation of the keys is told later", why=str(error))
            else:
                break
            if not tries:
                task_status.started()
            tries += 1
            await clock.sleep_until(clock.now_ms() + backoff_ms(tries, BACKOFF_S_MAX))
        if not tries:
            task_status.started()

    async def _settle(self) -> None:
        if await anyio.to_thread.run_sync(lambda: self._keys.is_behind):
            await self._tell(self._keys.resumed, self._did)
            self._keys.resumed = None

    async def rotate(self, *, forget: bool, actor: str) -> Rotation:
        """Begin the next epoch; see `Keyring.rotate`. Durable and on record on return."""
        async with self._lock:
            # What was begun is finished now rather than at the next opening.
            with anyio.CancelScope(shield=True):
                await self._settle()
                rotate = partial(self._keys.rotate, forget=forget)
                done = await anyio.to_thread.run_sync(rotate)
                await self._tell(done, actor)
        return done

    async def _tell(self, done: Rotation | None, actor: str) -> None:
        await anyio.to_thread.run_sync(self.rotated)
        if done is not None:
            meta = {"epoch": done.epoch, "oldest": done.oldest, "keys": done.keys}
            await self._record(ROTATED, meta, actor)
        # Last: until then the next opening does it again.
        await anyio.to_thread.run_sync(self._keys.note_ring)

    async def bring(self, content: bytes, *, actor: str) -> Imported:
        """Take the keys in a file (`read_key_file`), and trust its signer. Durable on return.

        Raises VerificationError when it was changed, is of another subnet, or has another key for
        an epoch that is known.
        """
        file = self._parsed(content)
        async with self._lock:
            await self._settle()
            fresh = await anyio.to_thread.run_sync(self._take, file) + self._brought
            self._brought = 0
            epochs = tuple(key.epoch for key in file.keys)
            if fresh:
                meta = {"node": file.node, "epochs": list(epochs), "fresh": fresh}
                await self._record(IMPORTED, meta, actor)
        return Imported(node=file.node, epochs=epochs, fresh=fresh)

    def _parsed(self, content: bytes) -> KeyFile:
        file = parse_key_file(content)
        if file.subnet != self._subnet:
            raise VerificationError(
                f"they are keys of subnet {file.subnet!r:.80}; this home is of {self._subnet!r}"
            )
        return file

    def bring_back(self, content: bytes) -> None:
        """Take the keys in a file of this node itself, before the keyring is held: without them it
        may be refused. The rest of it is for `bring`. Blocks; raises as that."""
        file = self._parsed(content)
        if file.node == self._did:
            self._brought = self._kept(file, self._keys.bring_back)

    def _take(self, file: KeyFile) -> int:
        ours = file.node == self._did
        fresh = self._kept(file, self._keys.bring_back if ours else self._keys.subnet.add)
        try:
            self._keys.note_ring()
        except OSError as error:
            raise UnavailableError(f"the keys cannot be kept: {error}") from error
        return fresh

    def _kept(self, file: KeyFile, keep: Callable[[str, list[tuple[int, bytes]]], int]) -> int:
        try:
            return keep(file.node, [(key.epoch, key.key) for key in file.keys])
        except OSError as error:
            raise UnavailableError(f"the keys cannot be kept: {error}") from error

    async def note_export(self, *, protected: bool, actor: str) -> None:
        """Put on record that the keys are about to leave."""
        keys = await anyio.to_thread.run_sync(self._keys.subnet.exported)
        meta = {"epochs": [epoch for epoch, _ in keys], "protected": protected}
        await self._record(EXPORTED, meta, actor)

    async def _record(self, kind: str, meta: Mapping[str, Any], actor: str) -> None:
        row: Row = (kind, None, None, None, meta)
        await self._own.append([row], actor)


def keys_of(keys: Keyring, did: str, subnet: str) -> Keys:
    """What there is in the files of a home. Reads only."""
    ring = keys.subnet.ring
    nodes = sorted({key.node for key in ring.imported})
    return Keys(
        node=did,
        subnet=subnet,
        epoch=ring.epoch,
        oldest=ring.oldest,
        own=keys.count(),
        adopted=keys.count_adopted(),
        imported=tuple(
            Foreign(
                node=node,
                epochs=tuple(sorted(key.epoch for key in ring.imported if key.node == node)),
            )
            for node in nodes
        ),
    )


@asynccontextmanager
async def open_key_care(config: Config, brought: bytes | None = None) -> AsyncIterator[KeyCare]:
    """Care of the keys of a home in which no node runs. Takes the lock of the log.

    `brought` is the file that is going to be brought: it may have what the home cannot be opened
    without. Raises LockedError, CorruptError, SigningKeyError; for `brought` as `KeyCare.bring`.
    """
    async with open_files(config) as files, stored_beside(config, files) as stored:
        care = KeyCare(files.keys, files.own, did=files.key.did, subnet=config.subnet)
        if brought is not None:
            await anyio.to_thread.run_sync(care.bring_back, brought)
        apply_erasures(
            files.history, files.chain, files.keys, mark=True, also=stored.elsewhere.erase
        )
        care.rotated = stored.elsewhere.rotated
        await care.settle()
        yield care
