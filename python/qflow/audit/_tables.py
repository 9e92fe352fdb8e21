"""The file of the index: its tables, and opening one that can be trusted to be ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

VERSION: Final = 2
"""Of the tables below. Another version is not migrated: the log is replayed."""

WAL_BYTES_MAX: Final = 8 << 20
"""Above this `Index.compact` writes the WAL back into the database."""

NEW_CACHE_KIB: Final = 64 << 10
"""Of a file that is written in one go."""

_msgpack = msgspec.msgpack.Encoder()
_APPLICATION: Final = 0x51464C57
_WAL_PAGES_MAX: Final = 16_384
"""64 MiB: where SQLite itself empties the WAL if nobody called `Index.compact` before."""

_TABLES: Final = """
CREATE TABLE cursor (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  address INTEGER NOT NULL, size INTEGER NOT NULL, first INTEGER NOT NULL,
  tail_address INTEGER NOT NULL, tail_hash BLOB NOT NULL, tail BLOB NOT NULL, crc INTEGER NOT NULL
);

CREATE TABLE flows (code INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE executions (
  id BLOB PRIMARY KEY, flow INTEGER NOT NULL, status TEXT NOT NULL, state BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX executions_by_status ON executions (status);
CREATE INDEX executions_by_flow ON executions (flow);

CREATE TABLE others (chain BLOB PRIMARY KEY, seq INTEGER NOT NULL, crc INTEGER NOT NULL)
  WITHOUT ROWID;

CREATE TABLE runs (
  chain BLOB NOT NULL, first INTEGER NOT NULL, places BLOB NOT NULL,
  PRIMARY KEY (chain, first)
) WITHOUT ROWID;

CREATE TABLE blocks (cid BLOB PRIMARY KEY, address INTEGER NOT NULL, length INTEGER NOT NULL)
  WITHOUT ROWID;

CREATE TABLE schedules (
  key TEXT PRIMARY KEY, flow TEXT NOT NULL, definition TEXT NOT NULL, rule TEXT NOT NULL,
  since INTEGER NOT NULL, fired_at INTEGER, execution TEXT, crc INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE chunks (number INTEGER PRIMARY KEY, addresses BLOB NOT NULL);

CREATE TABLE spans (number INTEGER PRIMARY KEY, times BLOB NOT NULL);

CREATE TABLE names (field TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (field, name))
  WITHOUT ROWID;

CREATE TABLE terms (term TEXT PRIMARY KEY, chunks INTEGER NOT NULL, digest INTEGER NOT NULL)
  WITHOUT ROWID;

CREATE VIRTUAL TABLE words USING fts5 (
  terms, content = '', detail = 'none', columnsize = 0, tokenize = "ascii tokenchars '='"
);
"""
"""Why these: docs/decisions/0013-the-record-index.md. What SQLite keeps as words are whole terms:
`_core.Fold` has cut the text, and its letters beyond ASCII are left as they are."""

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
    """The index in the log of the record that is due next."""
    first: int = 0
    """The index of the first record that the log had: of a pruned log not 0."""
    tail_address: int = 0
    tail_hash: bytes = b""
    """Of the last record before it: which log this is."""
    tail: bytes = b""
    """The addresses of the records of the chunk that is not full, packed."""


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
    query = "SELECT address, size, first, tail_address, tail_hash, tail, crc FROM cursor"
    return Cursor(*checked(db.execute(query).fetchone() or (None, None)))


def save_cursor(db: sqlite3.Connection, cursor: Cursor) -> None:
    values = (1, *cursor, checksum(list(cursor)))
    db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


@contextmanager
def one_look(db: sqlite3.Connection) -> Iterator[None]:
    """The statements within see one state of the file, whatever other processes write."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("COMMIT")


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


def open_new(path: Path) -> sqlite3.Connection:
    """Begin a file that is written in one go, by nobody else, and then put in the index's place.

    What an interrupted one left is removed. Raises sqlite3.Error, also when another process is
    making it.
    """
    db = _connect_new(path)
    if db is None:
        path.unlink()
        db = _connect_new(path)
    assert db is not None
    return db


def _connect_new(path: Path) -> sqlite3.Connection | None:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for setting in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF"):
            db.execute(f"PRAGMA {setting}")
        db.execute(f"PRAGMA cache_size = -{NEW_CACHE_KIB}")
        db.execute("BEGIN EXCLUSIVE")
        if not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            _create(db)
            return db
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            db.close()
            raise
    db.close()
    return None


def put_in_place(new: Path, path: Path) -> None:
    """Give a whole new file the name of the index. A stop in between leaves none or the new."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    # A WAL that stayed would be taken for the new file's.
    delete_file(path)
    new.replace(path)


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
