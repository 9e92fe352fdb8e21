"""Whether the machine's clock went on as time did. What it did instead becomes a record."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from qflow.clock import Clock

CLOCK: Final = "q.qflow.history.clock.v1"
BOUND_MS: Final = 2_000
"""How far wall time and elapsed time may differ before it is recorded. Time servers correct small
differences by making a clock slower or faster, and elapsed time with it; more is a clock that was
set. What a clock is off by adds up until it is over the bound."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A clock that did not go on as time did."""

    wall: int
    """UTC ms, as the clock had it."""
    expected: int
    """UTC ms, as it would have been without the move; after a start, the newest time on record."""

    @property
    def meta(self) -> dict[str, Any]:
        """What the record of it says."""
        moved = self.wall - self.expected
        kind = "ahead" if moved > 0 else "backwards"
        return {
            "wall": self.wall,
            "expected": self.expected,
            "moved_ms": abs(moved),
            "kind": kind,
        }


class Anchor(NamedTuple):
    """A moment on both clocks."""

    wall: int
    elapsed: int


class ClockWatch:
    """Compares the wall clock with the newest time on record, then with elapsed time.

    A clock that went ahead while no node ran is not seen: nothing here knows how long that was.
    """

    def __init__(self, clock: Clock, newest_at: int) -> None:
        self._clock, self._newest_at = clock, newest_at
        # None until a first look has compared the clock with the record.
        self.anchor: Anchor | None = None

    def has_moved(self) -> bool:
        """Whether `look` would tell something."""
        return self._moved(self._now()) is not None

    def look(self) -> Moved | None:
        """What the clock did since the last look, or None when it went on as time did.

        It is told once: from then on the clock is believed as it stands. Whoever cannot record it
        puts `anchor` back.
        """
        now = self._now()
        moved = self._moved(now)
        if moved is not None or self.anchor is None:
            self.anchor = now
        return moved

    def _now(self) -> Anchor:
        return Anchor(self._clock.now_ms(), self._clock.elapsed_ms())

    def _moved(self, now: Anchor) -> Moved | None:
        if self.anchor is None:
            expected, bound = max(self._newest_at, now.wall), 0
        else:
            expected, bound = self.anchor.wall + now.elapsed - self.anchor.elapsed, BOUND_MS
        off = abs(now.wall - expected) > bound
        return Moved(wall=now.wall, expected=expected) if off else None
