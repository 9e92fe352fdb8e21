"""The thread that writes a `Database`: jobs that wait share a transaction and its one sync."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Final, NamedTuple

from qflow.diagnostics import logger
from qflow.errors import BusyError, CorruptError, PoisonedError, QflowError, UnavailableError
from qflow.storage import _file
from qflow.storage._file import Wal, described, is_fatal

JOBS_MAX: Final = 10_000
"""Jobs that wait. At the bound a further one is a BusyError."""
GROUP_JOBS_MAX: Final = 512
"""Jobs that share a commit."""

Work = Callable[[sqlite3.Connection], Any]
Done = Callable[[Any, Exception | None], None]

_log = logger("qflow.storage")


class Job(NamedTuple):
    """What is to be written, and who hears of it."""

    work: Work
    done: Done


class Writer:
    """Runs jobs in the order they came. Its thread starts with the first."""

    def __init__(self, path: Path) -> None:
        self._path, self._wal = path, Wal(path)
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._closing = False
        self._length = 0
        """To which the WAL was made ahead of its use."""
        self._db: sqlite3.Connection | None = None
        self.poisoned: PoisonedError | CorruptError | None = None
        """Why nothing more is written, or None."""

    def submit(self, job: Job) -> None:
        """Take a job. Raises BusyError, PoisonedError, UnavailableError: then it was not taken."""
        with self._changed:
            if self._closing:
                raise UnavailableError(f"{self._path} was closed")
            if self.poisoned is not None:
                raise _again(self.poisoned)
            if len(self._waiting) >= JOBS_MAX:
                raise BusyError(f"{JOBS_MAX} writes wait for {self._path}")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="qflow storage", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Return when what was taken is committed, or has failed. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._take():
                self._commit(group)
                self._tidy()
        except BaseException as error:
            self._poison(error)
            raise
        finally:
            self._closing = True
            while group := self._take():
                self._commit(group)
            if self._db is not None:
                self._db.close()

    def _take(self) -> list[Job]:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            count = min(len(self._waiting), GROUP_JOBS_MAX)
            return [self._waiting.popleft() for _ in range(count)]

    def _commit(self, group: list[Job]) -> None:
        try:
            results = self._transact(group)
        except QflowError as error:
            results = [(None, _again(error)) for _ in group]
        for job, (result, failure) in zip(group, results, strict=True):
            try:
                job.done(result, failure)
            except Exception:  # noqa: BLE001 - the others are still to be told
                _log.exception("whoever waited for a write failed", path=str(self._path))

    def _transact(self, group: list[Job]) -> list[tuple[Any, Exception | None]]:
        """All of a group in one transaction, durable on return; raises when none of it is."""
        if self.poisoned is not None:
            raise _again(self.poisoned)
        try:
            db = self._db = self._db or self._open()
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if is_fatal(error):
                raise self._poison(error) from error
            raise described(self._path, error) from error
        try:
            results = [_attempt(db, job.work) for job in group]
            db.execute("COMMIT")
        except BaseException as error:
            # What is on the disk is not known, so nobody is told that it is there.
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise self._poison(error) from error
        return results

    def _open(self) -> sqlite3.Connection:
        db = _file.connect(self._path, writing=True)
        try:
            # What a process left that died may be in the WAL without being on the disk: a sync
            # that failed is not reported twice. Written back, it is, before anything follows it.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _poison(self, error: BaseException) -> PoisonedError | CorruptError:
        failure = described(self._path, error)
        if not isinstance(failure, CorruptError):
            failure = _file.poisoned(self._path, error)
        self.poisoned = failure
        _log.error("nothing more is written", path=str(self._path), why=str(error))
        return failure

    def _tidy(self) -> None:
        """Keep the WAL as long as it should be; whoever waited has been answered."""
        if self._db is None or self.poisoned is not None:
            return
        try:
            if self._wal.is_past(_file.WAL_BYTES_MAX if self._waiting else _file.WAL_BYTES):
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            elif not self._waiting and not self._closing:
                self._lengthen(self._db)
        except sqlite3.Error as error:
            if is_fatal(error):
                self._poison(error)
        except OSError as error:
            self._length = _file.WAL_BYTES
            _log.warning("commits take longer", path=str(self._path), why=str(error))

    def _lengthen(self, db: sqlite3.Connection) -> None:
        used = max(self._length - _file.WAL_STEP_BYTES // 2, _file.WAL_FIRST_BYTES)
        if self._length >= _file.WAL_BYTES or not self._wal.is_past(used):
            return
        self._length += _file.WAL_STEP_BYTES
        db.execute("BEGIN IMMEDIATE")
        try:
            self._wal.lengthen(self._length)
        finally:
            db.execute("ROLLBACK")


def _again(error: QflowError) -> QflowError:
    """The same for another who hears of it: what is raised twice has two tracebacks in one."""
    return type(error)(str(error))


def _attempt(db: sqlite3.Connection, work: Work) -> tuple[Any, Exception | None]:
    """One job, undone when it raises. Raises what spoils the whole transaction."""
    db.execute("SAVEPOINT job")
    try:
        result, failure = work(db), None
    except Exception as error:
        if is_fatal(error):
            raise
        result, failure = None, error
        db.execute("ROLLBACK TO job")
    # A job that ended the transaction itself has no savepoint any more.
    db.execute("RELEASE job")
    return result, failure
