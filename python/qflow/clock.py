"""Time and chance, the only place that reads them. Everything else is given a `Clock`."""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

import anyio

# Where there is no clock that counts a sleep of the machine, a sleep looks like a clock set ahead.
_ELAPSED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Where time comes from. Times are UTC milliseconds; durations are seconds."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z, as the machine believes them."""
        ...

    def elapsed_ms(self) -> int:
        """Milliseconds since some moment in the past, whatever becomes of the wall clock.

        Goes on while the machine sleeps. Says nothing across a start of the machine.
        """
        ...

    async def sleep_until(self, at_ms: int) -> None:
        """Return at or after `at_ms`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def elapsed_ms(self) -> int:
        return time.clock_gettime_ns(_ELAPSED) // 1_000_000

    async def sleep_until(self, at_ms: int) -> None:
        while (left_ms := at_ms - self.now_ms()) > 0:
            # A minute at most: the wall clock may be set forward while this sleeps.
            await anyio.sleep(min(left_ms / 1000, 60.0))


def random_bytes(size: int) -> bytes:
    """`size` bytes from the operating system."""
    return os.urandom(size)
