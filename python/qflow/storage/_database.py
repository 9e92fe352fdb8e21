"""One SQLite file: any thread reads, one thread writes, and who waits shares the commit."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from qflow.errors import CorruptError, UnavailableError
from qflow.storage import _file
from qflow.storage._writer import Done, Job, Writer

IDLE_MAX: Final = 8
"""Connections for reading that are kept open while nobody reads."""

T = TypeVar("T")


class Database:
    """A durable file that several threads and processes share. Made when it is missing.

    A job is a function of a connection; it sees one state of the file, must not begin or end a
    transaction, and must not keep the connection. What a write returns is durable when it is
    returned. Jobs that wait together are committed together: each is undone by itself when it
    raises, and when the commit fails all of them fail and nothing more is written
    (PoisonedError) until the file is opened anew. A write that failed in the commit may be there
    afterwards; one that was acknowledged always is.

    Raises CorruptError, which says what to do, when the file is damaged, foreign or of another
    version, LockedError when another process keeps it too long, UnavailableError when it cannot
    be opened; nothing was changed then.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path: Final = Path(path)
        self._process = os.getpid()
        self._lock = Lock()
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        try:
            _file.create_file(self.path)
        except OSError as error:
            raise UnavailableError(f"{self.path}: {error}") from error
        self._give_back(self._connect())
        self._writer = Writer(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit what waits, and close the file. Idempotent; blocks."""
        if self._process != os.getpid():
            return
        self._writer.close()
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    @property
    def poisoned(self) -> str | None:
        """Why nothing more is written, or None."""
        return None if self._writer.poisoned is None else str(self._writer.poisoned)

    def schema(self, statements: Iterable[str]) -> None:
        """Have these tables and indexes: CREATE statements, made at once when they are missing.

        Raises CorruptError when one is there in another form.
        """
        wanted = [statement.strip().rstrip(";") for statement in statements]

        def missing(db: sqlite3.Connection) -> list[str]:
            there = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema")}
            return [statement for statement in wanted if statement not in there]

        def create(db: sqlite3.Connection) -> None:
            for statement in missing(db):
                try:
                    db.execute(statement)
                except sqlite3.OperationalError as error:
                    if _file.is_fatal(error):
                        raise
                    raise CorruptError(f"{self.path} has other tables: {error}") from error

        if self.read(missing):
            self.write(create)

    def submit(self, job: Callable[[sqlite3.Connection], T], done: Done) -> None:
        """Take a write. `done(result, error)` is called by the writing thread, in order.

        `error` is what the job raised, or a PoisonedError, LockedError or CorruptError; without
        one the result is durable. `done` must be quick: others wait for their answers.
        Raises BusyError when too many wait, PoisonedError, UnavailableError when closed; then
        nothing was taken.
        """
        self._check_process()
        self._writer.submit(Job(job, done))

    def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a write and return what it returns, durable; blocks. Raises what it raises."""
        answer = _Answer()
        durable = Event()
        self.submit(job, answer.then(durable.set))
        durable.wait()
        return cast(T, answer.get())

    async def write_async(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`. When the wait is cancelled, the write still happens."""
        answer, durable = _Answer(), anyio.Event()
        wake = _waker(current_token())
        self.submit(job, answer.then(lambda: wake(durable.set)))
        await durable.wait()
        return cast(T, answer.get())

    def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job that only reads, and return what it returns; blocks, beside any write.

        Raises what the job raises, UnavailableError or CorruptError.
        """
        self._check_process()
        db = self._take()
        try:
            db.execute("BEGIN")
            result = job(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            db.close()
            if _file.is_fatal(error) or isinstance(error, sqlite3.OperationalError):
                raise _file.described(self.path, error) from error
            raise
        except BaseException:
            db.execute("ROLLBACK")
            self._give_back(db)
            raise
        self._give_back(db)
        return result

    async def read_async(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, in a thread."""
        return await anyio.to_thread.run_sync(self.read, job)

    def check(self) -> list[str]:
        """What SQLite finds wrong with the whole file, a line each. Reads all of it."""

        def run(db: sqlite3.Connection) -> list[str]:
            return [line for (line,) in db.execute("PRAGMA integrity_check") if line != "ok"]

        try:
            return self.read(run)
        except CorruptError as error:
            return [str(error.__cause__)]

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise UnavailableError(
                f"{self.path} was opened before this process was forked: open it here"
            )

    def _connect(self) -> sqlite3.Connection:
        try:
            return _file.connect(self.path, writing=False)
        except sqlite3.DatabaseError as error:
            raise _file.described(self.path, error) from error

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise UnavailableError(f"{self.path} was closed")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_MAX:
                self._idle.append(db)
                return
        db.close()


class _Answer:
    """What became of a job."""

    def __init__(self) -> None:
        self._result: Any = None
        self._error: Exception | None = None

    def then(self, wake: Callable[[], object]) -> Done:
        def done(result: Any, error: Exception | None) -> None:
            self._result, self._error = result, error
            wake()

        return done

    def get(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


def _waker(token: EventLoopToken) -> Callable[[Callable[[], object]], object]:
    """A function that has another called by the event loop soon, from any thread."""
    loop: Any = token.native_token
    soon = getattr(loop, "run_sync_soon", None) or loop.call_soon_threadsafe

    def wake(call: Callable[[], object]) -> None:
        try:
            soon(call)
        except RuntimeError:  # the loop has ended: nobody waits
            return

    return wake
