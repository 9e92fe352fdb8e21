"""What a section of settings is, and how values are checked against the types of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args, get_origin, get_type_hints

import msgspec

from qflow.errors import ConfigError

_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "path": "a path",
    "null": "nothing",
}

Key = tuple[str, ...]
"""(name,) or (section, name)."""


class Section:
    """Settings that belong together. It remembers which of them it was given."""

    _given: frozenset[str]

    def __new__(cls, **values: Any) -> Self:
        section = super().__new__(cls)
        object.__setattr__(section, "_given", frozenset(values))
        return section

    def __post_init__(self) -> None:
        model: type = type(self)
        found: dict[Key, Any] = {key: getattr(self, key[0]) for key in keys_of(model)}
        for (name, *_), value in check(model, found, {}).items():
            object.__setattr__(self, name, value)

    def given(self) -> dict[str, Any]:
        """What it was made with; the rest is left to other sources."""
        return {name: getattr(self, name) for name in self._given}


def check(model: type, values: Mapping[Key, Any], origins: Mapping[Key, str]) -> dict[Key, Any]:
    """The values as the types of their settings; all that do not fit are named in one error."""
    checked, findings = {}, []
    for key, value in values.items():
        kind = keys_of(model)[key]
        try:
            checked[key] = msgspec.convert(value, kind, strict=False, dec_hook=_as_path)
        except msgspec.ValidationError as error:
            origin = origins.get(key, "code")
            findings.append(f"{origin}: {dotted(key)}{_explained(error, kind)}")
    if findings:
        raise ConfigError("\n".join(findings))
    return checked


def _as_path(_kind: type, value: Any) -> Path:
    """Of all types of settings, the one that msgspec does not know."""
    if isinstance(value, str | Path):
        return Path(value)
    raise ValueError("Expected `path`")


def _explained(error: msgspec.ValidationError, kind: Any) -> str:
    """The place inside the value, and what belongs there. Never the value: it may be secret."""
    message, _, place = str(error).partition(" - at `")
    if get_origin(kind) is Literal:
        message = f"expected one of {', '.join(get_args(kind))}"
    elif message.startswith("Expected "):
        message = "e" + re.sub(r"`([^`]+)`", lambda name: _words(name[1]), message[1:])
    elif not message.startswith(("Object ", "A rule ")):
        message = "out of range"
    return f"{place.rpartition('$')[2].rstrip('`')}: {message}"


def _words(name: str) -> str:
    """What people call the types that msgspec names."""
    return " or ".join(_TYPES.get(part, part) for part in name.split(" | "))


@cache
def kinds_of(model: type) -> dict[str, Any]:
    """The fields of settings or of one section, with their types."""
    kinds = get_type_hints(model, include_extras=True)
    names = (item.name for item in fields(model))
    return {name: kinds[name] for name in names if not name.startswith("_")}


@cache
def keys_of(model: type) -> dict[Key, Any]:
    """Every setting in a fixed order, with its type."""
    found: dict[Key, Any] = {}
    for name, kind in kinds_of(model).items():
        if is_section(kind):
            found |= {(name, *inner): of for inner, of in keys_of(kind).items()}
        else:
            found[name,] = kind
    return found


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def dotted(key: Key) -> str:
    return ".".join(key)
