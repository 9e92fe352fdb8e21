"""The bytes of the file `keys`: two copies of a header, then slots of a fixed size. Pure.

docs/formats/sealed-payload.md is the page. Numbers are little-endian.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from zlib import crc32

VERSION: Final = 1
HEADER_BYTES: Final = 4096
COPY_BYTES: Final = 2048
"""Two copies, written in turn, each within one sector: a torn write leaves the other."""
SLOT_BYTES: Final = 128
KEY: Final = 1
GONE: Final = 2
NODE_KEY: Final = 0
"""Protection: data keys are wrapped under a key that is derived from the node's."""

_MAGIC: Final = b"QFLOWKEY"
_HEADER: Final = struct.Struct("<IIQQ32sII")
_SLOT: Final = struct.Struct("<BBHQQ104s")
_CRC: Final = struct.Struct("<I")
_NUMBER_AT: Final = 8
_INDEX_BITS: Final = 32


class Header(NamedTuple):
    """What stands before the slots."""

    generation: int = 0
    """The copy with the higher one counts."""
    applied: int = 0
    """So many records of the node's own chain were looked through for erasures."""
    applied_hash: bytes = bytes(32)
    """Of the last of those records: another history is looked through from its beginning."""
    protection: int = NODE_KEY
    epoch: int = 0
    """Of the wrapping key of new slots."""


class Slot(NamedTuple):
    """One data key, or that it was destroyed."""

    number: int
    state: int
    epoch: int = 0
    wrapped: bytes = bytes(104)


def encode_header(header: Header) -> bytes:
    """One copy, without the zeros behind it."""
    generation, applied, digest, protection, epoch = header
    body = _HEADER.pack(VERSION, 0, generation, applied, digest, protection, epoch)
    return _MAGIC + _CRC.pack(crc32(body)) + body


def parse_header(data: bytes) -> Header:
    """The newer of the copies that are whole. Raises ValueError when none is."""
    found = [_parse_copy(data[at:]) for at in (0, COPY_BYTES)]
    whole = [header for header in found if header is not None]
    if not whole:
        raise ValueError("its header is damaged")
    return max(whole)


def _parse_copy(data: bytes) -> Header | None:
    end = len(_MAGIC) + _CRC.size + _HEADER.size
    body = data[len(_MAGIC) + _CRC.size : end]
    if data[: len(_MAGIC)] != _MAGIC or len(body) != _HEADER.size:
        return None
    if _CRC.unpack_from(data, len(_MAGIC))[0] != crc32(body):
        return None
    version, _, *values = _HEADER.unpack(body)
    if version != VERSION or values[3] != NODE_KEY:
        raise ValueError(f"it is of version {version}, protection {values[3]}: made by a newer one")
    return Header(*values)


def encode_slot(slot: Slot) -> bytes:
    """The bytes of a slot."""
    body = _SLOT.pack(VERSION, slot.state, 0, slot.number, slot.epoch, slot.wrapped)
    return _CRC.pack(crc32(body)) + body


def parse_slot(data: bytes) -> Slot:
    """A slot. Raises ValueError when it is not whole."""
    if len(data) != SLOT_BYTES or _CRC.unpack_from(data)[0] != crc32(data[_CRC.size :]):
        raise ValueError("its checksum is wrong")
    version, state, zero, number, epoch, wrapped = _SLOT.unpack_from(data, _CRC.size)
    if version != VERSION or state not in (KEY, GONE) or zero:
        raise ValueError(f"it is of version {version}, state {state}")
    return Slot(number, state, epoch, wrapped)


def claimed_number(data: bytes) -> int:
    """The number in a slot, whole or not: overwriting leaves it as it is."""
    return int.from_bytes(data[_NUMBER_AT : _NUMBER_AT + 8], "little")


def number_of(tag: int, index: int) -> int:
    """A key's number: where it is, and by chance which key that was there."""
    return tag << _INDEX_BITS | index


def offset_of(number: int) -> int:
    """Where the slot of a number is in the file."""
    return HEADER_BYTES + (number & (1 << _INDEX_BITS) - 1) * SLOT_BYTES
