"""Writes a batch of the log's frames into the tables of the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit import _projection
from qflow.audit._projection import Row
from qflow.audit._source import Source, read_at
from qflow.audit._tables import checked, checksum
from qflow.errors import CorruptError

COLUMNS: Final = """
SELECT id, n.name, status, parent, started_at, updated_at, seq, wake_at, listens,
  snapshot_seq, problem, definition, crc
FROM executions e LEFT JOIN names n ON n.code = e.flow"""
"""What `row_of` reads."""

_ROW: Final = COLUMNS + " WHERE id = ?"

_SAVE: Final = """
INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at,
  seq = excluded.seq, wake_at = excluded.wake_at, listens = excluded.listens,
  snapshot_seq = excluded.snapshot_seq, problem = excluded.problem,
  crc = excluded.crc"""

SCHEDULE: Final = """
SELECT key, flow, definition, rule, since, fired_at, execution, crc FROM schedules"""

_listens = msgspec.json.Decoder(tuple[str, ...])
_json = msgspec.json.Encoder()


class Names:
    """Numbers for words that repeat in every row: record types and keys of flows."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, db: sqlite3.Connection, name: str) -> int:
        known = self._codes.get(name)
        if known is None:
            db.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", (name,))
            (known,) = db.execute("SELECT code FROM names WHERE name = ?", (name,)).fetchone()
            self._codes[name] = known
        return known

    def forget(self) -> None:
        """What was added may have been rolled back."""
        self._codes.clear()


class Batch:
    """Some whole frames on their way into the tables, inside the caller's transaction."""

    def __init__(
        self,
        db: sqlite3.Connection,
        names: Names,
        source: Source,
        blocks: Sequence[tuple[bytes, int, int]],
    ) -> None:
        self._db, self._names, self._source = db, names, source
        self._blocks = blocks
        self._addresses = {cid: address for cid, address, _ in blocks}
        self._beside: set[bytes] = set()
        self._loose: set[bytes] = set()
        self._rows: dict[bytes, Row | None] = {}

    def write(self, records: Iterable[tuple[int, int, bytes]]) -> None:
        """Project the records, then the rows they changed. Raises CorruptError, sqlite3.Error."""
        places = [self._place(index, address, data) for index, address, data in records]
        try:
            self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", places)
        except sqlite3.IntegrityError:
            raise CorruptError("two records of the log have the same place in a chain") from None
        code = self._names.code
        self._db.executemany(
            _SAVE, [_saved(row, code(self._db, row.flow)) for row in self._rows.values() if row]
        )
        self._write_blocks()

    def _place(self, index: int, address: int, data: bytes) -> tuple[Any, ...]:
        try:
            record = _core.decode_record(data)
        except ValueError as error:
            raise CorruptError(f"record {index} of the log: {error}") from error
        payload = None if record["payload"] is None else self._address(bytes(record["payload"]))
        try:
            self._apply(record, payload)
        except (CorruptError, LookupError, TypeError) as error:
            raise CorruptError(f"record {index} of the log: {error}") from error
        code = self._names.code(self._db, record["type"])
        return (record["chain"], record["seq"], index, address, code, payload)

    def _apply(self, record: Mapping[str, Any], payload: int | None) -> None:
        chain = record["chain"]
        if chain not in self._rows:
            self._rows[chain] = _load(self._db, chain)
        row = self._rows[chain]
        if row is not None:
            _projection.advance(row, record, lambda: self._value(payload))
            return
        row = self._rows[chain] = _projection.begin(record)
        if row is None:
            self._schedule(record, payload)
        elif row.definition:
            self._loose.add(bytes(_core.Cid(row.definition)))

    def _schedule(self, record: Mapping[str, Any], payload: int | None) -> None:
        kind, meta = record["type"], record["meta"]
        if kind == _projection.SCHEDULED:
            self._loose.add(bytes(record["payload"]))
            flow = _flow_key(self._value(payload))
            rule = _json.encode(meta["rule"]).decode()
            values = [meta["key"], flow, str(record["payload"]), rule, record["at"], None, None]
            self._save_schedule(values)
        elif kind == _projection.UNSCHEDULED:
            self._db.execute("DELETE FROM schedules WHERE key = ?", (meta["key"],))
        elif kind == _projection.SCHEDULE_FIRED:
            found = self._db.execute(SCHEDULE + " WHERE key = ?", (meta["key"],)).fetchone()
            if found is not None:
                self._save_schedule([*checked(found)[:5], meta["due"], meta["execution"]])

    def _save_schedule(self, values: list[Any]) -> None:
        row = (*values, checksum(values))
        self._db.execute("INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _address(self, cid: bytes) -> int | None:
        """Where a payload is. Nearly always beside its record, and then in no table of its own:
        CIDs are random, and a row for each would dirty a page of the index for each."""
        if (address := self._addresses.get(cid)) is not None:
            self._beside.add(cid)
            return address
        found = self._db.execute("SELECT address FROM blocks WHERE cid = ?", (cid,)).fetchone()
        return found[0] if found else None

    def _value(self, payload: int | None) -> Any:
        if payload is None:
            return None
        try:
            return _core.decode(read_at(self._source, payload))
        except ValueError as error:
            raise CorruptError(f"its payload: {error}") from error

    def _write_blocks(self) -> None:
        beside = self._beside - self._loose
        rows = [block for block in self._blocks if block[0] not in beside]
        if rows:
            self._db.executemany("INSERT OR IGNORE INTO blocks VALUES (?, ?, ?)", rows)


def row_of(values: Sequence[Any]) -> Row:
    """A row of the table `executions`, its flow already spelled out. Raises ForeignError."""
    values = checked(values)
    row = Row(
        id=values[0],
        flow=values[1],
        status=values[2],
        parent=values[3],
        started_at=values[4],
        updated_at=values[5],
        seq=values[6],
        wake_at=values[7],
        snapshot_seq=values[9],
        definition=values[11],
    )
    if values[8] is not None:
        row.listens = _listens.decode(values[8])
    if values[10] is not None:
        row.problem = msgspec.json.decode(values[10])
    return row


def _flow_key(document: Mapping[str, Any]) -> str:
    named = document["document"]
    return f"{named['namespace']}/{named['name']}/{named['version']}"


def _load(db: sqlite3.Connection, chain: bytes) -> Row | None:
    values = db.execute(_ROW, (chain,)).fetchone()
    return row_of(values) if values else None


def _saved(row: Row, flow: int) -> tuple[Any, ...]:
    values = (
        row.id,
        row.flow,
        row.status,
        row.parent,
        row.started_at,
        row.updated_at,
        row.seq,
        row.wake_at,
        _json.encode(row.listens).decode() if row.listens else None,
        row.snapshot_seq,
        _json.encode(row.problem).decode() if row.problem else None,
        row.definition,
    )
    return (row.id, flow, *values[2:], checksum(values))
