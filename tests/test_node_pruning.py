"""Pruning on a whole node: what goes, what keeps it, and what is carried across the cut."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core
from qflow.audit._prune import find_cut
from qflow.audit._retention import Step
from qflow.config import Config, RetentionRule
from qflow.errors import BusyError, ExecutionNotFoundError
from qflow.events import CloudEvent
from qflow.node import Node, _care, _pruning
from qflow.node._care import open_care
from qflow.testing import ManualClock
from tests.nodes import until, verify
from tests.test_node import World, flow

pytestmark = pytest.mark.anyio

WAITS = flow("do: [{l: {listen: {to: {one: {with: {type: go}}}}}}]", "waits")
AGAIN = WAITS.replace("name: waits", "name: again")
BIG = flow("do: [{a: {set: '${ . }'}}]", "big")
ALL = RetentionRule(records_days=0)
LOAD = {"text": "marker-of-a-person" + "x" * 100_000}


@pytest.fixture
def world() -> World:
    return World()


def node(tmp_path: Path, world: World, **options: Any) -> Node:
    return Node(Config(home=tmp_path / "home"), functions=world.functions, **options)


async def retained(here: Node, *rules: RetentionRule, dry_run: bool = False) -> list[Step]:
    return [step async for step in here.care.retain(rules, actor="ann", dry_run=dry_run)]


async def fill(here: Node, segments: int) -> None:
    """Executions until the log has so many journal files."""
    while len(here._log.segments) < segments:
        await here.run(BIG, LOAD)


async def test_a_log_in_one_journal_file_is_kept(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        await here.run(BIG, {})
        found = await retained(here, ALL)
        assert [step.what for step in found] == ["erase", "progress", "kept", "summary"]
        assert here._log.first == 0


@pytest.mark.holds("H21")
async def test_pruning_leaves_a_log_that_verifies_goes_on_and_says_less(
    tmp_path: Path, world: World
) -> None:
    home = tmp_path / "home"
    async with node(tmp_path, world) as here:
        await fill(here, 3)
        names = [view.id for view in here.list(limit=1000)]
        dry = await retained(here, ALL, dry_run=True)
        assert here._log.first == 0
        found = await retained(here, ALL)
        assert [step.what for step in found[-2:]] == ["prune", "summary"]
        assert [(s.what, s.done, s.minimum) for s in dry] == [
            (s.what, s.done, s.minimum) for s in found
        ]
        assert found[-2].minimum == found[-2].done == here._log.first > 0
        left = {view.id for view in here.list(limit=1000)}
        assert left < set(names)
        gone = names[-1]
        with pytest.raises(ExecutionNotFoundError):
            here.show(gone)
        await here.run(BIG, {"n": 1})
        assert (await retained(here, ALL))[-2].what == "kept"
    assert not (home / "log" / "journal" / "0000000000").exists()
    verify(home)
    async with node(tmp_path, world) as here:
        assert await here.run(BIG, {"n": 2}) == {"n": 2}
    verify(home)


@pytest.mark.holds("H21")
async def test_a_hold_an_unfinished_execution_and_a_young_one_keep_the_log(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        waiting = await here.start(WAITS)
        await here.run(flow("do: [{a: {set: {n: 1}}}]", "held"), {})
        await fill(here, 3)
        held = await here.care.hold(reason="case", by="ann", flow="held")

        async def kept_by(*rules: RetentionRule) -> str:
            (step,) = [step for step in await retained(here, *rules) if step.what == "kept"]
            assert here._log.first == 0
            return step.why

        why = await kept_by(ALL)
        assert waiting in why or held.id in why
        await here.abort(waiting)
        assert held.id in await kept_by(ALL)
        await here.care.release(held.id, reason="over", actor="ann")
        assert "no rule" in await kept_by(RetentionRule(flow="big", records_days=0))
        found = await retained(here, ALL)
        assert found[-2].what == "prune"
    verify(tmp_path / "home")


@pytest.mark.holds("H21")
async def test_holds_schedules_and_documents_are_carried_across(
    tmp_path: Path, world: World
) -> None:
    """All that was said before the cut and still counts; then the index is made from the rest."""
    clock = ManualClock()
    timed = flow("schedule: {every: PT1H}\ndo: [{n: {call: note}}]", "timed")
    async with node(tmp_path, world, clock=clock) as here:
        await here.schedule(timed)
        held = await here.care.hold(reason="case", by="ann", flow="nothing/*")
        over = await here.care.hold(reason="case", by="ann", flow="nothing/*")
        # Their documents are stored with the first execution of each, before the cut: one that an
        # execution behind it still names, and one that nobody names when it is cut.
        for early in [await here.start(WAITS), await here.start(AGAIN)]:
            await here.emit(CloudEvent(id="1", source="urn:t", type="go", data=1))
            await here.wait(early)
        await clock.advance(3_600_000)
        await until(lambda: here.schedules()[0].fired_at)
        await here.care.release(over.id, reason="over", actor="ann")
        await fill(here, 3)
        late = await here.start(WAITS)
        before = here.schedules()[0]
        found = await retained(here, ALL)
        assert found[-2].what == "prune"
        after = await here.start(AGAIN)
    for path in (tmp_path / "home").glob("index.db*"):
        path.unlink()
    async with node(tmp_path, world, clock=clock) as here:
        assert await here.care.holds() == [held]
        (schedule,) = here.schedules()
        assert (schedule.rule, schedule.fired_at, schedule.next_at) == (
            before.rule,
            before.fired_at,
            before.next_at,
        )
        await here.emit(CloudEvent(id="2", source="urn:t", type="go", data=2))
        assert [(await here.wait(name)).status for name in (late, after)] == ["completed"] * 2
        calls = len(world.calls)
        await clock.advance(3_600_000)
        await until(lambda: len(world.calls) > calls)
    verify(tmp_path / "home")


async def test_a_schedule_that_never_fired_keeps_what_it_counts_from(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        await here.schedule(flow("schedule: {every: PT1H}\ndo: [{n: {call: note}}]", "timed"))
        await fill(here, 3)
        (step,) = [step for step in await retained(here, ALL) if step.what == "kept"]
        assert "t/timed" in step.why
        await here.unschedule("t/timed")
        assert (await retained(here, ALL))[-2].what == "prune"
        assert here.schedules() == []
    verify(tmp_path / "home")


async def test_a_schedule_that_never_fired_still_counts_from_its_beginning(
    tmp_path: Path, world: World
) -> None:
    """Prunings more frequent than a schedule must not put it off for ever."""
    clock = ManualClock()
    async with node(tmp_path, world, clock=clock) as here:
        await fill(here, 3)
        await here.schedule(flow("schedule: {every: PT1H}\ndo: [{n: {call: note}}]", "timed"))
        await clock.advance(1_800_000)
        assert (await retained(here, ALL))[-2].what == "prune"
    async with node(tmp_path, world, clock=clock) as here:
        (schedule,) = here.schedules()
        assert schedule.next_at == clock.now_ms() + 1_800_000
    verify(tmp_path / "home")


@pytest.mark.holds("H21")
async def test_what_begins_while_a_cut_is_planned_is_not_cut(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the index has not heard of it yet, and the log has gone on to further files."""
    async with node(tmp_path, world) as here:
        await fill(here, 2)
        plan, started = here.care._pruner.plan, []

        async def more() -> None:
            started.append(await here.start(WAITS))
            loaded, wanted = here.know(BIG), len(here._log.segments) + 2
            while len(here._log.segments) < wanted:
                await here._engine.start(loaded, LOAD, actor="local")

        def late(*arguments: Any) -> Any:
            with monkeypatch.context() as patch:
                patch.setattr(here._index, "catch_up", lambda *_: 0)
                anyio.from_thread.run(more)
            return plan(*arguments)

        monkeypatch.setattr(here.care._pruner, "plan", late)
        await retained(here, ALL)
        assert here.history(started[0])[0]["seq"] == 0
        await here.emit(CloudEvent(id="1", source="urn:t", type="go", data=1))
        assert (await here.wait(started[0])).status == "completed"
    verify(tmp_path / "home")


@pytest.mark.holds("H21")
async def test_an_execution_can_be_brought_in_while_its_document_is_carried_across(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        early = await here.start(WAITS)
        await here.emit(CloudEvent(id="1", source="urn:t", type="go", data=1))
        await here.wait(early)
        await fill(here, 3)
        late = await here.start(WAITS)

    async def full(*_: Any) -> None:
        raise BusyError("the queue is full")

    async with node(tmp_path, world) as here:
        with monkeypatch.context() as patch:
            patch.setattr(here.care._pruner, "_carry", full)
            with pytest.raises(BusyError):
                await retained(here, ALL)
        # It is not in memory, and neither is its flow: that is where the cut would take it from.
        await here.emit(CloudEvent(id="2", source="urn:t", type="go", data=2))
        assert (await here.wait(late)).status == "completed"
        assert (await retained(here, ALL))[-2].what == "prune"
    verify(tmp_path / "home")


@pytest.mark.parametrize("how", ["the caller went", "a file could not be deleted"])
async def test_the_index_follows_a_cut_however_it_ends(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with node(tmp_path, world) as here:
        await fill(here, 3)
        names = {view.id for view in here.list(limit=1000)}
        cut = here._log.prune

        async def ends(record: int) -> int:
            done = await cut(record)
            if how == "the caller went":
                scope.cancel()
                return done
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(here._log, "prune", ends)
        with anyio.CancelScope() as scope, suppress(OSError):
            await retained(here, ALL)
        assert here._log.first > 0
        assert {view.id for view in here.list(limit=1000)} < names
    verify(tmp_path / "home")


async def test_a_document_on_its_way_to_the_log_does_not_stop_a_cut(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        await fill(here, 3)
        new = here.validate(AGAIN)
        here._engine._ledger.definitions.note_stored(str(_core.cid_of(_core.encode(new.document))))
        assert (await retained(here, ALL))[-2].what == "prune"


async def test_a_schedule_removed_while_the_log_is_cut_stays_removed(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with node(tmp_path, world, clock=clock) as here:
        await here.schedule(flow("schedule: {every: PT1H}\ndo: [{n: {call: note}}]", "timed"))
        await clock.advance(3_600_000)
        await until(lambda: here.schedules()[0].fired_at)
        await fill(here, 3)
        inner = _pruning.Pruner._said_again
        asked: list[int] = []

        def said_again(pruner: _pruning.Pruner) -> Any:
            rows = inner(pruner)
            asked.append(len(rows))
            if len(asked) == 1:
                anyio.from_thread.run(here.unschedule, "t/timed")
            return rows

        monkeypatch.setattr(_pruning.Pruner, "_said_again", said_again)
        assert (await retained(here, ALL))[-2].what == "prune"
        assert asked == [2, 0]
    async with node(tmp_path, world, clock=clock) as here:
        assert here.schedules() == []
    verify(tmp_path / "home")


@pytest.mark.holds("H21")
async def test_a_pruning_that_is_cut_short_leaves_the_whole_log(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        held = await here.care.hold(reason="case", by="ann", flow="nothing/*")
        await fill(here, 3)

        def crash(*_: Any) -> None:
            raise BusyError("the process died here")

        with monkeypatch.context() as patch:
            patch.setattr(here._log, "prune", crash)
            with pytest.raises(BusyError):
                await retained(here, ALL)
    verify(tmp_path / "home")
    async with node(tmp_path, world) as here:
        assert here._log.first == 0
        assert await here.care.holds() == [held]
        assert (await retained(here, ALL))[-2].what == "prune"
    verify(tmp_path / "home")


async def test_care_of_files_prunes_too(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_care, "PAGE", 3)
    monkeypatch.setattr(_pruning, "PAGE", 3)
    async with node(tmp_path, world) as here:
        await fill(here, 3)
        assert find_cut(here._log, here._log.size) is not None
    async with open_care(Config(home=tmp_path / "home")) as care:
        found = [step async for step in care.retain([ALL], actor="ann", dry_run=False)]
        assert found[-2].what == "prune"
    verify(tmp_path / "home")
    async with node(tmp_path, world) as here:
        assert await here.run(BIG, {"n": 1}) == {"n": 1}
