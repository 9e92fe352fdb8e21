"""Finding secrets in text, in each of the spellings in which they leak."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

MARK: Final = "[redacted]"
LENGTH_MIN: Final = 4
"""A shorter secret is not replaced: it would be found everywhere and give itself away."""
_SPELLED_CHARS_MAX: Final = 256
"""Up to here every mixture of encodings is found; beyond, each of the usual ones alone."""
_BASE64_INNER_MIN: Final = 8
_LINE_MIN: Final = 12
_DEPTH_MAX: Final = 32
_SLASHES: Final = r"\\{1,16}"
_SHORT: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def leaves(value: Any) -> Iterator[str]:
    """The texts in a secret: itself, the members of an object, each line of a longer one."""
    if isinstance(value, str):
        if len(value) >= LENGTH_MIN:
            yield value
        lines = value.splitlines()
        if len(lines) > 1:
            yield from (line.strip() for line in lines if len(line.strip()) >= _LINE_MIN)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)


def pattern_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern for every spelling of every text, longest first; None for no texts."""
    spellings = {spelling for text in texts for spelling in _spellings(text)}
    if not spellings:
        return None
    return re.compile("|".join(sorted(spellings, key=len, reverse=True)))


def replace(value: Any, pattern: re.Pattern[str] | None, depth: int = 0) -> Any:
    """A copy of plain data without what `pattern` finds. Other objects become their `repr`
    when that holds a secret. Deeper than 32 levels nothing is shown."""
    if pattern is None or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return pattern.sub(MARK, value)
    if depth >= _DEPTH_MAX:
        return MARK
    if isinstance(value, Mapping):
        return {
            replace(key, pattern, depth + 1): replace(item, pattern, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [replace(item, pattern, depth + 1) for item in value]
    shown = repr(value)
    cleaned = pattern.sub(MARK, shown)
    return value if cleaned == shown else cleaned


def _spellings(text: str) -> Iterator[str]:
    if len(text) <= _SPELLED_CHARS_MAX:
        yield "".join(map(_spelled, re.findall(r"\\+|[^\\]", text)))
    else:
        escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        escaped |= {text, quote(text, safe=""), quote(text), repr(text)[1:-1], html.escape(text)}
        yield from map(re.escape, escaped)
    yield from map(re.escape, _base64_forms(text.encode("utf-8", "surrogatepass")))


def _spelled(char: str) -> str:
    """A pattern for one character: plain, in a URI, a form, JSON, Python or HTML, and quoted by
    several of them in turn (backslashes double, `%` becomes `%25`). Repetitions are bounded, so
    that no text takes long to search."""
    if char.startswith("\\"):
        # A run as a whole, from its beginning: counting its parts apart would take for ever.
        return r"(?:(?<!\\)\\+|(?:%(?:25){0,4}5[cC])+)"
    data = char.encode("utf-8", "surrogatepass")
    units = char.encode("utf-16-be", "surrogatepass").hex()
    forms = [
        r"\\{0,16}" + re.escape(char),
        "".join("%(?:25){0,4}" + _hex(f"{byte:02x}") for byte in data),
        "".join(_SLASHES + "u" + _hex(units[at : at + 4]) for at in range(0, len(units), 4)),
        "".join(_SLASHES + "x" + _hex(f"{byte:02x}") for byte in data),
        _SLASHES + (f"x{_hex(f'{ord(char):02x}')}" if ord(char) < 256 else f"U{ord(char):08x}"),
    ]
    if char in _SHORT:
        forms.append(_SLASHES + _SHORT[char])
    if (entity := html.escape(char)) != char:
        forms.append(r"\\{0,16}" + entity.replace("&", "&(?:amp;){0,4}"))
    if char == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def _hex(digits: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


def _base64_forms(data: bytes) -> Iterator[str]:
    """Base64 of the bytes alone, and what stays of them at each place inside a longer text."""
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
        for shift in range(3):
            coded = encode(b"\0" * shift + data).decode().rstrip("=")
            # The digits at both ends also carry bits of the neighbours.
            start = -(-shift * 8 // 6)
            inner = coded[start : (shift + len(data)) * 8 // 6]
            if len(inner) >= _BASE64_INNER_MIN:
                yield inner
