"""A clock that moves when it is told to."""

from __future__ import annotations

import heapq
from typing import Final

import anyio

START_MS: Final = 1_700_000_000_000
_ROUNDS: Final = 20
"""Turns that others get behind each step of time, so that what was due has happened."""


class ManualClock:
    """A `qflow.clock.Clock` for tests: time stands still until `advance`."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now = start_ms
        self._set = 0
        self._sleepers: list[tuple[int, int, anyio.Event]] = []
        self._count = 0

    def now_ms(self) -> int:
        return self._now

    def elapsed_ms(self) -> int:
        return self._now - self._set

    async def sleep_until(self, at_ms: int) -> None:
        """Return once the clock has been moved to `at_ms` or beyond."""
        if at_ms <= self._now:
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (at_ms, self._count, event))
        await event.wait()

    def set_back(self, by_ms: int) -> None:
        """Move the clock backwards, as an operator or a time server may; no time passes."""
        self.set_ahead(-by_ms)

    def set_ahead(self, by_ms: int) -> None:
        """Move the clock forward while no time passes. Sleepers wake at the next `advance`."""
        self._now += by_ms
        self._set += by_ms

    async def advance(self, by_ms: int) -> None:
        """Move forward, waking each sleeper at its own time, in order."""
        end = self._now + by_ms
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, event = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            event.set()
            await self._settle()
        self._now = end
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(_ROUNDS):
            await anyio.lowlevel.checkpoint()
