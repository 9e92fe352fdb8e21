"""What is due, and when: one heap and one task for all executions, however many wait."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import anyio

from qflow.clock import Clock


class Due(NamedTuple):
    """A moment that somebody waits for. `frame` None: the execution has to be loaded to know."""

    at: int
    execution: str
    frame: int | None
    purpose: str


class Timers:
    """A heap of moments. Entries are never taken back: a decision ignores what is stale."""

    def __init__(self, clock: Clock, fire: Callable[[Due], None]) -> None:
        self._clock, self._fire = clock, fire
        self._heap: list[tuple[int, str, int, str]] = []
        self._scope: anyio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: Due) -> None:
        earliest = not self._heap or due.at < self._heap[0][0]
        frame = -1 if due.frame is None else due.frame
        heapq.heappush(self._heap, (due.at, due.execution, frame, due.purpose))
        if earliest and self._scope is not None:
            self._scope.cancel()

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

    def _fire_due(self) -> None:
        now = self._clock.now_ms()
        for _ in range(_BURST_MAX):
            if not self._heap or self._heap[0][0] > now:
                return
            at, execution, frame, purpose = heapq.heappop(self._heap)
            self._fire(Due(at, execution, None if frame < 0 else frame, purpose))


_BURST_MAX = 256
