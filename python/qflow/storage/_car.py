"""CAR v1: blocks in one stream (https://ipld.io/specs/transport/car/carv1/), read strictly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from qflow import _core
from qflow.errors import VerificationError
from qflow.storage._blocks import BLOCK_BYTES_MAX, Block, check_size, fits, text_of

HEADER_BYTES_MAX: Final = 1 << 20
"""Of the header, whatever it says: some 25,000 roots."""
READ_BYTES: Final = 256 << 10
"""What is read, and written, at a time; this and one block more are in memory."""

_CID_BYTES: Final = 36
_CID_BYTES_MAX: Final = 64
_VARINT_BYTES_MAX: Final = 4
"""Longer ones say more than any bound here."""


class Stream(Protocol):
    """A file, or whatever else gives bytes by turns."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def write_car(roots: Sequence[bytes], blocks: Iterable[Block]) -> Iterator[bytes]:
    """A CAR of these blocks, in their order, in pieces of about READ_BYTES.

    The blocks are not hashed again, and whether they are all that is beneath the roots is the
    caller's to know. Raises ValueError for no root, a root that is no CIDv1, more roots than fit
    into HEADER_BYTES_MAX, and a block of more than BLOCK_BYTES_MAX.
    """
    if not roots:
        raise ValueError("a CAR has at least one root")
    header = _core.encode({"roots": [_core.Cid(root) for root in roots], "version": 1})
    if len(header) > HEADER_BYTES_MAX:
        raise ValueError(f"{len(roots)} roots are more than a header holds")
    return _pieces(header, blocks)


def _pieces(header: bytes, blocks: Iterable[Block]) -> Iterator[bytes]:
    parts = [_varint(len(header)), header]
    size = len(header)
    for block in blocks:
        check_size([block])
        cid, data = block
        parts += _varint(len(cid) + len(data)), cid, data
        size += len(data) + _CID_BYTES
        if size >= READ_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _varint(value: int) -> bytes:
    """Unsigned LEB128 in its shortest form."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_car(stream: Stream) -> tuple[list[bytes], Iterator[Block]]:
    """The roots of a CAR, and its blocks as they come, each hashed again; memory-flat.

    Blocks that were given before an error are good, each by itself. The end of the stream between
    two blocks is the end of the CAR: whether all is there, pinning a root says.
    Raises VerificationError, which says where, for anything else than a CAR as `CarParser` has it.
    """
    parser = CarParser()
    first: list[Block] = []
    while parser.roots is None:
        data = stream.read(READ_BYTES)
        first += parser.feed(data) if data else parser.finish()
    return parser.roots, _rest(parser, stream, first)


def _rest(parser: CarParser, stream: Stream, first: list[Block]) -> Iterator[Block]:
    yield from first
    while data := stream.read(READ_BYTES):
        yield from parser.feed(data)
    yield from parser.finish()


class CarParser:
    """Takes a CAR in pieces of any size, and gives its blocks.

    Strict: the header is canonical DAG-CBOR of `roots` and `version` 1, nothing else; lengths are
    in their shortest form; a block has a CIDv1 of a hash function that is known here, fits it, and
    is at most BLOCK_BYTES_MAX. Everything else is a VerificationError: nothing that was in that
    piece is given then. A block may come twice. A CAR may have no root, as IPLD's own fixtures
    are, against the letter of the specification.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0
        """Of the buffer's first byte in the stream."""
        self.roots: list[bytes] | None = None
        """From the header; None before it was read."""

    def feed(self, data: bytes) -> list[Block]:
        """The blocks that are complete with this piece, hashed."""
        self._buffer += data
        blocks: list[Block] = []
        at = 0
        with memoryview(self._buffer) as view:
            while (section := self._section(view, at)) is not None:
                begin, end = section
                if self.roots is None:
                    self.roots = self._header(bytes(view[begin:end]))
                else:
                    blocks.append(self._block(bytes(view[begin:end]), at))
                at = end
        self._check(blocks)
        del self._buffer[:at]
        self._offset += at
        return blocks

    def finish(self) -> list[Block]:
        """Say that nothing follows. Raises VerificationError when something must."""
        if self.roots is None:
            raise VerificationError("this is no CAR: it ends in its header")
        if self._buffer:
            raise self._refusal(0, "the CAR ends within a block")
        return []

    def _section(self, view: memoryview, at: int) -> tuple[int, int] | None:
        """Where the section at a place begins and ends behind its length; None: not all here."""
        size, begin = self._length(view, at)
        if begin < 0 or begin + size > len(view):
            return None
        return begin, begin + size

    def _length(self, view: memoryview, at: int) -> tuple[int, int]:
        """A length and the place behind it, which is -1 when not all of it is here."""
        value = 0
        for count, byte in enumerate(view[at : at + _VARINT_BYTES_MAX]):
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                if not byte and count:
                    raise self._refusal(at, "a length is longer than it has to be")
                self._check_length(value, at)
                return value, at + count + 1
        if len(view) - at >= _VARINT_BYTES_MAX:
            raise self._refusal(at, "a length is larger than any that is allowed")
        return 0, -1

    def _check_length(self, value: int, at: int) -> None:
        if not value:
            raise self._refusal(at, "a section is empty")
        if self.roots is None:
            if value > HEADER_BYTES_MAX:
                raise self._refusal(at, f"the header has {value} bytes of {HEADER_BYTES_MAX}")
        elif value > BLOCK_BYTES_MAX + _CID_BYTES_MAX:
            raise self._refusal(at, f"a block is larger than {BLOCK_BYTES_MAX} bytes")

    def _header(self, data: bytes) -> list[bytes]:
        try:
            header = _core.decode(data)
        except ValueError as error:
            raise VerificationError(f"this is no CAR: its header: {error}") from error
        if not isinstance(header, dict) or header.keys() != {"roots", "version"}:
            raise VerificationError("this is no CAR v1: its header is not {roots, version}")
        if header["version"] != 1 or isinstance(header["version"], bool | float):
            raise VerificationError(f"this is a CAR of version {header['version']!r}, not 1")
        roots = header["roots"]
        if not isinstance(roots, list) or not all(isinstance(root, _core.Cid) for root in roots):
            raise VerificationError("the roots of the CAR are not a list of CIDs")
        return [bytes(root) for root in roots]

    def _block(self, section: bytes, at: int) -> Block:
        cid, data = section[:_CID_BYTES], section[_CID_BYTES:]
        # Of version 1, with codes of one byte, and a digest of 32: no other is stored here.
        if len(cid) < _CID_BYTES or cid[0] != 1 or cid[3] != _CID_BYTES - 4:
            raise self._refusal(at, f"a block's CID is of no kind that is known: {cid[:4].hex()}")
        if len(data) > BLOCK_BYTES_MAX:
            raise self._refusal(at, f"a block is larger than {BLOCK_BYTES_MAX} bytes")
        return cid, data

    def _check(self, blocks: list[Block]) -> None:
        for (cid, _), fit in zip(blocks, fits(blocks), strict=True):
            if not fit:
                raise self._refusal(0, f"block {text_of(cid)} is not what its CID says")

    def _refusal(self, at: int, why: str) -> VerificationError:
        return VerificationError(f"CAR, at or behind byte {self._offset + at}: {why}")
