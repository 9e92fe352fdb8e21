"""A CRDT document: what executions share, written by many at once, kept sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from qflow.errors import StaleError
from qflow.state._document_evidence import Evidence
from qflow.state._document_live import Live
from qflow.state._document_strategies import Sibling, Strategy, projected, strategy_of
from qflow.state._document_whole import export, take_export
from qflow.state._document_words import (
    CONFLICTS_MAX,
    Applied,
    Changed,
    Compacted,
    Conflict,
    Path,
    pointer_of,
)

if TYPE_CHECKING:
    from qflow._core import CrdtDocument, CrdtTransaction

TRIES_MAX: Final = 3
"""So often a write is made when another process writes meanwhile."""


class Document:
    """A document, open in one event loop: maps of values, counters and lists at nested paths.

    Any replica writes at any time, without asking; replicas that have the same operations show the
    same. A write is durable when it is awaited; when that fails nothing has changed, here or on the
    disk. Reads do not wait and change nothing. Made by `Documents.open`::

        async with Documents(blocks, subnet="default", keys=keyring, signer=key) as documents:
            cart = await documents.open("shop/cart")
            await cart.set("/owner", {"name": "Ann"})
            await cart.increment("/items/apple", 3)
            async with cart.transaction(op="order-17") as t:
                t.append("/log", "checked out")
                t.set("/total", 12)
            assert cart.get("/items/apple") == 3
            for conflict in cart.conflicts():
                values = [one.value for one in cart.siblings(conflict.path)]

    A path is an RFC 6901 JSON Pointer, or a sequence of its parts; "" is the root. Values are None,
    bool, int (64 bits), float (finite), str, bytes, `_core.Cid`, and lists of these; a map becomes
    entries beneath the path. One transaction runs at a time; others wait for its end, so what it
    reads stands. A task that holds one must not write otherwise meanwhile (RuntimeError).

    `op`, 1 to 64 bytes or a text of so many, names what is being done: done again, also after a
    restart, it is a no-op. Errors of every write: TypeMismatchError (something of another type is
    there), ValueError (a bad path or value), UnavailableError (closed, no signer), ErasedError
    (deleted), StaleError (another process wrote first: try again), and as `storage.Database` has
    them, LockedError, BusyError, PoisonedError.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def __repr__(self) -> str:
        return f"Document({self.name!r})"

    @property
    def id(self) -> bytes:
        """16 bytes, of subnet and name: the same everywhere."""
        return self._live.row.id

    @property
    def name(self) -> str:
        """Its name in the subnet."""
        return self._live.row.name

    @property
    def replica(self) -> bytes:
        """Ed25519 public key in whose name this node writes."""
        return self._live.me.replica

    @property
    def closed(self) -> bool:
        """Whether it can not be used any more."""
        return self._live.closed

    # -- reading ---------------------------------------------------------------------------

    def get(
        self, path: Path = "", default: Any = None, strategy: str | Strategy | None = None
    ) -> Any:
        """What is at a path; `default` when nothing is.

        `strategy` says what to make of values that were set at the same time: `max`, `min`,
        `union`, `keep-all`, or a callable that is given the `Sibling`s; else the greatest stamp
        wins. Raises what the strategy raises.
        """
        core = self._core
        found = core.get(path, default)
        chosen = strategy_of(strategy)
        if chosen is None or found is default:
            return found
        pointer = pointer_of(path)
        paths = [one.path for one in self.conflicts(pointer) if one.kind == "set"]
        return projected(self, pointer, found, paths, chosen)

    def siblings(self, path: Path) -> list[Sibling]:
        """The values that were set at a path and not overwritten by who saw them, the greatest
        stamp first."""
        return [Sibling(**one) for one in self._core.siblings(path)]

    def conflicts(self, path: Path = "", limit: int = CONFLICTS_MAX) -> list[Conflict]:
        """What was written at the same time at or beneath a path, by path and kind.

        Raises UnavailableError when there are more than `limit`: a part of them is no answer."""
        return self._live.conflicts(pointer_of(path), limit)

    @property
    def clock(self) -> bytes:
        """What the document consists of, for `delta` of another replica, and for `at`."""
        return self._core.clock()

    def history(self, path: Path = "", limit: int = 100) -> list[dict[str, Any]]:
        """The operations at a path and beneath, the newest first, as far as they are in the log."""
        return self._core.history(path, limit)

    def at(self, clock: bytes) -> CrdtDocument:
        """The document as it was at a clock, to be read only: `get`, `siblings`, `conflicts`.

        Raises StaleError when that is before the snapshot."""
        return self._core.at(clock)

    def knows(self, op: str | bytes) -> bool:
        """Whether an operation with this id is in the log. One that was compacted is known when it
        is done again."""
        return self._core.knows_operation(operation_bytes(op))

    def stats(self) -> dict[str, int]:
        """Of the document in memory: `operations`, `changes`, `bytes`, `lines`, `waiting`,
        `nodes`; of its log: `log_blocks`, `log_bytes`, `log_operations`."""
        return self._core.stats() | self._live.tail_stats()

    # -- writing ---------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self, op: str | bytes | None = None) -> AsyncIterator[CrdtTransaction]:
        """Several writes that are durable together when the block is left; none on an exception.

        The transaction's own methods do not wait: `set`, `delete`, `increment`, `append`, `merge`,
        and `get`, which sees what it has written. Longer than 256 operations, it reaches other
        replicas in several changes.
        """
        name = None if op is None else operation_bytes(op)
        async with self._live.writing() as core:
            draft = core.begin()
            yield draft
            await self._live.commit(draft, name)

    async def set(self, path: Path, value: Any, *, op: str | bytes | None = None) -> None:
        """Have this value at a path in place of all that is there and beneath."""
        await self._once("set", op, path, value)

    async def delete(self, path: Path, *, op: str | bytes | None = None) -> None:
        """Have nothing at a path and beneath. What others write there at the same time stays."""
        await self._once("delete", op, path)

    async def increment(self, path: Path, by: int = 1, *, op: str | bytes | None = None) -> None:
        """Add to a counter, or to a number that was set. Increments of all replicas add up."""
        await self._once("increment", op, path, by)

    async def append(self, path: Path, *values: Any, op: str | bytes | None = None) -> None:
        """Put values at the end of a list, next to each other."""
        await self._once("append", op, path, *values)

    async def merge(
        self, path: Path, mapping: Mapping[str, Any], *, op: str | bytes | None = None
    ) -> None:
        """Set each leaf of a map beneath a path, and leave what else is there."""
        await self._once("merge", op, path, mapping)

    async def _once(self, method: str, op: str | bytes | None, *arguments: Any) -> None:
        async def write() -> None:
            async with self.transaction(op) as draft:
                getattr(draft, method)(*arguments)

        await made_anew(write)

    # -- other replicas --------------------------------------------------------------------

    def delta(self, since: bytes | None = None) -> bytes:
        """A pack of the changes that a replica with this clock has not; None: of all in the log.

        Raises StaleError when they are not in the log any more: it needs an `export`."""
        return self._core.delta(since)

    async def apply(self, packs: bytes | Sequence[bytes]) -> Applied:
        """Take changes of other replicas, durable on return; again is no harm.

        Each is verified: of this document, signed by a member, well-formed. What is not is refused,
        each change by itself, and told; what builds on changes that are not here waits for them.
        Raises ValueError for bytes that are no pack.
        """
        return await self._live.apply([packs] if isinstance(packs, bytes) else packs)

    async def export(self) -> bytes:
        """All of the document for another replica: the snapshot with its attestations, and the
        changes behind it. Signed, not sealed: whoever has it reads it."""
        return await export(self._live)

    async def import_(self, data: bytes) -> Applied:
        """Take an `export`; durable on return.

        A replica that lags behind the snapshot takes it in place of what it has, when members
        attest it, and then writes again what it had written and nobody had seen."""
        return await take_export(self._live, data)

    # -- care ------------------------------------------------------------------------------

    def subscribe(self, path: Path = "") -> AbstractAsyncContextManager[AsyncIterator[Changed]]:
        """What changes at a path and beneath, after it is durable::

            async with cart.subscribe("/items") as changes:
                async for change in changes: ...

        A reader that is too slow loses the oldest, and gets a `Changed` with `lost` in their place.
        The iteration ends when the document is closed.
        """
        return self._live.watchers.reading(pointer_of(path))

    async def compact(self) -> Compacted:
        """Put a snapshot in the place of what all members have seen. Also done in the background.

        Done beside writers, from what is on the disk. With several members a majority, or as many
        as `Documents` was told, has to `attest` the same snapshot first. Raises VerificationError
        when a block is damaged, StaleError when another process wrote; nothing has changed then."""
        return await self._live.compact()

    async def attestations(self) -> list[bytes]:
        """What members said of the snapshots they made, this replica too: for `attest` there."""
        return await self._live.attestations()

    async def attest(self, attestation: bytes) -> Compacted:
        """Take what a member says of its snapshot, make one's own at the same cut, and compact when
        enough say the same. Raises VerificationError: of no member, or its signature is not good.
        """
        await self._live.take_attestation(attestation)
        return await self._live.compact()

    async def evidence(self) -> list[Evidence]:
        """What shows that replicas signed several changes after the same one, as kept on the disk.

        Raises VerificationError when it is not what was kept."""
        return await self._live.evidence()

    async def close(self) -> None:
        """Return when what is being written is saved. Reads and writes raise UnavailableError from
        then on, subscriptions end. `Documents.open` opens it again."""
        await self._live.close()

    @property
    def _core(self) -> CrdtDocument:
        self._live.check_open()
        return self._live.core


async def made_anew(write: Callable[[], Awaitable[None]]) -> None:
    """Make a write, up to TRIES_MAX times when another process wrote first."""
    for _ in range(TRIES_MAX - 1):
        try:
            return await write()
        except StaleError:
            continue
    return await write()


def operation_bytes(op: str | bytes) -> bytes:
    """An operation id as bytes. Raises ValueError unless it has 1 to 64."""
    made = op.encode() if isinstance(op, str) else op
    if not 0 < len(made) <= 64:
        raise ValueError(f"an operation id of {len(made)} bytes; 1 to 64 are allowed")
    return made
