"""Times as people give them: a moment, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from qflow.cli._exit import USAGE, Refusal

_UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_AGO: Final = re.compile(r"([0-9]{1,9})([smhdw])")


def time_ms(text: str | None, option: str) -> int | None:
    """UTC ms of an ISO 8601 time (local without an offset) or of a duration ago like `2h`."""
    if text is None:
        return None
    if (ago := _AGO.fullmatch(text.strip())) is not None:
        from qflow.clock import SystemClock

        return max(0, SystemClock().now_ms() - int(ago[1]) * _UNITS_MS[ago[2]])
    try:
        return int(datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise Refusal(
            f"{option} {text!r} is no time",
            USAGE,
            "2026-01-31, 2026-01-31T08:00+01:00, or 2h ago as 2h",
        ) from None
