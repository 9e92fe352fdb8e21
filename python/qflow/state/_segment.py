"""The segment: records of one chain, sealed, that follow those of the segment before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self

import msgspec

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._draft import Block
from qflow.state._form import FORMAT, ID_BYTES, check_bytes, check_int, check_kind, check_link, link

KIND: Final = "qflow.history"
SEGMENT_BYTES_MAX: Final = 1 << 20
"""Of a block; a longer one is neither made nor read."""
TEXT_BYTES_MAX: Final = 768 << 10
"""Of the records of a segment; what goes beyond begins another one."""
RECORDS_MAX: Final = 4096
"""Of a segment, so that its links to payloads have room."""

_SEALED: Final = b"QFSH\x01"


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Some records of a chain, as their block has them. CIDs are bytes."""

    chain: bytes
    first: int
    """Number of the first record."""
    previous: bytes | None
    """The segment that ends before `first`; None when that is 0."""
    sealed: bytes
    """The records, sealed."""
    payloads: tuple[bytes, ...]
    """CIDs of the payloads that these records name, in their order, each once."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a block: canonical, exactly the keys of the format, within their bounds.

        Nothing was unsealed. Raises ValueError, which says what is wrong.
        """
        if len(data) > SEGMENT_BYTES_MAX:
            raise ValueError(f"a segment of {len(data)} bytes; {SEGMENT_BYTES_MAX} are allowed")
        made = check_kind(_core.decode(data), KIND, _KEYS)
        check_bytes("chain", made["chain"], ID_BYTES)
        check_int("first", made["first"])
        check_bytes("sealed", made["sealed"], None)
        if (made["previous"] is None) != (made["first"] == 0):
            raise ValueError("record 0 has no segment before it, and every other has")
        if made["previous"] is not None:
            made["previous"] = check_link("previous", made["previous"])
        made["payloads"] = _parse_payloads(made["payloads"])
        return cls(**made)

    def unseal(self, key: _core.SealingKey) -> list[bytes]:
        """Its records, in order. Raises VerificationError."""
        plain = _plain(self.chain, self.first, self.previous, self.payloads)
        text = key.unseal_bytes(self.sealed, bound=_SEALED + _core.encode(plain))
        try:
            records = _core.decode(text)
        except ValueError as error:
            raise VerificationError(f"its records: {error}") from None
        if not isinstance(records, list) or not 0 < len(records) <= RECORDS_MAX:
            raise VerificationError(f"it does not hold 1 to {RECORDS_MAX} records")
        if not all(isinstance(record, bytes) for record in records):
            raise VerificationError("its records are not bytes")
        return records


_KEYS: Final = frozenset({"v", "kind", *Segment.__struct_fields__})


def make_segments(
    chain: bytes,
    first: int,
    previous: bytes | None,
    records: Sequence[tuple[bytes, bytes | None]],
    key: _core.SealingKey,
) -> list[Block]:
    """Blocks of segments for records from number `first` on, each with the CID of its payload.

    One, or as many as their bounds want, in order. `previous` is the segment before.
    """
    blocks: list[Block] = []
    for part in _parts(records):
        payloads = dict.fromkeys(payload for _, payload in part if payload is not None)
        made = _plain(chain, first, previous, payloads)
        text = _core.encode([record for record, _ in part])
        made["sealed"] = key.seal_bytes(text, bound=_SEALED + _core.encode(made))
        data = _core.encode(made)
        previous = bytes(_core.cid_of(data))
        blocks.append((previous, data))
        first += len(part)
    return blocks


def _plain(
    chain: bytes, first: int, previous: bytes | None, payloads: Iterable[bytes]
) -> dict[str, Any]:
    """What of a segment is not sealed."""
    return {
        "v": FORMAT,
        "kind": KIND,
        "chain": chain,
        "first": first,
        "previous": link(previous),
        "payloads": [_core.Cid(payload) for payload in payloads],
    }


def _parts(
    records: Sequence[tuple[bytes, bytes | None]],
) -> Iterator[Sequence[tuple[bytes, bytes | None]]]:
    begin = size = 0
    for at, (record, _) in enumerate(records):
        if at > begin and (size + len(record) > TEXT_BYTES_MAX or at - begin == RECORDS_MAX):
            yield records[begin:at]
            begin, size = at, 0
        size += len(record)
    if begin < len(records):
        yield records[begin:]


def _parse_payloads(links: object) -> tuple[bytes, ...]:
    if not isinstance(links, list) or len(links) > RECORDS_MAX:
        raise ValueError(f"payloads is not a list of at most {RECORDS_MAX} links")
    payloads = tuple(check_link("a payload", item, "raw") for item in links)
    if len(set(payloads)) != len(payloads):
        raise ValueError("a payload is named twice")
    return payloads
