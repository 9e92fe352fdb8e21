"""DAG-CBOR once more, in a few lines that share nothing with the Rust core."""

from __future__ import annotations

import struct
from typing import Any

import cbor2


class Link(bytes):
    """The bytes of a CID, as a value of its own."""

    __slots__ = ()


def encode(value: Any) -> bytes:
    """The canonical bytes of a value. Also of the core's `Cid`, which says what bytes it has."""
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes() if not isinstance(value, Link):
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list() | tuple():
            return head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            pairs = sorted((encode(key), encode(member)) for key, member in value.items())
            return head(5, len(pairs)) + b"".join(key + member for key, member in pairs)
    return b"\xd8\x2a" + encode(b"\0" + bytes(value))


def head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in range(4) if number < 1 << (8 << size))
    return bytes([major << 5 | 24 + size]) + number.to_bytes(1 << size, "big")


def decode(data: bytes) -> Any:
    """The value of canonical bytes, with `Link` for links; other spellings raise ValueError."""
    value = linked(cbor2.loads(data))
    if encode(value) != data:
        raise ValueError("not canonical")
    return value


def linked(value: Any) -> Any:
    match value:
        case cbor2.CBORTag():
            return Link(value.value[1:])
        case list():
            return [linked(item) for item in value]
        case dict():
            return {key: linked(member) for key, member in value.items()}
    return value
