"""The questions about executions and chains that the index answers, each one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from qflow import _core, model
from qflow.audit._project import SCHEDULE, last_seq, other_seq, unpacked_run
from qflow.audit._tables import ForeignError, checked, one_look
from qflow.errors import ExecutionNotFoundError

STATUSES: Final = ("running", "waiting", "paused", "completed", "faulted", "aborted")
_ID_CHARS: Final = 26
_COLUMNS: Final = """
SELECT id, f.name, status, state FROM executions e LEFT JOIN flows f ON f.code = e.flow"""


class Place(NamedTuple):
    """Where one record of a chain is. The addresses are for `Source.read`."""

    seq: int
    log_index: int
    address: int
    payload: int | None
    """The address of its payload, when that is known without a search."""


class Waiting(NamedTuple):
    """An execution that only waits: until a time (UTC ms), for events of these types."""

    execution: str
    wake_at: int | None
    listens: tuple[str, ...]


class Row(NamedTuple):
    """A row of the table `executions`."""

    id: bytes
    flow: str
    status: str
    parent: str | None
    definition: str
    started_at: int
    updated_at: int
    seq: int
    snapshot_seq: int | None
    wake_at: int | None
    listens: Sequence[str]


def execution(db: sqlite3.Connection, text: str) -> model.Execution:
    bounds = _prefix_bounds(text)
    query = _COLUMNS + " WHERE id BETWEEN ? AND ? LIMIT 2"
    found = db.execute(query, bounds).fetchall() if bounds else []
    if not found:
        raise ExecutionNotFoundError(f"there is no execution {text!r}")
    if len(found) > 1:
        raise ExecutionNotFoundError(f"more than one execution begins with {text!r}")
    return _shown(_row_of(found[0]))


def executions(
    db: sqlite3.Connection, status: str | None, flow: str | None, limit: int, before: str | None
) -> list[model.Execution]:
    where: list[str] = []
    values: list[Any] = []
    if status is not None:
        where.append("e.status = ?")
        values.append(status)
    if flow is not None:
        codes = _flow_codes(db, flow)
        where.append(f"e.flow IN ({', '.join('?' * len(codes))})")
        values.extend(codes)
    if before is not None:
        where.append("e.id < ?")
        values.append(_exact(before))
    query = _COLUMNS + (" WHERE " + " AND ".join(where) if where else "")
    rows = db.execute(query + " ORDER BY e.id DESC LIMIT ?", (*values, limit))
    return [_shown(_row_of(row)) for row in rows]


def running(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT id FROM executions WHERE status = 'running' ORDER BY id")
    return [model.id_text(row[0]) for row in rows]


def unfinished(db: sqlite3.Connection) -> list[model.Execution]:
    query = _COLUMNS + " WHERE status IN ('running', 'waiting', 'paused') ORDER BY id"
    return [_shown(_row_of(row)) for row in db.execute(query)]


def waiting(db: sqlite3.Connection) -> list[Waiting]:
    rows = (_row_of(row) for row in db.execute(_COLUMNS + " WHERE status = 'waiting'"))
    return [Waiting(model.id_text(row.id), row.wake_at, tuple(row.listens)) for row in rows]


def counts(db: sqlite3.Connection) -> dict[str, int]:
    rows = db.execute("SELECT status, count(*) FROM executions GROUP BY status")
    return {**dict.fromkeys(STATUSES, 0), **dict(rows.fetchall())}


def schedules(db: sqlite3.Connection) -> list[model.Schedule]:
    rows = (checked(row) for row in db.execute(SCHEDULE + " ORDER BY key"))
    return [
        model.Schedule(
            key=key,
            flow=flow,
            definition=definition,
            rule=msgspec.json.decode(rule),
            since=since,
            fired_at=fired_at,
            execution=started,
        )
        for key, flow, definition, rule, since, fired_at, started in rows
    ]


def places(db: sqlite3.Connection, chain: bytes, from_seq: int, limit: int) -> list[Place]:
    """At most `limit` places, from record `from_seq` on; of a run only what is asked for."""
    query = "SELECT first, places FROM runs WHERE chain = ? AND first <= ? ORDER BY first DESC"
    rows = db.execute(query + " LIMIT 1", (chain, from_seq)).fetchall()
    later = db.execute(
        "SELECT first, places FROM runs WHERE chain = ? AND first > ? ORDER BY first",
        (chain, from_seq),
    )
    found: list[Place] = []
    while True:
        for first, row in rows:
            run = unpacked_run(chain, first, row)
            found += [Place(*place) for place in run if place[0] >= from_seq]
        if len(found) >= limit or not (rows := later.fetchmany(64)):
            return found[:limit]


def ends(db: sqlite3.Connection, chain: bytes) -> tuple[int | None, int | None]:
    with one_look(db):
        row = _find(db, chain)
        return last_seq(db, chain), other_seq(db, chain) if row is None else row.seq


def snapshot_seq(db: sqlite3.Connection, chain: bytes) -> int | None:
    row = _find(db, chain)
    return None if row is None else row.snapshot_seq


def block(db: sqlite3.Connection, cid: bytes) -> tuple[int, int] | None:
    found = db.execute("SELECT address, length FROM blocks WHERE cid = ?", (cid,)).fetchone()
    return (found[0], found[1]) if found else None


def _find(db: sqlite3.Connection, chain: bytes) -> Row | None:
    found = db.execute(_COLUMNS + " WHERE id = ?", (chain,)).fetchone()
    return None if found is None else _row_of(found)


def _row_of(values: Sequence[Any]) -> Row:
    """Raises ForeignError unless its checksum covers these very columns."""
    id_, flow, status, state = values
    try:
        return Row(id_, flow, status, *_core.unpack_execution(id_, flow, status, state))
    except (TypeError, ValueError, OverflowError):
        raise ForeignError("a row is damaged") from None


def _shown(row: Row) -> model.Execution:
    return model.Execution(
        id=model.id_text(row.id),
        flow=row.flow,
        status=row.status,
        started_at=row.started_at,
        updated_at=row.updated_at,
        seq=row.seq,
        definition=row.definition,
        parent=row.parent,
        wake_at=row.wake_at,
        listens=tuple(row.listens),
        checkpoint=row.snapshot_seq,
    )


def _flow_codes(db: sqlite3.Connection, flow: str) -> list[int]:
    parts = flow.split("/")
    found = []
    for code, name in db.execute("SELECT code, name FROM flows"):
        key = name.split("/")
        if parts == (key[1:2] if len(parts) == 1 else key[: len(parts)]):
            found.append(code)
    return found


def _prefix_bounds(text: str) -> tuple[bytes, bytes] | None:
    text = text.lower()
    try:
        low = model.id_bytes(text.ljust(_ID_CHARS, "0"))
        return low, model.id_bytes(text.ljust(_ID_CHARS, "z"))
    except ValueError:
        return None


def _exact(text: str) -> bytes:
    try:
        return model.id_bytes(text.lower())
    except ValueError as error:
        raise ExecutionNotFoundError(str(error)) from None
