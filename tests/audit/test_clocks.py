"""Clocks that do not go on as time does: recorded as such, and nothing is reordered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core, audit
from qflow.audit._clocks import BOUND_MS, CLOCK, ClockWatch, Moved
from qflow.config import Config
from qflow.errors import BusyError
from qflow.events import record_event, validate
from qflow.node import Node
from qflow.testing import ManualClock
from qflow.testing._clock import START_MS
from qflow.trust import load_or_create_key
from tests.audit.chains import Chain, chain_id
from tests.nodes import until, verify

HOUR = 3_600_000
FLOW = """\
document: {dsl: '1.0.3', namespace: t, name: f, version: '1.0.0'}
schedule: {after: P1D}
do: [{a: {set: {x: 1}}}]
"""
WAITS = FLOW.replace("set: {x: 1}", "wait: PT3H").replace("name: f", "name: w")
ENDS = ("created", "paused", "resumed", "aborted")


def records(node: Node) -> list[dict[str, Any]]:
    found, _, _ = node._log.scan(0, 1 << 20)
    return [_core.decode_record(data) for _, _, data in found]


def moves(node: Node) -> list[tuple[str, int]]:
    made = [record for record in records(node) if record["type"] == CLOCK]
    for record in made:
        assert record["actor"] == record["node"]
        validate(record_event(record, source="did:key:zTest"))
    return [(record["meta"]["kind"], record["meta"]["moved_ms"]) for record in made]


def assert_in_order(node: Node) -> None:
    """By number in each chain; a time is never before the one that it stands behind."""
    newest: dict[bytes, tuple[int, int]] = {}
    for record in records(node):
        seq, at = newest.get(record["chain"], (-1, 0))
        assert record["seq"] == seq + 1
        assert record["at"] >= at
        newest[record["chain"]] = record["seq"], record["at"]


@pytest.mark.anyio
@pytest.mark.holds("H19")
@pytest.mark.parametrize(("by", "kind"), [(-HOUR, "backwards"), (HOUR, "ahead")])
async def test_a_clock_that_is_set_while_a_node_runs_is_recorded_and_reorders_nothing(
    tmp_path: Path, by: int, kind: str
) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node:
        execution = await node.start(WAITS)
        await node.pause(execution)
        clock.set_ahead(by)
        await node.resume(execution)
        await node.abort(execution)
        await node.schedule(FLOW)
        assert moves(node) == [(kind, HOUR)]
        assert_in_order(node)
        facts = [(r["seq"], r["type"].split(".")[3]) for r in node.history(execution)]
        assert [seq for seq, _ in facts] == list(range(len(facts)))
        assert [fact for _, fact in facts if fact in ENDS] == list(ENDS)
    verify(tmp_path)


@pytest.mark.anyio
@pytest.mark.holds("H19")
async def test_a_clock_behind_the_record_at_a_start_is_recorded(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node:
        await clock.advance(HOUR)
    late = ManualClock(START_MS + HOUR - 1)
    async with Node(Config(home=tmp_path), clock=late) as node:
        assert moves(node) == [("backwards", 1)]
        assert_in_order(node)
        (moved,) = (r for r in records(node) if r["type"] == CLOCK)
        assert moved["meta"]["wall"] == START_MS + HOUR - 1
        assert moved["meta"]["expected"] == moved["at"] == START_MS + HOUR
    verify(tmp_path)


@pytest.mark.anyio
@pytest.mark.holds("H19")
async def test_a_start_compares_the_clock_with_the_newest_record_of_any_chain(
    tmp_path: Path,
) -> None:
    async with Node(Config(home=tmp_path), clock=ManualClock()):
        pass
    # As a crash leaves it: the node's own chain ends with an old record.
    async with audit.Log(str(tmp_path / "log"), load_or_create_key(tmp_path)) as log:
        await log.append(*Chain(chain_id(1), at=START_MS + HOUR - 1).frame("created", "aborted"))
    async with Node(Config(home=tmp_path), clock=ManualClock(START_MS + HOUR // 2)) as node:
        assert moves(node) == [("backwards", HOUR // 2)]
        assert_in_order(node)
    verify(tmp_path)


@pytest.mark.anyio
@pytest.mark.holds("H19")
async def test_a_clock_is_looked_at_while_nothing_else_is_recorded(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node, anyio.create_task_group() as group:
        group.start_soon(node._own.watch_clock, 0)
        clock.set_back(5 * HOUR)
        await until(lambda: moves(node))
        clock.set_ahead(HOUR)
        await until(lambda: len(moves(node)) > 1)
        assert moves(node) == [("backwards", 5 * HOUR), ("ahead", HOUR)]
        assert_in_order(node)
        group.cancel_scope.cancel()
    verify(tmp_path)


@pytest.mark.anyio
async def test_time_that_passes_is_no_move(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node:
        for _ in range(3):
            await clock.advance(HOUR)
            await node.schedule(FLOW)
        clock.set_back(BOUND_MS)
        await node.schedule(FLOW)
        assert moves(node) == []


@pytest.mark.anyio
async def test_a_move_that_the_log_had_no_room_for_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node:

        def full(*_: Any) -> None:
            raise BusyError("no room")

        clock.set_back(HOUR)
        with monkeypatch.context() as patch:
            patch.setattr(node._log, "submit", full)
            with pytest.raises(BusyError):
                await node.schedule(FLOW)
        assert moves(node) == []
        await node.schedule(FLOW)
        assert moves(node) == [("backwards", HOUR)]
    verify(tmp_path)


def test_small_differences_add_up_until_they_are_told() -> None:
    clock = ManualClock()
    watch = ClockWatch(clock, 0)
    assert watch.look() is None
    told = []
    for _ in range(5):
        clock.set_back(BOUND_MS // 2)
        told.append(watch.look())
    assert [moved is not None for moved in told] == [False, False, True, False, False]
    moved = Moved(wall=START_MS - 3 * BOUND_MS // 2, expected=START_MS)
    assert told[2] == moved
    assert moved.meta["moved_ms"] == 3 * BOUND_MS // 2


def test_the_newest_time_of_the_whole_log_is_what_a_start_goes_by(tmp_path: Path) -> None:
    clock = ManualClock()
    watch = ClockWatch(clock, START_MS + 1)
    assert watch.look() == Moved(wall=START_MS, expected=START_MS + 1)
    assert watch.look() is None
    assert audit.Index(tmp_path / "index.db").tail is None


@pytest.mark.anyio
@pytest.mark.holds("H19")
@pytest.mark.parametrize("too_much", ["record", "append"])
async def test_what_cannot_be_appended_leaves_no_gap_when_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_much: str
) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node:
        clock.set_ahead(HOUR)
        meta = {"reason": "x" * (20_000 if too_much == "record" else 1)}
        with monkeypatch.context() as patch:
            if too_much == "append":
                patch.setattr(node._log, "append", _refuse)
            with pytest.raises(ValueError, match="bytes"):
                await node._own.append([("q.qflow.history.held.v1", None, None, None, meta)], "ann")
        assert moves(node) == []
        await node.schedule(FLOW)
        assert moves(node) == [("ahead", HOUR)]
        assert_in_order(node)
    verify(tmp_path)


async def _refuse(*_: Any) -> int:
    raise ValueError("an append has at most 1 bytes")
