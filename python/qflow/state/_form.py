"""Checks that versions and segments share: each form has one spelling, and nothing else is read."""

from __future__ import annotations

from typing import Any, Final

from qflow import _core

FORMAT: Final = 1
"""The version of both formats."""
INT_MAX: Final = 2**63 - 1
ID_BYTES: Final = 16
HASH_BYTES: Final = 32


def check_kind(made: object, kind: str, keys: frozenset[str]) -> dict[str, Any]:
    """The map without `v` and `kind`. Raises ValueError unless it has exactly the keys of its kind
    in the format of this release."""
    if not isinstance(made, dict) or made.get("kind") != kind:
        raise ValueError(f"not a block of kind {kind}")
    if type(found := made.get("v")) is not int or found != FORMAT:
        raise ValueError(f"it is in format {found!r:.40}; this release reads {FORMAT}")
    check_keys(made, keys)
    del made["v"], made["kind"]
    return made


def check_keys(made: object, keys: frozenset[str]) -> None:
    """Raise ValueError unless a value is a map with these keys."""
    if not isinstance(made, dict) or made.keys() != keys:
        odd = ", ".join(sorted(made.keys() ^ keys)) if isinstance(made, dict) else "all of them"
        raise ValueError(f"keys are missing or unknown: {odd:.200}")


def check_text(name: str, value: object, chars_max: int, *, optional: bool = False) -> None:
    """Raise ValueError unless a value is a text that is not empty and not too long."""
    if optional and value is None:
        return
    if not isinstance(value, str) or not 0 < len(value) <= chars_max:
        raise ValueError(f"{name} is not a text of 1 to {chars_max} characters")


def check_int(name: str, value: object) -> None:
    """Raise ValueError unless a value is a number as records have them."""
    if type(value) is not int or not 0 <= value <= INT_MAX:
        raise ValueError(f"{name} is not a number from 0 to 2^63 - 1")


def check_bytes(name: str, value: object, length: int | None) -> None:
    """Raise ValueError unless a value is bytes, and as many as are wanted."""
    if not isinstance(value, bytes) or (length is not None and len(value) != length):
        raise ValueError(f"{name} is not {length or 'some'} bytes")


def check_link(name: str, value: object, codec: str = "dag-cbor") -> bytes:
    """The CID of a link. Raises ValueError unless it is one to a block of this codec."""
    if not isinstance(value, _core.Cid) or value.codec != codec:
        raise ValueError(f"{name} is not a link to a {codec} block")
    return bytes(value)


def link(cid: bytes | None) -> _core.Cid | None:
    """A CID as what `_core.encode` writes as a link."""
    return None if cid is None else _core.Cid(cid)
