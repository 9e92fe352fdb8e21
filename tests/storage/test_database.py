"""One file, one writing thread: who waits shares the commit, and what was said to be durable is."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from qflow.errors import (
    BusyError,
    CorruptError,
    LockedError,
    PoisonedError,
    StaleError,
    UnavailableError,
)
from qflow.storage import Database
from qflow.storage import _database as database_of
from qflow.storage import _file as file_of
from qflow.storage import _writer as writer_of

TABLE = "CREATE TABLE note (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


def opened(folder: Path) -> Database:
    database = Database(folder / "state.db")
    database.schema([TABLE])
    return database


def adding(text: str) -> Callable[[sqlite3.Connection], int | None]:
    return lambda db: db.execute("INSERT INTO note (text) VALUES (?)", (text,)).lastrowid


def texts(database: Database) -> list[str]:
    query = "SELECT text FROM note ORDER BY number"
    return database.read(lambda db: [text for (text,) in db.execute(query)])


class Held:
    """Keeps the writing thread in a job until it is let go."""

    def __init__(self, database: Database) -> None:
        self.begun, self.go = Event(), Event()
        database.submit(self.work, lambda *_: None)
        assert self.begun.wait(10)

    def work(self, _: sqlite3.Connection) -> None:
        self.begun.set()
        assert self.go.wait(10)


class Answers(list[Any]):
    """What was answered, in order."""

    def __call__(self, result: Any, error: Exception | None) -> None:
        self.append(error or result)


def test_what_is_written_is_there_when_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as database:
        assert database.write(adding("one")) == 1
        assert texts(database) == ["one"]
    with opened(tmp_path) as database:
        assert texts(database) == ["one"]
        assert database.check() == []
        assert database.poisoned is None
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.anyio
async def test_the_event_loop_writes_and_reads(database: Database) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(database.write_async, adding(str(number)))
    query = "SELECT count(*) FROM note"
    assert await database.read_async(lambda db: db.execute(query).fetchone()) == (50,)
    with pytest.raises(ZeroDivisionError):
        await database.write_async(lambda _: 1 // 0)


@pytest.mark.anyio
async def test_a_cancelled_wait_leaves_the_write(database: Database) -> None:
    held = Held(database)
    with anyio.move_on_after(0):
        await database.write_async(adding("late"))
    held.go.set()
    await database.write_async(adding("later"))
    assert texts(database) == ["late", "later"]


def test_jobs_that_wait_share_a_commit_and_fail_alone(database: Database) -> None:
    statements: list[str] = []
    database.write(lambda db: db.set_trace_callback(statements.append))
    held, answers = Held(database), Answers()

    def fails(db: sqlite3.Connection) -> None:
        adding("undone")(db)
        raise StaleError("somebody else wrote first")

    for job in (adding("one"), fails, adding("two")):
        database.submit(job, answers)
    statements.clear()
    held.go.set()
    assert database.write(adding("three")) == 3
    assert [answers[0], answers[2]] == [1, 2]
    assert isinstance(answers[1], StaleError)
    # That of `Held`, and one or two for the four.
    assert statements.count("COMMIT") <= 3
    assert statements.count("SAVEPOINT job") == 4
    assert texts(database) == ["one", "two", "three"]
    assert database.poisoned is None


def test_closing_commits_what_waits(tmp_path: Path) -> None:
    database, answers = opened(tmp_path), Answers()
    held = Held(database)
    for number in range(writer_of.GROUP_JOBS_MAX + 10):
        database.submit(adding(str(number)), answers)
    closing = Thread(target=database.close)
    closing.start()
    held.go.set()
    closing.join()
    assert answers == list(range(1, writer_of.GROUP_JOBS_MAX + 11))
    for refused in (lambda: database.write(adding("")), lambda: texts(database)):
        with pytest.raises(UnavailableError, match="closed"):
            refused()
    database.close()
    with opened(tmp_path) as again:
        assert len(texts(again)) == len(answers)


def test_the_queue_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_of, "JOBS_MAX", 3)
    held, answers = Held(database), Answers()
    for number in range(3):
        database.submit(adding(str(number)), answers)
    with pytest.raises(BusyError):
        database.submit(adding("refused"), answers)
    held.go.set()
    database.close()
    assert answers == [1, 2, 3]


def test_whoever_waits_and_fails_does_not_stop_the_others(database: Database) -> None:
    def fails(_result: Any, _error: Exception | None) -> None:
        raise RuntimeError("whoever waited is gone")

    database.submit(adding("one"), fails)
    assert database.write(adding("two")) == 2


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_job_that_ends_the_transaction_poisons(database: Database, end: str) -> None:
    database.write(adding("before"))
    with pytest.raises(PoisonedError):
        database.write(lambda db: db.execute(end))
    for _ in range(2):
        with pytest.raises(PoisonedError, match="nothing more is written"):
            database.write(adding("after"))
    assert database.poisoned is not None
    assert texts(database) == ["before"]


@pytest.mark.holds("S14")
def test_a_row_of_another_type_than_its_column_is_damage(database: Database) -> None:
    database.schema(["CREATE TABLE typed (count INTEGER NOT NULL) STRICT"])
    with pytest.raises(CorruptError, match="is damaged"):
        database.write(lambda db: db.execute("INSERT INTO typed VALUES (x'00')"))
    assert database.poisoned is not None


@pytest.mark.holds("S17")
def test_no_room_within_a_job_fails_its_whole_group_and_poisons(database: Database) -> None:
    database.write(adding("before"))
    database.write(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
    held, answers = Held(database), Answers()
    for text in ("x", "x" * 100_000, "y"):
        database.submit(adding(text), answers)
    held.go.set()
    database.close()
    assert [type(answer) for answer in answers] == [PoisonedError] * 3
    with opened(database.path.parent) as again:
        assert texts(again) == ["before"]
        assert again.write(adding("after")) == 2


def test_what_only_reads_cannot_write(database: Database) -> None:
    with pytest.raises(UnavailableError, match="readonly"):
        database.read(adding("written"))
    assert texts(database) == []


def test_a_read_that_fails_gives_its_connection_back(database: Database) -> None:
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            database.read(lambda _: 1 // 0)
    assert len(database._idle) == 1


def test_a_read_sees_one_state_while_others_write(database: Database) -> None:
    database.write(adding("one"))

    def look(db: sqlite3.Connection) -> tuple[int, int]:
        query = "SELECT count(*) FROM note"
        (before,) = db.execute(query).fetchone()
        database.write(adding("two"))
        (after,) = db.execute(query).fetchone()
        return before, after

    assert database.read(look) == (1, 1)
    assert texts(database) == ["one", "two"]


def test_another_process_that_writes_too_long_is_named(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_of, "BUSY_S", 0.05)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LockedError, match="another process"):
        opened(database.path.parent).write(adding("refused"))
    other.execute("ROLLBACK")
    other.close()
    assert database.write(adding("one")) == 1


def test_processes_write_beside_each_other(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.storage.test_database import *\n"
        "with opened(Path(sys.argv[1])) as database:\n"
        "    [database.write(adding(f'{sys.argv[2]}.{n}')) for n in range(40)]"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    others = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [other.wait(60) for other in others] == [0, 0, 0]
    with opened(tmp_path) as database:
        found = texts(database)
    for number in range(3):
        mine = [text for text in found if text.startswith(f"{number}.")]
        assert mine == [f"{number}.{count}" for count in range(40)]


def test_a_forked_process_has_to_open_it_itself(database: Database) -> None:
    database.write(adding("one"))
    child = os.fork()
    if not child:
        signal.alarm(20)  # a lock that the writing thread held is never let go here
        seen = []
        for call in (lambda: texts(database), lambda: database.write(adding("two"))):
            try:
                call()
            except UnavailableError:
                seen.append(1)
        database.close()
        os._exit(len(seen))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert database.write(adding("two")) == 2


def test_the_file_is_private_and_made_whole(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        database = opened(tmp_path)
        database.write(adding("one"))
    finally:
        os.umask(mask)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("state.db", "state.db-shm", "state.db-wal")
    ]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    database.close()


def test_what_was_deleted_is_not_in_the_file(tmp_path: Path) -> None:
    secret = "erase-me-" * 5_000
    with opened(tmp_path) as database:
        database.write(adding(secret))
        database.write(lambda db: db.execute("DELETE FROM note").rowcount)
    assert b"erase-me" not in (tmp_path / "state.db").read_bytes()


def write_foreign(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE note (text)")
    other.close()


def write_newer(path: Path) -> None:
    opened(path.parent).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 2")
    other.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (write_foreign, "not a database of Qflow"),
        (write_newer, "is of version 2"),
        (lambda path: path.write_bytes(b"no database at all" * 999), "recover"),
        (lambda path: path.write_bytes(b""), "not a database of Qflow"),
    ],
)
def test_what_is_not_ours_is_refused_untouched(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(CorruptError, match=why):
        Database(path)
    assert path.read_bytes() == before


def test_tables_of_another_form_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as database:
        database.schema([TABLE, f"{TABLE};"])
        with pytest.raises(CorruptError, match="other tables"):
            database.schema(["CREATE TABLE note (number INTEGER)"])
        assert database.write(adding("one")) == 1


def test_where_there_is_no_folder_it_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        Database(tmp_path / "missing" / "state.db")


def test_damage_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with opened(tmp_path) as database:
        for number in range(2_000):
            database.submit(adding(f"{number}" * 50), lambda *_: None)
    path = tmp_path / "state.db"
    data = bytearray(path.read_bytes())
    data[8192 * 3 :] = bytes(len(data) - 8192 * 3)
    path.write_bytes(data)
    with Database(path) as database:
        assert database.check() != []
        with pytest.raises(CorruptError, match="qflow state recover"):
            texts(database)
        with pytest.raises(CorruptError, match="qflow state recover"):
            database.write(lambda db: db.execute("DELETE FROM note").rowcount)
        with pytest.raises(CorruptError):
            database.write(adding("more"))


def test_the_wal_is_written_back_and_stays_in_place(tmp_path: Path) -> None:
    wal = tmp_path / "state.db-wal"
    with opened(tmp_path) as database:
        text = "x" * 60_000
        for _ in range(20):
            for _ in range(20):
                database.submit(adding(text), lambda *_: None)
            database.write(lambda _: None)
        # 24 MB were written through it.
        assert wal.stat().st_size < 3 * file_of.WAL_BYTES
        assert (tmp_path / "state.db").stat().st_size > 16 << 20


def test_many_threads_read_and_write(database: Database) -> None:
    def work(number: int) -> None:
        for count in range(20):
            database.write(adding(f"{number}.{count}"))
            assert f"{number}.{count}" in texts(database)

    threads = [Thread(target=work, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(database)) == 16 * 20
    assert len(database._idle) <= database_of.IDLE_MAX


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_that_ended_is_not_waited_for(database: Database, backend: str) -> None:
    held = Held(database)

    async def give_up() -> None:
        with anyio.move_on_after(0):
            await database.write_async(adding("late"))

    with capture_logs() as lines:
        anyio.run(give_up, backend=backend)
        held.go.set()
        assert database.write(adding("later")) == 2
    assert lines == []
    assert texts(database) == ["late", "later"]
