"""Answers to queries across chains: the chunks that the index names are read and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._index import Index
from qflow.audit._query import Query
from qflow.audit._search import CHUNK_RECORDS, Plan
from qflow.audit._source import Source, read_all
from qflow.errors import CorruptError

PAGE_RECORDS: Final = 1000
"""Of a page, when the query has no limit."""
PAGE_RECORDS_MAX: Final = 10_000
"""Of any page; a greater limit takes more pages."""
PAGE_CHUNKS_MAX: Final = 4096
"""Chunks that are read for one page; it may then have fewer records than were asked for."""
SCAN_BYTES_MAX: Final = 1 << 20

Prove = Callable[[int], bytes]
"""Makes a receipt for the record at an index of the log: `_core.make_receipt` of a folder."""


class Entry(msgspec.Struct, frozen=True):
    """One record with its payload, checked."""

    seq: int
    index: int
    """Its place in the log."""
    record: dict[str, Any]
    """As `_core.decode_record` gives it."""
    value: Any
    """The decoded payload; UNSET when the record has none or payloads were not asked for;
    `model.Withheld` when it is sealed and its key is not to be had."""
    hash: bytes
    """What the next record names as the one before it."""
    data: bytes = b""
    """The record as it lies in the log: what its hash and its proofs are about."""
    receipt: bytes | None = None
    """What proves it to others, where that was asked for."""


class Page(msgspec.Struct, frozen=True):
    """Part of an answer. Every record that it could have is in it, or behind `next`."""

    records: list[Entry]
    """In the order of the log, or the newest first."""
    next: str | None
    """What to set as `after` to go on. None: there is no more among the first `size` records."""
    size: int
    """How many records the log had."""
    ended: bool | None = None
    """Of a query by execution, on its last page: whether nothing can follow in its chain."""


class Piece(msgspec.Struct, frozen=True):
    """Consecutive records of the log."""

    first: int
    addresses: Sequence[int]
    records: Sequence[bytes]


def page_records(query: Query) -> int:
    """How many records a page may have."""
    return min(query.limit or PAGE_RECORDS, PAGE_RECORDS_MAX)


def answer(index: Index, source: Source, query: Query) -> Page:
    """A page of a query that is not about one chain.

    Raises CorruptError when a record is not where the index says, or is none.
    """
    plan = index.plan(query)
    position, most = query.position(), page_records(query)
    newer = beyond(index, source, plan.cursor.address)
    size = max((piece.first + len(piece.records) for piece in newer), default=plan.cursor.size)
    found: list[Entry] = []
    looked = -1
    pieces = _pieces(index, source, plan, newer, position, reverse=query.reverse)
    for piece in islice(pieces, PAGE_CHUNKS_MAX):
        for entry in _selected(plan.asked, piece, position, reverse=query.reverse):
            if len(found) == most:
                return Page(found, query.cursor(found[-1].index), size)
            found.append(entry)
        looked = piece.first if query.reverse else piece.first + len(piece.records) - 1
    is_over = next(pieces, None) is None
    return Page(found, None if is_over else query.cursor(looked), size)


def beyond(index: Index, source: Source, address: int) -> list[Piece]:
    """What the log has behind the records that are indexed; nothing unless we may not index it."""
    if not index.read_only:
        return []
    pieces = []
    while True:
        records, _, after = source.scan(address, SCAN_BYTES_MAX)
        if records:
            _, addresses, found = zip(*records, strict=True)
            pieces.append(Piece(records[0][0], addresses, found))
        if after == address:
            return pieces
        address = after


def _pieces(
    index: Index,
    source: Source,
    plan: Plan,
    newer: list[Piece],
    position: int | None,
    *,
    reverse: bool,
) -> Iterator[Piece]:
    """The records that may be asked for, one chunk at a time."""

    def read(number: int) -> Piece:
        first, addresses = index.addresses(plan, number)
        return Piece(first, addresses, read_all(source, addresses))

    def is_due(number: int) -> bool:
        bound = number if position is None else position // CHUNK_RECORDS
        return number <= bound if reverse else number >= bound

    tail = plan.cursor.size // CHUNK_RECORDS
    numbers: Iterable[int] = filter(is_due, chain(plan.chunks, [tail] if plan.cursor.tail else []))
    if reverse:
        return chain(reversed(newer), map(read, reversed(list(numbers))))
    return chain(map(read, numbers), newer)


def _selected(
    asked: _core.Filter, piece: Piece, position: int | None, *, reverse: bool
) -> Iterator[Entry]:
    places = select(asked, piece)
    for place in reversed(places) if reverse else places:
        index = piece.first + place
        if position is None or (index < position if reverse else index > position):
            data = piece.records[place]
            record = _core.decode_record(data)
            yield Entry(
                record["seq"], index, record, msgspec.UNSET, _core.record_hash(data), data=data
            )


def select(asked: _core.Filter, piece: Piece) -> list[int]:
    """Which of the records are asked for. Raises CorruptError."""
    try:
        return asked.select(piece.records)
    except ValueError as error:
        raise CorruptError(f"the log, from record {piece.first} on: {error}") from error
