"""Durations: ISO 8601 texts and the specification's objects, in seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from qflow.errors import ExpressionError

_UNITS_S: Final = {
    "days": 86_400.0,
    "hours": 3_600.0,
    "minutes": 60.0,
    "seconds": 1.0,
    "milliseconds": 0.001,
}
_PARTS_S: Final = (365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3_600, 60, 1)
_NUMBER: Final = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_ISO: Final = re.compile(
    rf"P(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)


def duration_s(value: Any) -> float:
    """The length of a duration in seconds, never negative.

    A text is ISO 8601 (`PT1M30S`, `P1DT12H`); a year counts 365 days and a month 30. An object has
    any of days, hours, minutes, seconds, milliseconds, each a whole number. Raises ExpressionError
    for everything else.
    """
    if isinstance(value, str):
        return _iso_s(value)
    if not isinstance(value, Mapping) or not value:
        raise ExpressionError(f"{value!r:.60} is not a duration such as PT30S or {{seconds: 30}}")
    total = 0.0
    for unit, amount in value.items():
        if unit not in _UNITS_S:
            raise ExpressionError(f"{unit!r:.40} is not a unit of time; {', '.join(_UNITS_S)} are")
        if isinstance(amount, bool) or not isinstance(amount, int):
            raise ExpressionError(f"{amount!r:.40} {unit} is not a whole number")
        if not 0 <= amount < 10**15:
            raise ExpressionError(f"{amount!r:.40} {unit} is negative or beyond all measure")
        total += amount * _UNITS_S[unit]
    return total


def _iso_s(text: str) -> float:
    match = _ISO.fullmatch(text)
    if match is None or text.endswith("T") or not any(match.groups()):
        raise ExpressionError(f"{text!r:.60} is not an ISO 8601 duration such as PT30S or P1DT12H")
    return sum(
        float(amount) * unit_s
        for amount, unit_s in zip(match.groups(), _PARTS_S, strict=True)
        if amount is not None
    )
