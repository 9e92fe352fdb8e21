"""Writes a batch of the log's frames, folded by `_core.Fold`, into the tables of the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._source import Source, read_at
from qflow.audit._tables import ForeignError, checked, checksum
from qflow.errors import CorruptError

SPAN_CHUNKS: Final = 256
"""Chunks whose times are one row."""
SCHEDULE: Final = """
SELECT key, flow, definition, rule, since, fired_at, execution, crc FROM schedules"""

_SCHEDULED: Final = "q.qflow.exec.scheduled.v1"
_UNSCHEDULED: Final = "q.qflow.exec.unscheduled.v1"
_SCHEDULE_FIRED: Final = "q.qflow.exec.schedule_fired.v1"

_KNOWN: Final = """
SELECT f.name, status, state FROM executions e LEFT JOIN flows f ON f.code = e.flow WHERE id = ?"""
_TALLY: Final = """
INSERT INTO terms VALUES (?, ?, ?) ON CONFLICT (term) DO UPDATE SET
  chunks = chunks + excluded.chunks,
  digest = (digest | excluded.digest) - (digest & excluded.digest)"""

_json = msgspec.json.Encoder()


class Names:
    """Numbers for flows, and which names the index has: what repeats in every batch."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._known: set[tuple[str, str]] = set()

    def code(self, db: sqlite3.Connection, flow: str) -> int:
        known = self._codes.get(flow)
        if known is None:
            db.execute("INSERT OR IGNORE INTO flows (name) VALUES (?)", (flow,))
            (known,) = db.execute("SELECT code FROM flows WHERE name = ?", (flow,)).fetchone()
            self._codes[flow] = known
        return known

    def add(self, db: sqlite3.Connection, field: str, name: str, digest: int) -> None:
        """Note that a field has had this value. The tally of the field says which there are."""
        if (field, name) in self._known:
            return
        made = db.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (field, name))
        if made.rowcount == 1:
            db.execute(_TALLY, (f"{field}=", 1, digest))
        self._known.add((field, name))

    def forget(self) -> None:
        """What was added may have been rolled back."""
        self._codes.clear()
        self._known.clear()


def write(
    db: sqlite3.Connection, names: Names, source: Source, batch: _core.Batch, *, whole: bool
) -> None:
    """Write what a batch changes, inside the caller's transaction.

    `whole`: the log begins with its first record, so that every chain in it does.
    Raises CorruptError when the log contradicts itself, ForeignError, sqlite3.Error.
    """
    batch.place([_block_address(db, cid) for cid in batch.elsewhere])
    begun = [
        (chain, names.code(db, flow), status, state) for chain, flow, status, state in batch.begun()
    ]
    try:
        db.executemany("INSERT INTO executions VALUES (?, ?, ?, ?)", begun)
        _write_changes(db, source, batch, whole=whole)
        db.executemany("INSERT INTO runs VALUES (?, ?, ?)", batch.runs())
    except sqlite3.IntegrityError:
        raise CorruptError("two records of the log have the same place in a chain") from None
    # A block that is there again was carried across a cut: its first place is about to go.
    db.executemany("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", batch.blocks)
    _write_chunks(db, names, batch)


def _write_changes(
    db: sqlite3.Connection, source: Source, batch: _core.Batch, *, whole: bool
) -> None:
    """The rows of executions that go on, and what the other chains say."""
    known = [db.execute(_KNOWN, (chain,)).fetchone() for chain in batch.continued]
    try:
        changed = batch.changed(known)
    except (TypeError, ValueError) as error:
        raise ForeignError(str(error)) from None
    rows = [(status, state, chain) for chain, _, status, state in filter(None, changed)]
    db.executemany("UPDATE executions SET status = ?, state = ? WHERE id = ?", rows)
    for row, (chain, seq, index, last, facts) in zip(changed, batch.facts(), strict=True):
        if row is None:
            _check_goes_on(db, chain, seq, index, whole=whole)
            values = (chain, last)
            db.execute(
                "INSERT OR REPLACE INTO others VALUES (?, ?, ?)", (*values, checksum(values))
            )
            for _, address, payload in facts:
                _schedule(db, source, _core.decode_record(read_at(source, address)), payload)


def _check_goes_on(
    db: sqlite3.Connection, chain: bytes, seq: int, index: int, *, whole: bool
) -> None:
    """Whether the records of a chain that is no execution follow those that are there."""
    last = other_seq(db, chain)
    if last is None:
        if whole and seq != 0:
            raise CorruptError(f"record {index} of the log: a chain begins with record {seq}")
    elif seq <= last:
        raise CorruptError(f"record {index} of the log: another has the same place in its chain")
    elif seq != last + 1:
        raise CorruptError(f"record {index} of the log: it follows record {last} of its chain")


def other_seq(db: sqlite3.Connection, chain: bytes) -> int | None:
    """The number of the last record of a chain that is no execution. Raises ForeignError."""
    query = "SELECT chain, seq, crc FROM others WHERE chain = ?"
    found = db.execute(query, (chain,)).fetchone()
    return None if found is None else int(checked(found)[1])


def last_seq(db: sqlite3.Connection, chain: bytes) -> int | None:
    """The number of the last record of a chain that has a place. Raises ForeignError."""
    query = "SELECT first, places FROM runs WHERE chain = ? ORDER BY first DESC LIMIT 1"
    found = db.execute(query, (chain,)).fetchone()
    if found is None:
        return None
    return unpacked_run(chain, *found)[-1][0]


def unpacked_run(chain: bytes, first: int, places: bytes) -> list[tuple[int, int, int, int | None]]:
    """A row of the table `runs`: (seq, index, address, address of the payload).

    Raises ForeignError."""
    try:
        run = _core.unpack_run(chain, first, places)
    except (TypeError, ValueError, OverflowError):
        raise ForeignError("a row is damaged") from None
    if not run:
        raise ForeignError("a row is empty")
    return run


def _schedule(
    db: sqlite3.Connection, source: Source, record: Mapping[str, Any], payload: int | None
) -> None:
    """What a node's own chain says about what starts by itself."""
    kind, meta = record["type"], record["meta"]
    try:
        if kind == _SCHEDULED:
            flow = _flow_key(_value(source, payload))
            rule = _json.encode(meta["rule"]).decode()
            cid = str(record["payload"])
            _save_schedule(db, [meta["key"], flow, cid, rule, record["at"], None, None])
        elif kind == _UNSCHEDULED:
            db.execute("DELETE FROM schedules WHERE key = ?", (meta["key"],))
        elif kind == _SCHEDULE_FIRED:
            found = db.execute(SCHEDULE + " WHERE key = ?", (meta["key"],)).fetchone()
            if found is not None:
                _save_schedule(db, [*checked(found)[:5], meta["due"], meta["execution"]])
    except (LookupError, TypeError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
        text = f"record {record['seq']} of chain {record['chain'].hex()}: {error}"
        raise CorruptError(text) from error


def _save_schedule(db: sqlite3.Connection, values: list[Any]) -> None:
    row = (*values, checksum(values))
    db.execute("INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def _value(source: Source, payload: int | None) -> Any:
    if payload is None:
        return None
    try:
        return _core.decode(read_at(source, payload))
    except ValueError as error:
        raise CorruptError(f"the payload of a schedule: {error}") from error


def _flow_key(document: Mapping[str, Any]) -> str:
    named = document["document"]
    return f"{named['namespace']}/{named['name']}/{named['version']}"


def _block_address(db: sqlite3.Connection, cid: bytes) -> int | None:
    """Where a payload is that is not beside its record. CIDs are random: a row for each block
    would dirty a page of the index for each, so only those have one that no record carries."""
    found = db.execute("SELECT address FROM blocks WHERE cid = ?", (cid,)).fetchone()
    return found[0] if found else None


def _write_chunks(db: sqlite3.Connection, names: Names, batch: _core.Batch) -> None:
    """The chunks that became full: where their records are, when they were, what they say."""
    chunks = batch.chunks
    if not chunks:
        return
    db.executemany("INSERT INTO chunks VALUES (?, ?)", [chunk[:2] for chunk in chunks])
    words = [(number, terms) for number, _, terms, _ in chunks]
    db.executemany("INSERT INTO words (rowid, terms) VALUES (?, ?)", words)
    db.executemany(_TALLY, batch.tallies)
    for field, name, digest in batch.names:
        names.add(db, field, name, digest)
    for span, group in groupby(chunks, lambda chunk: chunk[0] // SPAN_CHUNKS):
        more = list(group)
        found = db.execute("SELECT times FROM spans WHERE number = ?", (span,)).fetchone()
        try:
            row = _core.extend_span(
                span, found[0] if found else None, more[0][0], [chunk[3] for chunk in more]
            )
        except (TypeError, ValueError) as error:
            raise ForeignError(str(error)) from None
        db.execute("INSERT OR REPLACE INTO spans VALUES (?, ?)", (span, row))
