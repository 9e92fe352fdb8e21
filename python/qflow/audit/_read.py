"""Reads one execution's history, and believes nothing that it has not checked again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._index import Index
from qflow.audit._queries import Place
from qflow.audit._source import Source, read_at
from qflow.errors import CorruptError, VerificationError

GENESIS: Final = bytes(32)
"""What the first record of a chain names as the hash before it."""
PAGE: Final = 1000
SCAN_BYTES_MAX: Final = 4 << 20


class Entry(msgspec.Struct, frozen=True):
    """One record with its payload, checked."""

    seq: int
    index: int
    """Its place in the log."""
    record: dict[str, Any]
    """As `_core.decode_record` gives it."""
    value: Any
    """The decoded payload; UNSET when the record has none or payloads were not asked for."""
    hash: bytes
    """What the next record names as the one before it."""


class History:
    """Records and payloads by chain. Every one is checked against its hash before it is given.

    The index only says where to look. When what is found there is not what the chain names,
    the index is rebuilt, once, before the log itself is held to be at fault.
    Raises CorruptError (the bytes are not what was written) or VerificationError (they do not
    fit the chain or the CID).
    """

    def __init__(self, index: Index, source: Source) -> None:
        self._index, self._source = index, source
        self._rebuilt = False

    def replay_source(self, chain: bytes, from_seq: int = 0) -> Iterator[Entry]:
        """All durable records of a chain from number `from_seq` on, with their payloads."""
        self._index.catch_up(self._source)
        return self._walk(chain, from_seq, None, values=True)

    def records(
        self, chain: bytes, *, after: int = -1, limit: int = 1000, values: bool = False
    ) -> list[Entry]:
        """At most `limit` records of a chain behind number `after`."""
        self._index.catch_up(self._source)
        return list(self._walk(chain, after + 1, limit, values=values))

    def snapshot(self, chain: bytes) -> Entry | None:
        """The newest record of a chain that carries a snapshot."""
        self._index.catch_up(self._source)
        seq = self._index.snapshot_seq(chain)
        return None if seq is None else next(self._walk(chain, seq, 1, values=True))

    def last(self, chain: bytes) -> Entry | None:
        """The newest record of a chain: of one that ended, with its output or problem."""
        self._index.catch_up(self._source)
        seq = self._index.ends(chain)[0]
        return None if seq is None else next(self._walk(chain, seq, 1, values=True))

    def block(self, cid: _core.Cid) -> bytes:
        """The bytes of a block. One that is only the payload of a record costs a search."""
        self._index.catch_up(self._source)
        known = self._index.block(bytes(cid))
        address = known[0] if known else self._search(bytes(cid))
        if address is None:
            raise CorruptError(f"the log has no block {cid}")
        return self._checked_block(cid, address)

    def _walk(self, chain: bytes, seq: int, limit: int | None, *, values: bool) -> Iterator[Entry]:
        left = limit
        try:
            prev = self._hash_before(chain, seq)
            while places := self._page(chain, seq, left):
                for place in places:
                    entry = self._entry(place, chain, seq, prev, values=values)
                    yield entry
                    seq, prev = seq + 1, entry.hash
                    left = None if left is None else left - 1
            if left != 0:
                self._check_end(chain, seq)
        except (CorruptError, VerificationError) as error:
            if self._rebuilt:
                raise
            self._rebuilt = True
            self._index.rebuild(self._source, why=str(error))
            yield from self._walk(chain, seq, left, values=values)

    def _page(self, chain: bytes, seq: int, left: int | None) -> list[Place]:
        return self._index.places(chain, seq, PAGE if left is None else min(left, PAGE))

    def _entry(self, place: Place, chain: bytes, seq: int, prev: bytes, *, values: bool) -> Entry:
        data = read_at(self._source, place.address)
        where = f"record {seq} of chain {chain.hex()}"
        try:
            record = _core.decode_record(data)
        except ValueError as error:
            raise CorruptError(f"{where}: {error}") from error
        if (record["chain"], record["seq"], place.seq) != (chain, seq, seq):
            raise VerificationError(f"{where}: another record stands in its place")
        if record["prev"] != prev:
            raise VerificationError(f"{where} does not follow the record before it")
        value = self._value(record, place) if values else msgspec.UNSET
        return Entry(seq, place.log_index, record, value, _core.record_hash(data))

    def _value(self, record: dict[str, Any], place: Place) -> Any:
        cid = record["payload"]
        if cid is None:
            return msgspec.UNSET
        at = place.payload
        data = self.block(cid) if at is None else self._checked_block(cid, at)
        try:
            return _core.decode(data) if cid.codec == "dag-cbor" else data
        except ValueError as error:
            raise CorruptError(f"block {cid}: {error}") from error

    def _checked_block(self, cid: _core.Cid, address: int) -> bytes:
        data = read_at(self._source, address)
        if _core.cid_of(data, cid.codec) != cid:
            raise VerificationError(f"the block at address {address} is not {cid}")
        return data

    def _hash_before(self, chain: bytes, seq: int) -> bytes:
        if seq == 0:
            return GENESIS
        before = self._index.places(chain, seq - 1, 1)
        if not before or before[0].seq != seq - 1:
            raise CorruptError(f"chain {chain.hex()} has no record {seq - 1}")
        return _core.record_hash(read_at(self._source, before[0].address))

    def _check_end(self, chain: bytes, seq: int) -> None:
        """A chain whose tail is missing here would be continued from the wrong place."""
        last, known = self._index.ends(chain)
        if known is not None and known != last:
            raise CorruptError(f"chain {chain.hex()} ends at {last}, its execution at {known}")
        # Asked again: it may have grown since the last page.
        if last is not None and last >= seq and not self._index.places(chain, seq, 1):
            raise CorruptError(f"chain {chain.hex()} has no record {seq}, but {last}")

    def _search(self, cid: bytes) -> int | None:
        address, after = -1, 0
        while after != address:
            address = after
            _, blocks, after = self._source.scan(address, SCAN_BYTES_MAX)
            for found, where, _length in blocks:
                if found == cid:
                    return where
        return None
