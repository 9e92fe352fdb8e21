"""What is due, and when: one heap and one task for all executions, however many wait."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import anyio

from qflow.clock import Clock

_BURST_MAX: Final = 256
_STALE_MAX: Final = 1000
"""Entries that nobody waits for any more: at this number, and half of the heap, they are swept."""


class Due(NamedTuple):
    """A moment that somebody waits for. `frame` None: the execution has to be loaded to know."""

    at: int
    execution: str
    frame: int | None
    purpose: str


_Entry = tuple[int, str, int, str]


class Timers:
    """A heap of moments, each of them once.

    What is taken back stays in the heap until it is swept; a decision ignores what is stale.
    `room` is waited for between two bursts.
    """

    def __init__(
        self,
        clock: Clock,
        fire: Callable[[Due], None],
        room: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    ) -> None:
        self._clock, self._fire, self._room = clock, fire, room
        self._heap: list[_Entry] = []
        self._wanted: dict[str, set[_Entry]] = {}
        self._count = 0
        self._scope: anyio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: Due) -> int:
        """Wait for a moment, unless it is waited for already. How many its execution has."""
        entry = _entry(due)
        wanted = self._wanted.setdefault(due.execution, set())
        if entry not in wanted:
            wanted.add(entry)
            self._count += 1
            earliest = not self._heap or due.at < self._heap[0][0]
            heapq.heappush(self._heap, entry)
            if earliest and self._scope is not None:
                self._scope.cancel()
        return len(wanted)

    def keep(self, execution: str, dues: Iterable[Due] = ()) -> None:
        """Wait for none but these of an execution any more."""
        before = self._wanted.pop(execution, set())
        kept = before & {_entry(due) for due in dues}
        self._count -= len(before) - len(kept)
        if kept:
            self._wanted[execution] = kept
        if len(self._heap) > 2 * self._count + _STALE_MAX:
            self._heap = [entry for wanted in self._wanted.values() for entry in wanted]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Fire what is due, for ever. Each firing is a synchronous decision."""
        while True:
            with anyio.CancelScope() as self._scope:
                if self._heap:
                    await self._clock.sleep_until(self._heap[0][0])
                else:
                    await anyio.sleep_forever()
            self._scope = None
            self._fire_due()
            # Others run between two bursts, however many are due.
            await anyio.lowlevel.checkpoint()
            await self._room()

    def _fire_due(self) -> None:
        now = self._clock.now_ms()
        for _ in range(_BURST_MAX):
            if not self._heap or self._heap[0][0] > now:
                return
            entry = heapq.heappop(self._heap)
            at, execution, frame, purpose = entry
            wanted = self._wanted.get(execution)
            if wanted is None or entry not in wanted:
                continue
            wanted.discard(entry)
            self._count -= 1
            if not wanted:
                del self._wanted[execution]
            self._fire(Due(at, execution, None if frame < 0 else frame, purpose))


def _entry(due: Due) -> _Entry:
    return due.at, due.execution, -1 if due.frame is None else due.frame, due.purpose
