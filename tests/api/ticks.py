"""A clock that moves by one at each look."""

from __future__ import annotations

import anyio


class Ticks:
    """1, 2, 3, ... milliseconds."""

    def __init__(self) -> None:
        self._now = 0

    def now_ms(self) -> int:
        self._now += 1
        return self._now

    def elapsed_ms(self) -> int:
        return self._now

    async def sleep_until(self, at_ms: int) -> None:
        await anyio.lowlevel.checkpoint()
        self._now = max(self._now, at_ms)
