"""The file of a `Database`: made whole, opened only when it is ours, its WAL kept in place."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from qflow.errors import (
    CorruptError,
    LockedError,
    PoisonedError,
    QflowError,
    UnavailableError,
)
from qflow.trust._files import PRIVATE, create_whole

VERSION: Final = 1
"""Of what is in the file. Another one is refused."""
BUSY_S: Final = 10.0
"""How long another process may write before whoever waits gives up."""
WRITING_KIB: Final = 16 << 10
READING_KIB: Final = 4 << 10
"""Of the file in the memory of each connection."""
WAL_BYTES: Final = 16 << 20
"""When this much of the WAL is in use and nobody waits, it is written back."""
WAL_BYTES_MAX: Final = 64 << 20
"""Here it is written back although others wait."""

WAL_STEP_BYTES: Final = 4 << 20
"""By which it is made longer ahead of its use, up to WAL_BYTES."""
WAL_FIRST_BYTES: Final = 256 << 10
"""In use before that begins: a process that writes little is done sooner without."""

_APPLICATION: Final = 0x51464C53
_PAGE_BYTES: Final = 8192
# https://sqlite.org/fileformat2.html#the_write_ahead_log
_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_SALTS: Final = 16
"""Where they stand in the header; frames of this turn of the WAL repeat them at 8."""
_ZEROS: Final = bytes(1 << 20)

# https://sqlite.org/rescode.html
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DATATYPE: Final = sqlite3.SQLITE_CONSTRAINT | 12 << 8
"""A strict column holds another type: we never write one, so the row was damaged."""
_CLOSED: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_WRITING: Final = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY}
    | {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, *_DAMAGE}
)


def code_of(error: BaseException) -> int:
    """SQLite's primary result code; 0 when the error is not SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return sqlite3.SQLITE_CORRUPT if code == _DATATYPE else code & 0xFF


def is_fatal(error: BaseException) -> bool:
    """Whether what is on the disk is not known after it."""
    return code_of(error) in _WRITING


def described(path: Path, error: BaseException) -> QflowError:
    """What a failure of SQLite is to whoever asked; changed nothing."""
    if code_of(error) in _DAMAGE:
        return damaged(path, str(error))
    if code_of(error) in _BUSY:
        return LockedError(f"{path}: another process has been writing for {BUSY_S:.0f} s")
    why = f"{path}: {error}"
    if code_of(error) in _CLOSED and not os.access(path.parent, os.W_OK):
        why += "; its folder is read-only: copy the home to read it"
    return UnavailableError(why)


def damaged(path: Path, why: str) -> CorruptError:
    """The file is at fault: what happened, and the way out."""
    return CorruptError(
        f"{path} is damaged: {why}. Stop the node and move the file away: executions go on from"
        " the log, and `qflow state recover` or `qflow state import` bring saved states back"
    )


def poisoned(path: Path, error: BaseException) -> PoisonedError:
    """A write failed. What was acknowledged before is safe."""
    return PoisonedError(f"{path}: a write failed ({error}); nothing more is written to it")


def create_file(path: Path) -> None:
    """Make an empty database when there is none: whole or not at all, durable, 0600."""
    if path.exists():
        return
    with closing(sqlite3.connect(":memory:")) as db:
        for setting in (f"page_size = {_PAGE_BYTES}", f"application_id = {_APPLICATION}"):
            db.execute(f"PRAGMA {setting}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        content = bytearray(db.serialize())
    content[18:20] = b"\x02\x02"  # WAL, so that opening it changes nothing
    create_whole(path, bytes(content), PRIVATE)


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """Open a file that is there. Raises sqlite3.Error; CorruptError for one that is not ours."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(
        address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        _check(db, path)
        # Pages that were freed are zeroed; without this a deleted block stays readable.
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute(f"PRAGMA cache_size = -{WRITING_KIB if writing else READING_KIB}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        if not writing:
            db.execute("PRAGMA query_only = ON")
    except UnicodeDecodeError as error:
        # SQLite's message quotes a damaged schema, which Python then cannot decode.
        db.close()
        raise damaged(path, "its schema cannot be read") from error
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (mode,) = db.execute("PRAGMA journal_mode").fetchone()
    if application != _APPLICATION:
        raise CorruptError(f"{path} is not a database of Qflow; it was not touched")
    if version != VERSION:
        raise CorruptError(
            f"{path} is of version {version}, and this Qflow knows {VERSION}; it was not touched"
        )
    if mode != "wal":
        raise damaged(path, f"its journal mode is {mode}")


class Wal:
    """The `-wal` file beside a database. SQLite sets no locks on it, so it may be opened here."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-wal")

    def is_past(self, size_bytes: int) -> bool:
        """Whether more than this much of it is in use since it was last begun anew."""
        frame = size_bytes // (_FRAME_HEADER_BYTES + _PAGE_BYTES)
        place = _WAL_HEADER_BYTES + frame * (_FRAME_HEADER_BYTES + _PAGE_BYTES)
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            salts = os.pread(descriptor, 8, _SALTS)
            return len(salts) == 8 and os.pread(descriptor, 8, place + 8) == salts
        finally:
            os.close(descriptor)

    def lengthen(self, to_bytes: int) -> None:
        """Fill it up with zeros, so that a commit does not have to make the file longer.

        That takes half the time (see docs/decisions/0020). To be called with the write lock held:
        others write behind its end. Raises OSError.
        """
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            while size < to_bytes:
                size += os.pwrite(descriptor, _ZEROS[: to_bytes - size], size)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
