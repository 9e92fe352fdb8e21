"""What the index answers, and that no state of its file makes it answer wrongly."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qflow import _core, model
from qflow.audit import Index
from qflow.errors import CorruptError, ExecutionNotFoundError, UnavailableError
from tests.audit.chains import NODE_CHAIN, Chain, MemorySource, chain_id, put

DOCUMENT = {"document": {"namespace": "test", "name": "tick", "version": "1.0.0"}}


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    index = Index(path)
    yield index
    index.close()


def begin(source: MemorySource, number: int, *facts: Any, flow: str = "test/greet/1.0.0") -> str:
    """An execution with some facts behind its creation; its id."""
    chain = Chain(chain_id(number), flow)
    put(source, chain, ("created", {"definition": ""}, {"n": number}), *facts)
    return model.id_text(chain.id)


def some_of_each(source: MemorySource) -> None:
    begin(source, 1)
    begin(source, 2, ("suspended", {"wake_at": 5, "listen": ["a.b"]}))
    begin(source, 3, "paused")
    begin(source, 4, ("completed", {}, "out"))
    begin(source, 5, ("faulted", {}, {"title": "Broken", "status": 500}))
    begin(source, 6, ("aborted", {"reason": "enough"}))


def everything(index: Index) -> list[Any]:
    return [index.executions(), index.counts(), index.waiting(), index.schedules(), index.size]


@pytest.mark.holds("H11")
def test_failed_executions_count_as_failed_and_nothing_else(
    index: Index, source: MemorySource
) -> None:
    some_of_each(source)
    begin(source, 7, ("step_failed", {}, {"title": "Caught"}), ("completed", {}, 1))
    index.catch_up(source)
    assert index.counts() == {
        "running": 1,
        "waiting": 1,
        "paused": 1,
        "completed": 2,
        "faulted": 1,
        "aborted": 1,
    }
    assert [one.status for one in index.executions(status="faulted")] == ["faulted"]


def test_what_went_wrong_is_shown_in_short(index: Index, source: MemorySource) -> None:
    long = {"type": "t", "title": "Broken", "status": 500, "detail": "x" * 5000, "more": [1]}
    faulted = begin(source, 1, ("faulted", {}, long))
    aborted = begin(source, 2, ("aborted", {"reason": "enough"}))
    index.catch_up(source)
    assert index.execution(faulted).problem == {
        "type": "t",
        "status": 500,
        "title": "Broken",
        "detail": "x" * 500,
    }
    assert index.execution(aborted).problem == {"title": "Aborted", "detail": "enough"}


def test_the_problem_may_stand_in_an_earlier_batch_of_blocks(
    index: Index, source: MemorySource
) -> None:
    problem = {"title": "Broken"}
    data = _core.encode(problem)
    source.append([], [(bytes(_core.cid_of(data)), data)])
    index.catch_up(source)
    chain = Chain(chain_id(1))
    records, _ = chain.frame(("created", {}), ("faulted", {}, problem))
    source.append(records)
    index.catch_up(source)
    assert index.execution(model.id_text(chain.id)).problem == problem


@pytest.mark.holds("H10")
def test_every_execution_is_found_by_its_flow(index: Index, source: MemorySource) -> None:
    flows = ["test/greet/1.0.0", "test/greet/1.1.0", "other/greet/1.0.0", "greet/test/1.0.0"]
    for number, flow in enumerate(flows * 3, 1):
        begin(source, number, flow=flow)
    index.catch_up(source)

    def found(flow: str) -> list[str]:
        return [one.flow for one in index.executions(flow=flow)]

    for flow in flows:
        assert found(flow) == [flow] * 3
    assert set(found("test/greet")) == {"test/greet/1.0.0", "test/greet/1.1.0"}
    assert set(found("greet")) == {"test/greet/1.0.0", "test/greet/1.1.0", "other/greet/1.0.0"}
    assert found("gree") == found("1.0.0") == found("q.qflow.exec.created.v1") == []


def test_lists_are_newest_first_and_go_on_behind_an_id(index: Index, source: MemorySource) -> None:
    names = [begin(source, number) for number in range(1, 8)]
    index.catch_up(source)
    first = index.executions(limit=3)
    second = index.executions(limit=3, before=first[-1].id)
    rest = index.executions(limit=3, before=second[-1].id, status="running", flow="greet")
    assert [one.id for one in first + second + rest] == names[::-1]
    with pytest.raises(ExecutionNotFoundError):
        index.executions(before="nonsense")


def test_an_execution_is_found_by_a_unique_beginning(index: Index, source: MemorySource) -> None:
    one, two = begin(source, 1), begin(source, 2)
    index.catch_up(source)
    assert index.execution(one).id == one
    assert index.execution(two.upper()).id == two
    unique = next(two[:n] for n in range(1, 27) if not one.startswith(two[:n]))
    assert index.execution(unique).id == two
    with pytest.raises(ExecutionNotFoundError, match="more than one"):
        index.execution(one[:3])
    for wrong in ("", "zz", one + "0", "u", "00é", chain_id(1).hex()):
        with pytest.raises(ExecutionNotFoundError, match="there is no"):
            index.execution(wrong)


def test_what_a_start_needs_is_told_apart(index: Index, source: MemorySource) -> None:
    some_of_each(source)
    index.catch_up(source)
    name = [model.id_text(chain_id(number)) for number in range(4)]
    assert index.running() == [name[1]]
    assert index.waiting() == [(name[2], 5, ("a.b",))]
    assert [one.id for one in index.unfinished()] == name[1:]


def test_a_paused_execution_stays_paused_while_its_attempts_end(
    index: Index, source: MemorySource
) -> None:
    held = begin(source, 1, ("suspended", {"wake_at": 5}), "paused", "step_completed", "recovered")
    gone_on = begin(source, 2, ("suspended", {"wake_at": 5}), "paused", "resumed")
    index.catch_up(source)
    assert (index.execution(held).status, index.execution(held).wake_at) == ("paused", 5)
    assert (index.execution(gone_on).status, index.execution(gone_on).wake_at) == ("running", None)


def test_schedules_are_those_that_stand(index: Index, source: MemorySource) -> None:
    chain = Chain(NODE_CHAIN, "qflow/node")
    rule = {"every": {"seconds": 5}}
    put(source, chain, "q.qflow.history.opened.v1")
    put(source, chain, ("scheduled", {"key": "test/tick", "rule": rule}, DOCUMENT))
    put(source, chain, ("scheduled", {"key": "test/tock", "rule": rule}, DOCUMENT))
    put(source, chain, ("schedule_fired", {"key": "test/tick", "due": 7, "execution": "x"}))
    put(source, chain, ("unscheduled", {"key": "test/tock"}))
    index.catch_up(source)
    (schedule,) = index.schedules()
    definition = _core.cid_of(_core.encode(DOCUMENT))
    assert schedule == model.Schedule(
        key="test/tick",
        flow="test/tick/1.0.0",
        definition=str(definition),
        rule=rule,
        since=schedule.since,
        fired_at=7,
        execution="x",
    )
    assert index.block(bytes(definition)) is not None
    assert index.executions() == []
    put(source, chain, ("scheduled", {"key": "test/tick", "rule": rule}, DOCUMENT))
    index.catch_up(source)
    assert index.schedules()[0].fired_at is None


def test_blocks_that_no_record_carries_are_found_by_cid(index: Index, source: MemorySource) -> None:
    definition = _core.encode(DOCUMENT)
    cid = _core.cid_of(definition)
    chain = Chain(chain_id(1))
    records, blocks = chain.frame(("created", {"definition": str(cid)}, DOCUMENT))
    source.append(records, [*blocks, (b"other", b"data")])
    index.catch_up(source)
    for wanted, data in ((bytes(cid), definition), (b"other", b"data")):
        found = index.block(wanted)
        assert found is not None
        assert source.read(found[0]) == data
        assert found[1] == len(data)
    assert index.block(b"nothing") is None


# -- whatever happens to the file --------------------------------------------------------------


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
            db.execute("DROP TABLE records")
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
        broken.setattr("qflow.audit._project.Batch._write_blocks", lambda _: 1 / 0)
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
