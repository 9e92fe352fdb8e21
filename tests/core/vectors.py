"""Reading tests/vectors, which the Rust tests read too."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from qflow._core import Cid

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def load_vectors(name: str) -> dict[str, Any]:
    """The content of one file of vectors."""
    content: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content


def untag(value: Any) -> Any:
    """A value from its JSON form: bytes and links as DAG-JSON has them, floats in hexadecimal."""
    if isinstance(value, list):
        return [untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"/": {"bytes": str(text)}}:
            return base64.b64decode(text + "=" * (-len(text) % 4))
        case {"/": str(text)}:
            return Cid(text)
        case {"float": str(text)}:
            return float.fromhex(text)
    return {key: untag(item) for key, item in value.items()}


def load_lines(name: str) -> list[str]:
    """The lines of one file of expressions, without its comments."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def load_blocks(name: str) -> list[tuple[bytes, bytes]]:
    """(CID, data) of each block of one CAR file of version 1."""
    car = (FOLDER / name).read_bytes()
    length, at = _varint(car, 0)
    at += length
    blocks = []
    while at < len(car):
        length, at = _varint(car, at)
        end, place = at + length, at
        if car[at : at + 2] == b"\x12\x20":
            place += 34
        else:
            for _ in ("version", "codec", "hash"):
                _, place = _varint(car, place)
            digest, place = _varint(car, place)
            place += digest
        blocks.append((car[at:place], car[place:end]))
        at = end
    return blocks


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
