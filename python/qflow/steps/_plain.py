"""Values that a flow can hold: what JSON can say, in 64-bit numbers, and nothing shared."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

DEPTH_MAX: Final = 128
"""As in the canonical encoding."""
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 63) - 1


def plain(value: Any, depth: int = 0) -> Any:
    """A copy of `value` in exact dict, list, str, int, float, bool and None.

    A copy, because what made it may keep it and change it later; exact, because a replay reads it
    back from the log and must see the same. Raises ValueError for what does not fit.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value)
    if kind is int:
        return _integer(value)
    if kind is float:
        return _number(value)
    return _compound(value, depth)


def parse_json(text: str | bytes) -> Any:
    """JSON as data. Raises ValueError for duplicate keys, NaN, and numbers beyond 64 bits."""
    try:
        return plain(json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _compound(value: Any, depth: int) -> Any:
    if depth >= DEPTH_MAX:
        raise ValueError(f"it is nested more than {DEPTH_MAX} levels deep, or holds itself")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                # ValueError for all that does not fit, whatever the misfit is.
                raise ValueError(f"a key is {type(key).__name__}, not text")  # noqa: TRY004
        return {_text(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _number(value)
    raise ValueError(
        f"{type(value).__name__} is not data: text, numbers, true, false, null,"
        " lists and objects are"
    )


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half a character (a lone surrogate)") from None
    return value if type(value) is str else str.__str__(value)


def _integer(value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError("an integer does not fit 64 bits")
    return int(value)


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a number is infinite or not a number")
    return float(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has the same key twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
