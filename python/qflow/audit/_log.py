"""The node's log as the event loop sees it: cheap appends, callbacks once durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from qflow import _core
from qflow.errors import PoisonedError

DRAIN_MAX: Final = 1024
"""Completions taken at once; other tasks run before the next are taken."""

Done: TypeAlias = Callable[[int | None, Exception | None], None]


class Key(Protocol):
    """The part of the node's key that the log signs with."""

    @property
    def origin(self) -> str: ...

    @property
    def seed(self) -> bytes: ...


class Ticket:
    """One append on its way to the disk. Until then `index` and `error` are both None."""

    __slots__ = ("_done", "error", "index", "number")

    def __init__(self, number: int, done: Done | None) -> None:
        self.number = number
        self.index: int | None = None
        """The place of its first record in the log, once durable."""
        self.error: Exception | None = None
        self._done = done

    def settle(self, index: int | None, error: Exception | None) -> None:
        self.index, self.error = index, error
        if self._done is not None:
            self._done(index, error)


class Log:
    """The durable log of one node. Entered: opened, recovered and locked for this process.

    Left: every append that was taken is durable or has failed, the head is published and the
    lock released. Use it from one event loop only (asyncio or trio).
    Entering raises LockedError or CorruptError.
    """

    def __init__(
        self,
        path: str,
        key: Key,
        *,
        queue_bytes_max: int = 64 << 20,
        segment_bytes: int = 64 << 20,
    ) -> None:
        self._path, self._key = path, key
        self._bounds = {"queue_bytes_max": queue_bytes_max, "segment_bytes": segment_bytes}
        self._waiting: deque[Ticket] = deque()
        self._moved = anyio.Event()
        self._pump_scope = anyio.CancelScope(shield=True)
        self._pumping = self._pump_failed = False
        self.poisoned: str | None = None
        """Why nothing more can be written, or None."""

    async def __aenter__(self) -> Self:
        self._core = await anyio.to_thread.run_sync(self._open)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._pumping = True
        self._tasks.start_soon(self._pump, name="qflow log")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            await self._stop_pump()
            if self._pump_failed:
                return await self._tasks.__aexit__(kind, error, trace)
            # The group has nothing to add: an error of the body stays as it is, in no group.
            await self._tasks.__aexit__(None, None, None)
            return None
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._core.close)
            self._fail_all("the log stopped; whether this append is durable is not known")

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self._path)

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._core.size

    @property
    def root(self) -> bytes:
        """The RFC 6962 root of the durable records."""
        return self._core.root

    @property
    def head(self) -> str:
        """The signed tree head (C2SP checkpoint note) of the durable records."""
        return self._core.head

    @property
    def vkey(self) -> str:
        """The verifier key (C2SP vkey) that the head is signed for."""
        return self._core.vkey

    def submit(
        self,
        records: Sequence[bytes],
        blocks: Sequence[tuple[bytes, bytes]] = (),
        done: Done | None = None,
    ) -> Ticket:
        """Take an append: all of it becomes durable, or nothing. Nothing is durable on return.

        `done(index, error)` is called from the event loop, in the order of submission: with the
        index of the first record once all are on disk, or with a PoisonedError. It must not
        raise; if it does, the log stops and the error leaves the context.
        Raises BusyError or PoisonedError; then nothing was taken and `done` is not called.
        """
        ticket = Ticket(self._core.append(records, blocks), done)
        self._waiting.append(ticket)
        return ticket

    async def append(
        self, records: Sequence[bytes], blocks: Sequence[tuple[bytes, bytes]] = ()
    ) -> int:
        """Append, and return the index of the first record once all are durable.

        Raises BusyError (nothing was taken) or PoisonedError. When the wait is cancelled, the
        append still happens.
        """
        durable = anyio.Event()
        ticket = self.submit(records, blocks, lambda _index, _error: durable.set())
        await durable.wait()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.index is not None
        return ticket.index

    async def grown(self, beyond: int) -> None:
        """Return as soon as more than `beyond` records are durable."""
        while self.size <= beyond:
            await self._moved.wait()

    @property
    def first(self) -> int:
        """The index of the first record that is kept: 0 unless the log was pruned."""
        return self._core.first

    @property
    def carried(self) -> list[tuple[bytes, int, bytes]]:
        """The chains that go on from before the first record: (chain, number due, hash before)."""
        return self._core.carried

    @property
    def segments(self) -> list[tuple[int, int, int]]:
        """The journal's files: (number, index of the first record, bytes)."""
        return self._core.segments

    async def survey(self, segment: int) -> list[tuple[bytes, int, bytes]]:
        """The chains that go on across the beginning of a segment. Reads all that is before."""
        return await anyio.to_thread.run_sync(self._core.survey, segment)

    async def prune(self, record: int) -> int:
        """Delete what is before the cut that the durable record at this index names.

        The bytes of the journal that went. Durable on return; when the wait is cancelled, it still
        happens. Raises ValueError, and nothing was changed, when the record does not fit.
        """
        return await anyio.to_thread.run_sync(self._core.prune, record)

    async def publish(self) -> None:
        """Write the head and the partial tiles of the durable records for others to read."""
        await anyio.to_thread.run_sync(self._core.publish)

    async def save_witnessed(self, note: str) -> None:
        """Keep a head of this log with its cosignatures as the file `witnessed`. Durable on return.

        Raises VerificationError when it is not a head of this log, or smaller than the one kept.
        """
        await anyio.to_thread.run_sync(self._core.save_witnessed, note)

    def scan(
        self, address: int, bytes_max: int
    ) -> tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]], int]:
        """Whole durable frames from an address. See `Source.scan`."""
        return self._core.scan(address, bytes_max)

    def read(self, address: int) -> bytes:
        """The record or block at an address. Raises CorruptError."""
        return self._core.read(address)

    def read_many(self, addresses: Sequence[int]) -> list[bytes]:
        """The records at ascending addresses. Raises CorruptError."""
        return self._core.read_many(addresses)

    def _open(self) -> _core.Log:
        bounds, key = self._bounds, self._key
        try:
            return _core.Log(self._path, origin=key.origin, seed=key.seed, **bounds)
        except OSError as error:
            if error.filename is not None:
                raise
            raise type(error)(f"{self._path}: {error}") from None

    async def _pump(self) -> None:
        descriptor = self._core.fileno()
        self._pump_failed = True
        try:
            # Shielded: whoever cancels the node still learns what became durable.
            with self._pump_scope:
                while True:
                    await anyio.wait_readable(descriptor)
                    while completed := self._core.drain(DRAIN_MAX):
                        self._settle(completed)
                        await checkpoint()
            self._pump_failed = False
        finally:
            self._pumping = False
            self._moved.set()

    async def _stop_pump(self) -> None:
        """Settle what was submitted, then end the pump and see it gone."""
        with anyio.CancelScope(shield=True):
            while self._waiting and self._pumping:
                await self._moved.wait()
            self._pump_scope.cancel()
            while self._pumping:
                await self._moved.wait()
            await checkpoint()

    def _settle(self, completed: list[tuple[int, int, str | None]]) -> None:
        moved, self._moved = self._moved, anyio.Event()
        try:
            for number, index, failure in completed:
                if failure is not None:
                    self.poisoned = self.poisoned or failure
                    self._fail_all(failure)
                elif self._waiting and self._waiting[0].number == number:
                    self._waiting.popleft().settle(index, None)
        finally:
            moved.set()

    def _fail_all(self, failure: str) -> None:
        # Nothing after a failed write becomes durable, so those behind it need not wait.
        while self._waiting:
            self._waiting.popleft().settle(None, PoisonedError(failure))
