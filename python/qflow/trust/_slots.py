"""The bytes of the files `keys` and `adopted.keys`: two copies of a header, then slots of a fixed
size. Pure.

docs/formats/keys.md is the page. Numbers are little-endian.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Final, NamedTuple
from zlib import crc32

VERSION: Final = 1
HEADER_BYTES: Final = 4096
COPY_BYTES: Final = 2048
"""Two copies, written in turn, each within one sector: a torn write leaves the other."""
SLOT_BYTES: Final = 128
ADOPTED_BYTES: Final = 256
"""Of a slot of `adopted.keys`. Both sizes divide a sector's: no slot lies in two."""
KEY: Final = 1
GONE: Final = 2
NODE_KEY: Final = 0
"""Protection: data keys are wrapped under a key that is derived from the node's."""

MAGIC: Final = b"QFLOWKEY"
ADOPTED_MAGIC: Final = b"QFLOWADK"
_HEADER: Final = struct.Struct("<IIQQ32sII")
_SLOT: Final = struct.Struct("<BBHQQ104s")
_ADOPTED: Final = struct.Struct("<BBHQQ16s104s112x")
_BOUND: Final = struct.Struct(">5sQQ")
_CRC: Final = struct.Struct("<I")
_NUMBER_AT: Final = 8
_CHAIN_AT: Final = 24
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
    ring: int = 0
    """`subnet.keys` is of this generation at least: an older copy of it is refused."""


class Slot(NamedTuple):
    """One data key, or that it was destroyed."""

    number: int
    state: int
    epoch: int = 0
    wrapped: bytes = bytes(104)


class AdoptedSlot(NamedTuple):
    """One data key from another keyring, or that it was destroyed."""

    chain: bytes
    """16 bytes, of its execution: only with it is a number of another keyring unique."""
    number: int
    state: int
    epoch: int = 0
    wrapped: bytes = bytes(104)


def encode_header(header: Header, magic: bytes = MAGIC) -> bytes:
    """One copy, without the zeros behind it."""
    generation, applied, digest, protection, epoch, ring = header
    body = _HEADER.pack(VERSION, ring, generation, applied, digest, protection, epoch)
    return magic + _CRC.pack(crc32(body)) + body


def parse_header(data: bytes, magic: bytes = MAGIC) -> Header:
    """The newer of the copies that are whole. Raises ValueError when none is."""
    found = [_parse_copy(data[at:], magic) for at in (0, COPY_BYTES)]
    whole = [header for header in found if header is not None]
    if not whole:
        raise ValueError("its header is damaged")
    return max(whole)


def _parse_copy(data: bytes, magic: bytes) -> Header | None:
    end = len(magic) + _CRC.size + _HEADER.size
    body = data[len(magic) + _CRC.size : end]
    if data[: len(magic)] != magic or len(body) != _HEADER.size:
        return None
    if _CRC.unpack_from(data, len(magic))[0] != crc32(body):
        return None
    version, ring, *values = _HEADER.unpack(body)
    if version != VERSION or values[3] != NODE_KEY:
        raise ValueError(f"it is of version {version}, protection {values[3]}: made by a newer one")
    generation, applied, digest, protection, epoch = values
    return Header(generation, applied, digest, protection, epoch, ring)


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


def encode_adopted(slot: AdoptedSlot) -> bytes:
    """The bytes of a slot of `adopted.keys`."""
    chain, number, state, epoch, wrapped = slot
    body = _ADOPTED.pack(VERSION, state, 0, number, epoch, chain, wrapped)
    return _CRC.pack(crc32(body)) + body


def parse_adopted(data: bytes) -> AdoptedSlot:
    """A slot of `adopted.keys`. Raises ValueError when it is not whole."""
    if len(data) != ADOPTED_BYTES or _CRC.unpack_from(data)[0] != crc32(data[_CRC.size :]):
        raise ValueError("its checksum is wrong")
    version, state, zero, number, epoch, chain, wrapped = _ADOPTED.unpack_from(data, _CRC.size)
    if version != VERSION or state not in (KEY, GONE) or zero:
        raise ValueError(f"it is of version {version}, state {state}")
    return AdoptedSlot(chain, number, state, epoch, wrapped)


def first_key(data: bytes) -> Slot | None:
    """The first of these slots of `keys` that is whole and was not destroyed."""
    for start in range(0, len(data), SLOT_BYTES):
        with suppress(ValueError):
            slot = parse_slot(data[start : start + SLOT_BYTES])
            if slot.state == KEY:
                return slot
    return None


def is_key(data: bytes, number: int) -> bool:
    """Whether a slot of `keys` holds this key, or what a torn write left of it."""
    if len(data) < SLOT_BYTES:
        return False
    try:
        slot = parse_slot(data)
    except ValueError:
        return claimed_number(data) == number
    return slot.number == number and slot.state == KEY


def claimed_chain(data: bytes) -> tuple[bytes, int]:
    """The chain and the number in a slot of `adopted.keys`, whole or not."""
    return data[_CHAIN_AT : _CHAIN_AT + 16], claimed_number(data)


def claimed_number(data: bytes) -> int:
    """The number in a slot, whole or not: overwriting leaves it as it is."""
    return int.from_bytes(data[_NUMBER_AT : _NUMBER_AT + 8], "little")


def number_of(tag: int, index: int) -> int:
    """A key's number: where it is, and by chance which key that was there."""
    return tag << _INDEX_BITS | index


def bound_of(number: int, epoch: int) -> bytes:
    """What a key in a slot of `keys` is bound to."""
    return _BOUND.pack(b"QFKY\x01", number, epoch)


def adopted_bound_of(chain: bytes, number: int, epoch: int) -> bytes:
    """What a key in a slot of `adopted.keys` is bound to."""
    return _BOUND.pack(b"QFKA\x01", number, epoch) + chain


def offset_of(number: int) -> int:
    """Where the slot of a number is in the file."""
    return HEADER_BYTES + (number & (1 << _INDEX_BITS) - 1) * SLOT_BYTES
