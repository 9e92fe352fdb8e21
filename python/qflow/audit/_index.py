"""The index: answers about the log, projected into SQLite. It may be deleted at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import Lock, RLock
from typing import Final, TypeVar

import msgspec

from qflow import _core, model
from qflow.audit import _project, _queries, _search, _tables
from qflow.audit._copy import Copy, is_locked, is_still
from qflow.audit._project import Names
from qflow.audit._queries import Place, Waiting
from qflow.audit._query import Query
from qflow.audit._search import Plan
from qflow.audit._source import Source, read_at
from qflow.audit._tables import Cursor
from qflow.diagnostics import logger
from qflow.errors import CorruptError, UnavailableError

BATCH_BYTES_MAX: Final = 256 << 10
"""Of frames projected in one transaction; the lock is free between two."""
REBUILD_BATCH_BYTES_MAX: Final = 4 << 20
REBUILD_RECORDS: Final = 50_000
"""An empty index of a log that has more is written in one go."""

# https://sqlite.org/rescode.html: the file itself is at fault, not the machine or the caller.
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})

_FILE_ERRORS: Final = (sqlite3.Error, UnicodeError, msgspec.DecodeError, _tables.ForeignError)

Progress = Callable[[int, int], None]
"""Called with (records done, records in the log)."""

T = TypeVar("T")

_log = logger("qflow.audit")


class Index:
    """The disposable index of one node's log. Safe to call from several threads.

    Whatever is wrong with the file (damaged, of another version, of another log), it is deleted
    and replayed from the log, with a line in the log of the program; an answer is right or an
    error. With `read_only` nothing is written: for a look beside a running node, which keeps
    the index up to date; a file that would need a rebuild is then an UnavailableError.

    Where nothing may be written (a home on a mount for reading), a copy in a temporary folder takes
    the file's place until `close`; without a whole file to copy it is made from the log.
    """

    def __init__(self, path: str | PathLike[str], *, read_only: bool = False) -> None:
        self._path, self._read_only = Path(path), read_only
        self._copy: Copy | None = None
        if is_locked(self._path) and (not read_only or is_still(self._path)):
            self._copy = Copy(self._path)
            self._path = self._copy.path
        self._lock = RLock()
        self._pruning = Lock()
        """Whoever pruned and whoever follows the log may look at the same time."""
        self._names = Names()
        self._source: Source | None = None
        self._cursor = -1
        self._fold: _core.Fold | None = None
        """Stands at `_cursor`; None when that is not known."""
        self._db = self._open()
        self.generation = 0
        """How often the file was made anew."""

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._db.close()
            if self._copy is not None:
                self._copy.close()

    def catch_up(self, source: Source, progress: Progress | None = None) -> int:
        """Project what the log has and the index has not; returns the number of new records.

        Cheap when there is nothing new. Raises CorruptError when the log is at fault; then the
        index stands at the frame before.
        """
        return self._guarded(lambda: self._catch_up(source, BATCH_BYTES_MAX, progress), source)

    def rebuild(
        self, source: Source, progress: Progress | None = None, *, why: str = "asked for"
    ) -> int:
        """Replay the log into a new file, which then takes the place of the old one.

        Other threads are answered from the old one meanwhile, and another process that has it open
        keeps reading it. Interrupted, or when the log cannot be
        read to its end (CorruptError), nothing has changed.
        """
        if self._read_only:
            raise UnavailableError(f"the index {self._path} is open for reading only")
        _log.warning("index is rebuilt", path=str(self._path), why=why)
        try:
            return self._rebuild(source, progress)
        except _FILE_ERRORS as error:
            raise self._unavailable(error) from error

    def follow_pruning(self, source: Source) -> None:
        """Make the index anew when the log begins later than it did."""
        with self._pruning:
            if self._source is source and self.first < source.first:
                self.rebuild(source, why="the log was pruned")

    def compact(self) -> None:
        """Write a long WAL back into the database. Waits for the disk, but nobody else does."""
        wal = self._path.with_name(self._path.name + "-wal")
        if wal.exists() and wal.stat().st_size > _tables.WAL_BYTES_MAX:
            try:
                _tables.checkpoint(self._path)
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    # -- questions -------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many records of the log are indexed."""
        return self._ask(lambda db: _tables.load_cursor(db).size)

    @property
    def read_only(self) -> bool:
        """Whether it is only looked at: what the log has behind `end` is not in it."""
        return self._read_only

    @property
    def first(self) -> int:
        """The index of the first record: of a pruned log not 0."""
        return self._ask(lambda db: _tables.load_cursor(db).first)

    @property
    def end(self) -> int:
        """The address of the frame behind the records that are indexed."""
        return self._ask(lambda db: _tables.load_cursor(db).address)

    @property
    def tail(self) -> int | None:
        """The address of the newest record that is indexed, whatever its chain; None of none."""
        cursor = self._ask(_tables.load_cursor)
        return cursor.tail_address if cursor.size else None

    def execution(self, text: str) -> model.Execution:
        """One execution by its id or the beginning of it. Raises ExecutionNotFoundError."""
        return self._ask(lambda db: _queries.execution(db, text))

    def executions(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[model.Execution]:
        """Newest first, those older than the id `before`.

        `flow` is `namespace/name/version`, `namespace/name` or `name`.
        """
        return self._ask(lambda db: _queries.executions(db, status, flow, limit, before))

    def running(self) -> list[str]:
        """The executions that have work to do: those that a restart must bring back."""
        return self._ask(_queries.running)

    def unfinished(self) -> list[model.Execution]:
        """Every execution that is not over: running, waiting or paused. Oldest first.

        A paused one keeps the `wake_at` and `listens` that it had when it last only waited.
        """
        return self._ask(_queries.unfinished)

    def waiting(self) -> list[Waiting]:
        """Every execution that only waits, with what would wake it."""
        return self._ask(_queries.waiting)

    def counts(self) -> dict[str, int]:
        """How many executions there are of each of the six statuses."""
        return self._ask(_queries.counts)

    def schedules(self) -> list[model.Schedule]:
        """The schedules that stand, by key."""
        return self._ask(_queries.schedules)

    def places(self, chain: bytes, from_seq: int = 0, limit: int = 1000) -> list[Place]:
        """Where the records of a chain are, in their order, from number `from_seq` on."""
        return self._ask(lambda db: _queries.places(db, chain, from_seq, limit))

    def ends(self, chain: bytes) -> tuple[int | None, int | None]:
        """The number of a chain's last record, by the places of its records and by what it is."""
        return self._ask(lambda db: _queries.ends(db, chain))

    def snapshot_seq(self, chain: bytes) -> int | None:
        """The number of the newest record of a chain that carries a snapshot."""
        return self._ask(lambda db: _queries.snapshot_seq(db, chain))

    def plan(self, query: Query) -> Plan:
        """Where the records are to be looked for that a query by anything but its chain asks for.

        Nothing that it asks for is elsewhere among the records that are indexed.
        """
        return self._ask(lambda db: _search.plan(db, query))

    def addresses(self, plan: Plan, chunk: int) -> tuple[int, list[int]]:
        """The index of the first record of a chunk, and the addresses of all its records."""
        return self._ask(lambda db: _search.addresses(db, plan, chunk))

    def block(self, cid: bytes) -> tuple[int, int] | None:
        """Address and length of a block that is not the payload of a record beside it."""
        return self._ask(lambda db: _queries.block(db, cid))

    # -- the file --------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            return _tables.open_file(self._path, read_only=self._read_only)
        except _FILE_ERRORS as error:
            if not _is_damage(error) or self._read_only:
                raise self._unavailable(error) from error
            _log.warning("index is rebuilt", path=str(self._path), why=str(error))
            _tables.delete_file(self._path)
            return _tables.open_file(self._path, read_only=False)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        return self._guarded(lambda: question(self._db))

    def _guarded(self, work: Callable[[], T], source: Source | None = None) -> T:
        """Do the work; when the file turns out to be damaged, replay the log and do it again."""
        with self._lock:
            try:
                return work()
            except _FILE_ERRORS as error:
                source = source or self._source
                if not _is_damage(error) or self._read_only or source is None:
                    raise self._unavailable(error) from error
                why = str(error)
            try:
                self.rebuild(source, why=why)
                return work()
            except _FILE_ERRORS as error:
                raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> UnavailableError:
        fix = "; `qflow index rebuild` makes it anew" if _is_damage(error) else ""
        return UnavailableError(f"the index {self._path}: {error}{fix}")

    # -- following the log -----------------------------------------------------------------

    def _catch_up(self, source: Source, bytes_max: int, progress: Progress | None) -> int:
        if self._source is not source:
            is_empty = self._check_origin(source)
            self._source = source
            if is_empty and source.size >= REBUILD_RECORDS and not self._read_only:
                return self._rebuild(source, progress)
        added = 0
        while (records := self._next_frames(source, bytes_max)) is not None:
            added += records
            if progress is not None:
                progress(_tables.load_cursor(self._db).size, source.size)
        return added

    def _next_frames(self, source: Source, bytes_max: int) -> int | None:
        """Project some frames in one transaction together with the cursor behind them."""
        try:
            batch, after = None, -1
            if self._fold is not None:
                batch, after = _fold(self._fold, source, self._cursor, bytes_max)
                if batch is None:
                    return None
            with self._transaction() as db:
                cursor = _tables.load_cursor(db)
                # Another process may have projected these frames meanwhile.
                if batch is None or cursor.address != self._cursor:
                    self._fold = _primed(source, cursor)
                    batch, after = _fold(self._fold, source, cursor.address, bytes_max)
                if batch is not None:
                    _advance(db, self._names, source, cursor, batch, after)
        except BaseException:
            # The fold may have gone on without the file.
            self._fold = None
            raise
        self._cursor = after
        return None if batch is None else batch.records

    def _rebuild(self, source: Source, progress: Progress | None) -> int:
        new = self._path.with_name(self._path.name + ".new")
        db = _tables.open_new(new)
        try:
            added = _write_all(db, source, progress)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        finally:
            db.close()
        with self._lock:
            self._db.close()
            try:
                _tables.put_in_place(new, self._path)
            finally:
                self._names.forget()
                self._fold, self._cursor, self._source = None, -1, source
                self._db = _tables.open_file(self._path, read_only=False)
            self.generation += 1
        return added

    def _check_origin(self, source: Source) -> bool:
        """Start over when the index was made from other files than these, or is damaged.

        True when there is nothing in it.
        """
        _tables.check_executions(self._db)
        cursor = _tables.load_cursor(self._db)
        if cursor.address == 0:
            return True
        if cursor.size == cursor.first:
            return False
        try:
            tail = _core.record_hash(read_at(source, cursor.tail_address))
        except CorruptError:
            tail = b""
        if cursor.first < source.first:
            raise _tables.ForeignError("the log was pruned")
        if cursor.size > source.size or tail != cursor.tail_hash:
            raise _tables.ForeignError("it was made from another log")
        return False

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            self._names.forget()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _is_damage(error: Exception) -> bool:
    if not isinstance(error, sqlite3.Error):
        return True
    if isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def _fold(
    fold: _core.Fold, source: Source, address: int, bytes_max: int
) -> tuple[_core.Batch | None, int]:
    """What the next frames change, and the address behind them; None when there are no more."""
    try:
        records, blocks, after = source.scan(address, bytes_max)
    except (ValueError, OverflowError):
        raise _tables.ForeignError(f"{address} is no address of this log") from None
    if after == address:
        return None, after
    return fold.fold(records, blocks), after


def _primed(source: Source, cursor: Cursor) -> _core.Fold:
    """A fold that stands at the cursor: it knows the records of the chunk that is not full."""
    fold = _core.Fold()
    if cursor.tail:
        first, addresses = _search.unpacked(cursor.size // _search.CHUNK_RECORDS, cursor.tail)
        records = source.read_many(addresses)
        numbered = zip(range(first, cursor.size), addresses, records, strict=True)
        fold.prime(list(numbered))
    return fold


def _advance(
    db: sqlite3.Connection,
    names: Names,
    source: Source,
    cursor: Cursor,
    batch: _core.Batch,
    after: int,
) -> Cursor:
    """Write a batch, and the cursor behind it."""
    if cursor.size == cursor.first and batch.first is not None:
        cursor = cursor._replace(first=batch.first, size=batch.first)
    _project.write(db, names, source, batch, whole=cursor.first == 0)
    cursor = cursor._replace(address=after, size=cursor.size + batch.records)
    if batch.last is not None:
        address, digest = batch.last
        cursor = cursor._replace(tail_address=address, tail_hash=digest, tail=batch.tail)
    _tables.save_cursor(db, cursor)
    return cursor


def _write_all(db: sqlite3.Connection, source: Source, progress: Progress | None) -> int:
    """Project a whole log into a new file; the next frames are folded while these are written."""
    fold, names, cursor = _core.Fold(), Names(), _tables.Cursor()
    with ThreadPoolExecutor(1, "qflow index") as ahead:
        coming = ahead.submit(_fold, fold, source, 0, REBUILD_BATCH_BYTES_MAX)
        while True:
            batch, after = coming.result()
            if batch is None:
                break
            coming = ahead.submit(_fold, fold, source, after, REBUILD_BATCH_BYTES_MAX)
            cursor = _advance(db, names, source, cursor, batch, after)
            if progress is not None:
                progress(cursor.size, source.size)
    db.execute("COMMIT")
    return cursor.size - cursor.first
