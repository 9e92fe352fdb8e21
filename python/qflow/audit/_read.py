"""Reads one execution's history, and believes nothing that it has not checked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import replace

from qflow import _core, model
from qflow.audit._answer import Entry, Page, Prove, answer, beyond, page_records, select
from qflow.audit._index import Index
from qflow.audit._queries import Place
from qflow.audit._query import Query
from qflow.audit._source import Source, read_at
from qflow.errors import (
    CorruptError,
    ErasedError,
    ExecutionNotFoundError,
    UnavailableError,
    VerificationError,
)

GENESIS: Final = bytes(32)
"""What the first record of a chain names as the hash before it."""
TERMINAL: Final = frozenset(f"q.qflow.exec.{end}.v1" for end in ("completed", "faulted", "aborted"))
"""Nothing follows a record of these types in its chain."""
PAGE: Final = 1000
SCAN_BYTES_MAX: Final = 4 << 20


_SEALED: Final = b"QFSP"
Block = tuple[bytes, bytes]
"""The CID and the data of a block."""
Look = Callable[[dict[str, Any], Place], Any]
"""What is looked up for a record."""


class Unsealer(Protocol):
    """Whoever has the keys that payloads are sealed with: `trust.Keyring`."""

    def key_of(self, chain: bytes, number: int) -> _core.SealingKey:
        """The key of a chain's payloads, by its number. Raises ErasedError, or UnavailableError
        when it is not here."""
        ...


class History:
    """Records and payloads by chain. Every one is checked against its hash before it is given.

    The index only says where to look. When what is found there is not what the chain names,
    the index is rebuilt, once, before the log itself is held to be at fault.
    Raises CorruptError (the bytes are not what was written) or VerificationError (they do not
    fit the chain or the CID). Without an `unsealer`, sealed payloads stay sealed.
    """

    def __init__(self, index: Index, source: Source, unsealer: Unsealer | None = None) -> None:
        self._index, self._source, self._unsealer = index, source, unsealer
        self._rebuilt = -1
        """The generation of the index that was made because the one before was doubted."""

    def replay_source(self, chain: bytes, from_seq: int = 0) -> Iterator[Entry]:
        """All durable records of a chain from number `from_seq` on, with their payloads."""
        self._catch_up()
        return self._walk(chain, from_seq, None, self._value)

    def records(
        self, chain: bytes, *, after: int = -1, limit: int = 1000, values: bool = False
    ) -> list[Entry]:
        """At most `limit` records of a chain behind number `after`."""
        self._catch_up()
        return list(self._walk(chain, after + 1, limit, self._value if values else None))

    def stored(self, chain: bytes, from_seq: int = 0) -> Iterator[tuple[bytes, Block | None]]:
        """The durable records of a chain from number `from_seq` on as they lie in the log, each
        with the block of its payload, sealed as it is. None: it has no payload."""
        self._catch_up()
        for entry in self._walk(chain, from_seq, None, self._block):
            yield entry.data, None if entry.value is msgspec.UNSET else entry.value

    def query(self, query: Query, *, prove: Prove | None = None) -> Page:
        """A page of the records that are asked for, each with a receipt if `prove` makes one.

        Of one execution: checked to be all of its chain from its first record on, or from the
        cursor on. Raises ExecutionNotFoundError when there is none, ValueError for a cursor of
        another query.
        """
        self._catch_up()
        try:
            page = self._answer(query)
        except (CorruptError, VerificationError) as error:
            self._rebuild_once(error)
            page = self._answer(query)
        if prove is None:
            return page
        proven = [replace(entry, receipt=prove(entry.index)) for entry in page.records]
        return replace(page, records=proven)

    def search(self, query: Query) -> Iterator[Entry]:
        """All records that are asked for, page by page, up to the limit of the query."""
        left = query.limit
        while True:
            page = self.query(replace(query, limit=left))
            yield from page.records
            left = None if left is None else left - len(page.records)
            if page.next is None or left == 0:
                return
            query = replace(query, after=page.next)

    def snapshot(self, chain: bytes) -> Entry | None:
        """The newest record of a chain that carries a snapshot."""
        self._catch_up()
        seq = self._index.snapshot_seq(chain)
        return None if seq is None else next(self._walk(chain, seq, 1, self._value))

    def last(self, chain: bytes) -> Entry | None:
        """The newest record of a chain: of one that ended, with its output or problem."""
        self._catch_up()
        try:
            seq = self._last_seq(chain)
        except CorruptError as error:
            self._rebuild_once(error)
            seq = self._last_seq(chain)
        return None if seq is None else next(self._walk(chain, seq, 1, self._value))

    def block(self, cid: _core.Cid) -> bytes:
        """The bytes of a block. One that is only the payload of a record costs a search."""
        self._catch_up()
        known = self._index.block(bytes(cid))
        address = known[0] if known else self._search(bytes(cid))
        if address is None:
            raise CorruptError(f"the log has no block {cid}")
        return self._checked_block(cid, address)

    def _catch_up(self) -> None:
        if not self._index.read_only:
            self._index.catch_up(self._source)

    def _rebuild_once(self, error: Exception) -> None:
        """Make the index anew, which is the first suspect. Raises the error the second time."""
        if self._rebuilt == self._index.generation or self._index.read_only:
            raise error
        self._index.rebuild(self._source, why=str(error))
        self._rebuilt = self._index.generation

    def _walk(
        self, chain: bytes, seq: int, limit: int | None, look: Look | None
    ) -> Iterator[Entry]:
        given = 0
        try:
            for entry in self._steps(chain, seq, limit, look):
                yield entry
                given, seq = given + 1, entry.seq + 1
        except (CorruptError, VerificationError) as error:
            self._rebuild_once(error)
            left = None if limit is None else limit - given
            yield from self._steps(chain, seq, left, look)

    def _steps(
        self, chain: bytes, seq: int, limit: int | None, look: Look | None = None
    ) -> Iterator[Entry]:
        """The records of a chain, each checked, as the index has them now."""
        left = limit
        seq, prev = self._start(chain, seq)
        while places := self._page(chain, seq, left):
            for place in places:
                entry = self._entry(place, chain, seq, prev, look)
                yield entry
                seq, prev = seq + 1, entry.hash
                left = None if left is None else left - 1
        if left != 0:
            self._check_end(chain, seq)

    def _page(self, chain: bytes, seq: int, left: int | None) -> list[Place]:
        most = PAGE if left is None else min(left, PAGE)
        if not self._index.read_only:
            return self._index.places(chain, seq, most)
        # Asked before, so that what is indexed meanwhile is in both, and not in neither.
        end = self._index.end
        places = self._index.places(chain, seq, most)
        known = seq + len(places)
        newer = self._newer(chain, end) if len(places) < most else []
        return (places + [place for place in newer if place.seq >= known])[:most]

    def _newer(self, chain: bytes, address: int) -> list[Place]:
        """The places of a chain's records that are not indexed yet."""
        asked, found = _core.Filter(chain=chain), []
        for piece in beyond(self._index, self._source, address):
            for at in select(asked, piece):
                seq = _core.decode_record(piece.records[at])["seq"]
                found.append(Place(seq, piece.first + at, piece.addresses[at], None))
        return found

    def _answer(self, query: Query) -> Page:
        if query.chain is None:
            return answer(self._index, self._source, query)
        size = self._source.size if self._index.read_only else self._index.size
        first, last = self._bounds(query.chain)
        asked, most, position = query.filter(), page_records(query), query.position()
        if query.reverse:
            steps = self._backward(
                query.chain, first, last if position is None else min(last, position - 1)
            )
        else:
            begin = first if position is None else position + 1
            steps = self._walk(query.chain, begin, None, None) if begin <= last else iter(())
        found: list[Entry] = []
        for entry in steps:
            if not asked.matches(entry.data):
                continue
            if len(found) == most:
                return Page(found, query.cursor(found[-1].seq), size)
            found.append(entry)
        (end,) = self._steps(query.chain, last, 1)
        return Page(found, None, size, ended=end.record["type"] in TERMINAL)

    def _bounds(self, chain: bytes) -> tuple[int, int]:
        """The numbers of a chain's first and last record that the log has."""
        last = self._last_seq(chain)
        if self._index.read_only:
            newer = self._newer(chain, self._index.end)
            last = newer[-1].seq if newer else last
        begin = self._page(chain, 0, 1)
        if last is None or not begin:
            raise ExecutionNotFoundError(f"the log has no chain {model.id_text(chain)}")
        return (begin[0].seq if self._index.first else 0), last

    def _backward(self, chain: bytes, first: int, last: int) -> Iterator[Entry]:
        """The records of a chain from number `last` back to `first`, checked as going forward."""
        while last >= first:
            begin = max(first, last - PAGE + 1)
            page = list(self._steps(chain, begin, last - begin + 1))
            if len(page) != last - begin + 1:
                raise CorruptError(f"chain {chain.hex()} has no record {begin + len(page)}")
            yield from reversed(page)
            last = begin - 1

    def _entry(
        self, place: Place, chain: bytes, seq: int, prev: bytes | None, look: Look | None
    ) -> Entry:
        data = read_at(self._source, place.address)
        where = f"record {seq} of chain {chain.hex()}"
        try:
            record = _core.decode_record(data)
        except ValueError as error:
            raise CorruptError(f"{where}: {error}") from error
        if (record["chain"], record["seq"], place.seq) != (chain, seq, seq):
            raise VerificationError(f"{where}: another record stands in its place")
        if prev is not None and record["prev"] != prev:
            raise VerificationError(f"{where} does not follow the record before it")
        value = msgspec.UNSET if look is None else look(record, place)
        return Entry(seq, place.log_index, record, value, _core.record_hash(data), data=data)

    def _block(self, record: dict[str, Any], place: Place) -> Any:
        """The CID and the bytes of a record's payload."""
        cid = record["payload"]
        if cid is None:
            return msgspec.UNSET
        at = place.payload
        return bytes(cid), self.block(cid) if at is None else self._checked_block(cid, at)

    def _value(self, record: dict[str, Any], place: Place) -> Any:
        block = self._block(record, place)
        if block is msgspec.UNSET:
            return msgspec.UNSET
        cid, data = record["payload"], block[1]
        if cid.codec == "raw" and data.startswith(_SEALED):
            unsealed = self._unsealed(record, data)
            if isinstance(unsealed, model.Withheld):
                return unsealed
            data = unsealed
        elif cid.codec != "dag-cbor":
            return data
        try:
            return _core.decode(data)
        except ValueError as error:
            raise CorruptError(f"block {cid}: {error}") from error

    def _unsealed(self, record: dict[str, Any], block: bytes) -> bytes | model.Withheld:
        if self._unsealer is None:
            return model.Withheld.SEALED
        try:
            key = self._unsealer.key_of(record["chain"], _core.sealed_with(block))
        except ErasedError:
            return model.Withheld.ERASED
        except UnavailableError:
            return model.Withheld.SEALED
        place = {name: record[name] for name in ("subnet", "chain", "seq", "epoch", "prev")}
        return key.unseal(block, **place)

    def _checked_block(self, cid: _core.Cid, address: int) -> bytes:
        data = read_at(self._source, address)
        if _core.cid_of(data, cid.codec) != cid:
            raise VerificationError(f"the block at address {address} is not {cid}")
        return data

    def _start(self, chain: bytes, seq: int) -> tuple[int, bytes | None]:
        """Where to begin, and what the first record names. Of a pruned log that may be the first
        record of the chain that is kept, and then the one before it is not known."""
        if self._index.first:
            kept = self._index.places(chain, 0, 1)
            if kept and kept[0].seq >= max(seq, 1):
                return kept[0].seq, None
        return seq, self._hash_before(chain, seq)

    def _hash_before(self, chain: bytes, seq: int) -> bytes:
        if seq == 0:
            return GENESIS
        before = self._page(chain, seq - 1, 1)
        if not before or before[0].seq != seq - 1:
            raise CorruptError(f"chain {chain.hex()} has no record {seq - 1}")
        return _core.record_hash(read_at(self._source, before[0].address))

    def _check_end(self, chain: bytes, seq: int) -> None:
        """A chain whose tail is missing here would be continued from the wrong place."""
        last = self._last_seq(chain)
        # Asked again: it may have grown since the last page.
        if last is not None and last >= seq and not self._index.places(chain, seq, 1):
            raise CorruptError(f"chain {chain.hex()} has no record {seq}, but {last}")

    def _last_seq(self, chain: bytes) -> int | None:
        last, known = self._index.ends(chain)
        if known != last:
            raise CorruptError(
                f"chain {chain.hex()} ends at {last}, what is known of it at {known}"
            )
        return last

    def _search(self, cid: bytes) -> int | None:
        address, after = -1, 0
        while after != address:
            address = after
            _, blocks, after = self._source.scan(address, SCAN_BYTES_MAX)
            for found, where, _length in blocks:
                if found == cid:
                    return where
        return None
