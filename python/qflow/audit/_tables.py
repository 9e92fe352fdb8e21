"""The file of the index: its tables, and opening one that can be trusted to be ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

VERSION: Final = 1
"""Of the tables below. Another version is not migrated: the log is replayed."""

WAL_BYTES_MAX: Final = 8 << 20
"""Above this `Index.compact` writes the WAL back into the database."""

_msgpack = msgspec.msgpack.Encoder()
_APPLICATION: Final = 0x51464C57
_WAL_PAGES_MAX: Final = 16_384
"""64 MiB: where SQLite itself empties the WAL if nobody called `Index.compact` before."""

_TABLES: Final = """
CREATE TABLE cursor (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  address INTEGER NOT NULL, size INTEGER NOT NULL,
  tail_address INTEGER NOT NULL, tail_hash BLOB NOT NULL, crc INTEGER NOT NULL
);

CREATE TABLE names (code INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE executions (
  id BLOB PRIMARY KEY, flow INTEGER NOT NULL, status TEXT NOT NULL, parent TEXT,
  started_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, seq INTEGER NOT NULL,
  wake_at INTEGER, listens TEXT, snapshot_seq INTEGER, problem TEXT,
  definition TEXT NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX executions_by_status ON executions (status);
CREATE INDEX executions_by_flow ON executions (flow);

CREATE TABLE records (
  chain BLOB NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, address INTEGER NOT NULL,
  type INTEGER NOT NULL, payload INTEGER,
  PRIMARY KEY (chain, seq)
) WITHOUT ROWID;

CREATE TABLE blocks (cid BLOB PRIMARY KEY, address INTEGER NOT NULL, length INTEGER NOT NULL)
  WITHOUT ROWID;

CREATE TABLE schedules (
  key TEXT PRIMARY KEY, flow TEXT NOT NULL, definition TEXT NOT NULL, rule TEXT NOT NULL,
  since INTEGER NOT NULL, fired_at INTEGER, execution TEXT, crc INTEGER NOT NULL
) WITHOUT ROWID;
"""


_LOST: Final = """
SELECT 1 FROM executions one
WHERE NOT EXISTS (SELECT 1 FROM executions other WHERE other.id = one.id) LIMIT 1"""


class ForeignError(Exception):
    """The file is not an index of this log as it was written. Never leaves `audit`."""


class Cursor(NamedTuple):
    """How far the index has come."""

    address: int = 0
    """Of the next frame of the log."""
    size: int = 0
    """Records before it."""
    tail_address: int = 0
    tail_hash: bytes = b""
    """Of the last record before it: which log this is."""


def checked(values: Sequence[Any]) -> Sequence[Any]:
    """A row without its checksum, which is its last value. Raises ForeignError."""
    *row, crc = values
    if checksum(row) != crc:
        raise ForeignError("a row is damaged")
    return row


def checksum(values: Sequence[Any]) -> int:
    """SQLite notices a damaged page by its shape, not by what stands in a row."""
    return crc32(_msgpack.encode(values))


def load_cursor(db: sqlite3.Connection) -> Cursor:
    """The cursor. Raises ForeignError."""
    query = "SELECT address, size, tail_address, tail_hash, crc FROM cursor"
    return Cursor(*checked(db.execute(query).fetchone() or (None, None)))


def save_cursor(db: sqlite3.Connection, cursor: Cursor) -> None:
    values = (1, *cursor, checksum(list(cursor)))
    db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?, ?)", values)


def check_executions(db: sqlite3.Connection) -> None:
    """Raise ForeignError unless every execution is found by its id, status and flow."""
    (found,) = db.execute("PRAGMA integrity_check('executions')").fetchone()
    if found != "ok":
        raise ForeignError(found)
    # The check above does not look for the rows of a table without rowid by their key.
    if db.execute(_LOST).fetchone():
        raise ForeignError("an execution is not found by its id")


def open_file(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the index, creating it where it may be written. Raises sqlite3.Error, ForeignError."""
    if read_only:
        address = f"{path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    else:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, read_only=read_only)
    except BaseException:
        db.close()
        raise
    return db


def checkpoint(path: Path) -> None:
    """Write the WAL back, over a connection of its own: no reader or writer waits for it."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        db.close()


def delete_file(path: Path) -> None:
    """Remove the index with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _prepare(db: sqlite3.Connection, *, read_only: bool) -> None:
    db.execute("PRAGMA cache_size = -8192")
    if read_only:
        _check(db)
        return
    db.execute("PRAGMA journal_mode = WAL")
    # A lost tail is read again from the log, so a commit need not wait for the disk.
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES_MAX}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX // 2}")
    db.execute("BEGIN IMMEDIATE")
    try:
        if not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            _create(db)
        _check(db)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _create(db: sqlite3.Connection) -> None:
    # `executescript` would commit first.
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement)
    save_cursor(db, Cursor())
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def _check(db: sqlite3.Connection) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION or version != VERSION:
        raise ForeignError(f"not an index of version {VERSION}")
