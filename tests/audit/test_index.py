"""What the index answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow import _core, model
from qflow.audit import History, Index
from qflow.audit._result import with_problem
from qflow.errors import CorruptError, ExecutionNotFoundError
from tests.audit.chains import (
    NODE_CHAIN,
    Chain,
    MemorySource,
    begin,
    chain_id,
    put,
    some_of_each,
)

DOCUMENT = {"document": {"namespace": "test", "name": "tick", "version": "1.0.0"}}


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


def test_what_went_wrong_is_read_from_the_chain_and_not_kept_in_the_index(
    index: Index, source: MemorySource, path: Path
) -> None:
    faulted = begin(source, 1, ("faulted", {}, {"title": "Broken", "detail": "of ann@example.org"}))
    aborted = begin(source, 2, ("aborted", {"reason": "enough"}))
    index.catch_up(source)
    history = History(index, source)
    shown = [with_problem(index.execution(one), history).problem for one in (faulted, aborted)]
    assert shown[0] == {"title": "Broken", "detail": "of ann@example.org"}
    assert shown[1] is not None
    assert (shown[1]["title"], shown[1]["detail"]) == ("Aborted", "enough")
    assert index.execution(faulted).problem is None
    index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"example.org" not in path.read_bytes()


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


@pytest.mark.holds("H15")
def test_an_index_is_not_given_up_for_one_that_cannot_be_made(
    index: Index, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_of_each(source)
    index.catch_up(source)
    before = index.counts()

    def damaged(address: int, bytes_max: int) -> None:
        raise CorruptError("a byte is not what was written")

    monkeypatch.setattr(source, "scan", damaged)
    with pytest.raises(CorruptError):
        index.rebuild(source)
    assert index.counts() == before
