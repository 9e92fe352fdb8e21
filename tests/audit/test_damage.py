"""No state of its file, and no neighbour, makes the index answer wrongly."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.audit import History, Index
from qflow.errors import CorruptError, UnavailableError
from tests.audit.chains import (
    NODE_CHAIN,
    Chain,
    MemorySource,
    begin,
    chain_id,
    everything,
    put,
    some_of_each,
)


def damage(path: Path, how: str) -> None:
    """Do to a closed index what disks, people and other releases do."""
    data = bytearray(path.read_bytes())
    if how == "no database":
        data[:] = b"not a database at all" * 100
    elif how == "empty":
        data.clear()
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "zeros":
        data[4096:] = bytes(len(data) - 4096)
    elif how == "noise":
        data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    if how == "other version":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 999")
        db.close()
    if how == "other program":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE notes (text)")
        db.close()
    if how == "a table less":
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE runs")
        db.close()


DAMAGES = [
    "no database",
    "empty",
    "cut",
    "zeros",
    "noise",
    "other version",
    "other program",
    "a table less",
]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_index_is_made_anew_and_answers_the_same(
    path: Path, source: MemorySource, how: str
) -> None:
    some_of_each(source)
    index = Index(path)
    index.catch_up(source)
    before = everything(index)
    index.close()
    damage(path, how)
    begin(source, 9)
    index = Index(path)
    index.catch_up(source)
    index.places(chain_id(1))
    after = everything(index)
    index.close()
    assert [one.id for one in after[0]][1:] == [one.id for one in before[0]]
    assert after[4] == source.size


flips = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=40)


@given(flips)
def test_no_byte_of_the_file_changes_an_answer(changes: list[tuple[int, int]]) -> None:
    source = MemorySource()
    some_of_each(source)
    for number in range(10, 50):
        begin(source, number, ("suspended", {"wake_at": number, "listen": ["a.b"]}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.db"
        index = Index(path)
        index.catch_up(source)
        before = everything(index)
        index.close()
        data = bytearray(path.read_bytes())
        for place, value in changes:
            data[place % len(data)] = value
        path.write_bytes(data)
        index = Index(path)
        index.catch_up(source)
        assert everything(index) == before
        history = History(index, source)
        for number in (*range(1, 7), *range(10, 50)):
            entries = list(history.replay_source(chain_id(number)))
            assert entries[0].value == {"n": number}
        index.close()


@pytest.mark.parametrize("how", ["zeros", "noise", "a table less"])
def test_damage_that_shows_in_a_question_is_healed_before_the_answer(
    path: Path, source: MemorySource, how: str
) -> None:
    some_of_each(source)
    index = Index(path)
    index.catch_up(source)
    before = everything(index)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    damage(path, how)
    # SQLite reads the file again only when another connection has changed it.
    index._db.close()
    index._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    assert everything(index) == before
    assert len(index.places(chain_id(1))) == 1
    index.close()


def test_a_deleted_index_answers_the_same(path: Path, source: MemorySource) -> None:
    some_of_each(source)
    index = Index(path)
    index.catch_up(source)
    before = everything(index)
    index.close()
    path.unlink()
    index = Index(path)
    index.catch_up(source)
    assert everything(index) == before
    index.close()


def test_the_index_of_another_log_is_made_anew(path: Path, source: MemorySource) -> None:
    other = MemorySource()
    for number in range(20, 24):
        begin(other, number)
    some_of_each(source)
    index = Index(path)
    index.catch_up(other)
    index.close()
    index = Index(path)
    index.catch_up(source)
    assert index.size == source.size
    assert index.counts()["running"] == 1
    index.close()


def test_an_index_ahead_of_its_log_is_made_anew(path: Path, source: MemorySource) -> None:
    old = MemorySource()
    begin(old, 1)
    begin(source, 1)
    begin(source, 2)
    index = Index(path)
    index.catch_up(source)
    index.close()
    index = Index(path)
    index.catch_up(old)
    assert len(index.executions()) == 1
    index.close()


def test_a_stop_between_two_batches_loses_and_repeats_nothing(
    path: Path, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.audit._index.BATCH_BYTES_MAX", 1)
    some_of_each(source)
    for number in range(1, 6):
        index = Index(path)

        def stop(_done: int, _whole: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.catch_up(source, stop)
        index.close()
        index = Index(path)
        assert len(index.executions()) == number
        index.close()
    index = Index(path)
    index.catch_up(source)
    assert index.size == source.size
    index.close()


def test_a_batch_that_fails_leaves_nothing_behind(
    index: Index, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(source, 1)
    index.catch_up(source)
    before = everything(index)
    begin(source, 2, flow="new/flow/1.0.0")
    with monkeypatch.context() as broken:
        broken.setattr("qflow.audit._project._write_chunks", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index.catch_up(source)
    assert everything(index) == before
    index.catch_up(source)
    assert [one.flow for one in index.executions(limit=1)] == ["new/flow/1.0.0"]


@pytest.mark.parametrize("wrong", ["repeated", "a gap", "no beginning", "after the end", "noise"])
def test_a_log_that_contradicts_itself_is_refused_by_name(
    index: Index, source: MemorySource, wrong: str
) -> None:
    chain = Chain(chain_id(1))
    put(source, chain, ("created", {}))
    if wrong == "repeated":
        source.append(source.frames[0][0][0][2:])
    elif wrong == "a gap":
        chain.seq += 1
        put(source, chain, "continued")
    elif wrong == "no beginning":
        other = Chain(chain_id(2))
        other.seq = 1
        put(source, other, ("created", {}))
    elif wrong == "after the end":
        put(source, chain, ("completed", {}, 1))
        put(source, chain, "continued")
    else:
        source.append([b"noise"])
    with pytest.raises(CorruptError, match=r"record \d of the log"):
        index.catch_up(source)


def test_two_records_at_one_place_of_the_nodes_chain_are_refused(
    index: Index, source: MemorySource
) -> None:
    put(source, Chain(NODE_CHAIN), "q.qflow.history.opened.v1")
    put(source, Chain(NODE_CHAIN), "q.qflow.history.opened.v1")
    with pytest.raises(CorruptError, match="same place"):
        index.catch_up(source)


@pytest.mark.holds("H15")
def test_a_question_that_cannot_be_asked_is_an_error_and_never_an_empty_answer(
    path: Path, source: MemorySource
) -> None:
    some_of_each(source)
    index = Index(path)
    index.catch_up(source)
    index.close()
    for question in (index.executions, index.counts, index.waiting, index.schedules):
        with pytest.raises(UnavailableError):
            question()
    assert path.exists()


def test_a_full_disk_is_an_error_that_leaves_the_index_as_it_was(
    index: Index, source: MemorySource
) -> None:
    some_of_each(source)
    index.catch_up(source)
    before = everything(index)
    (pages,) = index._db.execute("PRAGMA page_count").fetchone()
    index._db.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(10, 400):
        begin(source, number)
    with pytest.raises(UnavailableError, match="full"):
        index.catch_up(source)
    assert everything(index) == before
    index._db.execute("PRAGMA max_page_count = 1000000")
    index.catch_up(source)
    assert index.size == source.size


# -- beside a running node ---------------------------------------------------------------------


def test_another_process_reads_what_the_node_has_indexed(
    index: Index, path: Path, source: MemorySource
) -> None:
    some_of_each(source)
    index.catch_up(source)
    reader = Index(path, read_only=True)
    assert everything(reader) == everything(index)
    begin(source, 9)
    index.catch_up(source)
    assert len(reader.executions()) == 7
    begin(source, 10)
    with pytest.raises(UnavailableError):
        reader.catch_up(source)
    with pytest.raises(UnavailableError, match="reading only"):
        reader.rebuild(source)
    reader.close()


@pytest.mark.parametrize("how", ["no database", "other version", "other program"])
def test_a_reader_changes_nothing_about_a_damaged_index(
    path: Path, source: MemorySource, how: str
) -> None:
    index = Index(path)
    index.close()
    damage(path, how)
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match="index rebuild"):
        Index(path, read_only=True)
    assert path.read_bytes() == before


def test_a_reader_of_an_index_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(UnavailableError):
        Index(path, read_only=True)
    assert not path.exists()


def test_two_processes_may_catch_up_at_once(path: Path, source: MemorySource) -> None:
    indexes = [Index(path), Index(path)]
    for number in range(1, 40):
        begin(source, number)
        indexes[number % 3 % 2].catch_up(source)
    for index in indexes:
        index.catch_up(source)
        assert index.size == source.size
        assert len(index.executions()) == 39
        index.close()


def test_threads_ask_while_one_catches_up(index: Index, source: MemorySource) -> None:
    for number in range(1, 300):
        begin(source, number)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(50):
            counted = index.counts()["running"]
            if counted > len(index.executions(limit=1000)):
                wrong.append(counted)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    index.catch_up(source)
    for thread in threads:
        thread.join()
    assert not wrong
    assert index.counts()["running"] == 299


def test_a_rebuild_reports_how_far_it_is(index: Index, source: MemorySource) -> None:
    some_of_each(source)
    told: list[tuple[int, int]] = []
    assert index.rebuild(source, lambda done, whole: told.append((done, whole))) == source.size
    assert told[-1] == (source.size, source.size)


def test_compacting_keeps_every_answer_and_shortens_the_wal(
    path: Path, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.audit._tables.WAL_BYTES_MAX", 200_000)
    index = Index(path)
    wal = path.with_name("index.db-wal")
    for number in range(10, 2000):
        begin(source, number)
    index.catch_up(source)
    before, long = everything(index), wal.stat().st_size
    assert long > 200_000
    index.compact()
    assert everything(index) == before
    begin(source, 9)
    index.catch_up(source)
    assert wal.stat().st_size <= 200_000
    index.close()
