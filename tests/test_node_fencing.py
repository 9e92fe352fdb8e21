"""Who may go on with an execution: whoever follows its newest version, and has all of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qflow import model
from qflow.errors import CorruptError, ExecutionStateError, StaleError, UnavailableError
from qflow.node import Node, _adoption
from qflow.node._states_open import open_state_care
from tests.nodes import turns, until, verify
from tests.places import Place, carry, held, last, taken_over
from tests.test_node import World, flow, node
from tests.test_node_checkpoints import Gate

pytestmark = pytest.mark.anyio

GUARD = "metadata: {qflow: {checkpoint: true}}"
TWICE = flow(
    f"do: [{{r: {{call: note, {GUARD}}}}},"
    " {l: {for: {in: '${ [range(20)] }'}, do: [{n: {call: note}}]}}, {h: {call: hold}}]",
    "twice",
)


def twin(place: Place, folder: Path) -> Place:
    """The same node on a new disk: only its key is left."""
    folder.mkdir()
    shutil.copy(place.home / "node.key", folder / "node.key")
    return Place(folder)


def die_after(pieces: int, patched: pytest.MonkeyPatch) -> None:
    """A restore ends behind so many appends of at most five records."""
    inner, count = _adoption.Adoption._append, [0]

    async def append(self: _adoption.Adoption, *piece: Any) -> None:
        if count[0] == pieces:
            raise OSError("the machine dies here")
        count[0] += 1
        await inner(self, *piece)

    patched.setattr(_adoption, "PIECE_RECORDS_MAX", 5)
    patched.setattr(_adoption.Adoption, "_append", append)


def kinds(here: Node, execution: str) -> list[str]:
    return [record["type"].split(".")[-2] for record in here.history(execution)]


# -- a part of a history -------------------------------------------------------------------


@pytest.mark.holds("S4", "S17", "E2")
@pytest.mark.parametrize("pieces", [0, 1, 3])
async def test_a_restore_of_ones_own_that_is_cut_off_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    a, file = Place(tmp_path / "a"), str(tmp_path / "x.car")
    async with a.node() as one:
        execution = await held(a, one)
        made = await one.checkpoint(execution)
        await last(one.states.export([execution], file, with_key=True, replace=True))
    b = twin(a, tmp_path / "b")
    b.world.gate.set()
    async with b.node() as two:
        await last(two.states.import_(file))
        with monkeypatch.context() as patched:
            die_after(pieces, patched)
            with pytest.raises(OSError, match="dies here"):
                await two.states.restore(execution, dry_run=False, actor="t")
        await turns()
        assert b.steps() == []
    async with b.node() as two:
        await turns()
        assert b.steps() == []
        if pieces:
            with pytest.raises(UnavailableError, match=f"checkpoint restore {execution}"):
                await two.pause(execution)
        done = await two.states.restore(execution, dry_run=False, actor="t")
        assert (done.present, done.records) == (5 * pieces, made["seq"] + 1 - 5 * pieces)
        assert (await two.wait(execution)).output == {"name": "n"}
        assert b.steps() == ["/do/1/h"]
    verify(b.home)


@pytest.mark.holds("S17", "E2")
async def test_also_behind_an_older_one_that_was_restored_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, file = Place(tmp_path / "a"), str(tmp_path / "x.car")
    async with a.node() as one:
        execution = await one.start(TWICE)
        await until(lambda: a.steps()[-1:] == ["/do/2/h"])
        await one.checkpoint(execution)
        names = [item.cid async for item in one.states.list()]
        await last(one.states.export(names, file, with_key=True, replace=True))
    assert len(names) == 2
    b = twin(a, tmp_path / "b")
    b.world.gate.set()
    async with open_state_care(b.config) as care:
        await last(care.import_(file))
        await care.restore(names[-1], dry_run=False, actor="t")
        with monkeypatch.context() as patched:
            die_after(1, patched)
            with pytest.raises(OSError, match="dies here"):
                await care.restore(names[0], dry_run=False, actor="t")
    async with b.node() as two:
        await turns()
        assert b.steps() == []
        await two.states.restore(execution, dry_run=False, actor="t")
        assert (await two.wait(execution)).status == "completed"
        assert b.steps() == ["/do/2/h"]
    verify(b.home)


@pytest.mark.holds("S4", "E2")
async def test_a_log_that_is_older_than_the_store_is_not_gone_on_with(tmp_path: Path) -> None:
    a = Place(tmp_path / "a")
    async with a.node() as one:
        execution = await held(a, one)
        await one.checkpoint(execution)
        await one.pause(execution)
    shutil.copytree(a.home / "log", tmp_path / "log")
    async with a.node() as one:
        await one.resume(execution)
        made = await one.checkpoint(execution)
    a.lose_log(older=tmp_path / "log")
    a.world.gate.set()
    async with a.node() as one:
        with pytest.raises(UnavailableError, match=f"checkpoint restore {execution}"):
            await one.resume(execution)
        assert one._index.execution(execution).seq < made["seq"]
        await one.states.restore(execution, dry_run=False, actor="t")
        assert (await one.wait(execution)).output == {"name": "n"}
    verify(a.home)


# -- another history -----------------------------------------------------------------------


async def overtaken(a: Place, one: Node, two: Node, folder: Path) -> str:
    """Another node owns the execution of one, who hears of it when he keeps a checkpoint."""
    execution, _ = await taken_over(a, one, two, folder)
    await two.checkpoint(execution)
    await carry(two, one, execution, folder)
    with pytest.raises(StaleError):
        await one.checkpoint(execution)
    a.world.gate.set()
    return execution


@pytest.mark.holds("S13")
async def test_who_was_overtaken_stays_shut_behind_a_refused_restore_and_a_start(
    tmp_path: Path,
) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with b.node() as two:
        async with a.node() as one:
            execution = await overtaken(a, one, two, tmp_path)
            calls = a.steps()
            with pytest.raises(ExecutionStateError, match="another history"):
                await one.states.restore(execution, dry_run=False, actor="t")
            await turns()
            with pytest.raises(StaleError):
                await one.abort(execution)
            before = kinds(one, execution)
        for _ in range(2):
            async with a.node() as one:
                await turns()
                with pytest.raises(UnavailableError, match="another way"):
                    await one.abort(execution)
                with pytest.raises(ExecutionStateError, match="another history"):
                    await one.states.restore(execution, dry_run=False, actor="t")
                await turns()
                assert kinds(one, execution) == before
        assert a.steps() == calls
        b.world.gate.set()
        assert (await two.wait(execution)).output == {"name": "n"}
    verify(a.home)


@pytest.mark.holds("S13")
async def test_who_went_further_than_the_new_owner_goes_no_further_after_a_start(
    tmp_path: Path,
) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with b.node() as two, a.node() as one:
        execution, _ = await taken_over(a, one, two, tmp_path)
        made = await two.checkpoint(execution)
        for _ in range(4):
            await one.pause(execution)
            await one.resume(execution)
        assert one.show(execution).seq > made["seq"]
        await carry(two, one, execution, tmp_path)
    a.world.gate.set()
    calls = a.steps()
    async with a.node() as one:
        await turns()
        with pytest.raises(StaleError, match="another history"):
            await one.pause(execution)
        assert a.steps() == calls
    verify(a.home)


# -- an execution that goes on here ---------------------------------------------------------

REPORTED = flow("do: [{h: {call: hold, metadata: {qflow: {interrupted: report}}}}]", "reported")
AGAIN = flow("do: [{h: {call: hold}}]", "again")


@pytest.mark.holds("E5")
@pytest.mark.parametrize("text", [REPORTED, AGAIN])
@pytest.mark.parametrize("ahead", [False, True])
async def test_a_restore_that_does_nothing_leaves_what_runs_alone(
    tmp_path: Path, text: str, ahead: bool
) -> None:
    world = World()
    async with node(tmp_path, world) as here:
        execution = await here.start(text)
        await until(lambda: world.calls)
        await here.checkpoint(execution)
        if ahead:
            await here.pause(execution)
            await here.resume(execution)
            with pytest.raises(ExecutionStateError, match="ahead"):
                await here.states.restore(execution, dry_run=False, actor="t")
        else:
            done = await here.states.restore(execution, dry_run=False, actor="t")
            assert done.records == 0
        await turns()
        world.gate.set()
        assert (await here.wait(execution)).status == "completed"
        assert "recovered" not in kinds(here, execution)
    assert len(world.calls) == 1


async def test_nor_does_one_whose_execution_goes_on_while_it_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with a.node() as one, b.node() as two:
        execution, _ = await taken_over(a, one, two, tmp_path)
        await two.checkpoint(execution)
        await carry(two, one, execution, tmp_path)
        inner = _adoption.Adoption.plan

        async def plan(self: _adoption.Adoption, saved: Any) -> _adoption.Plan:
            found = await inner(self, saved)
            await one.pause(execution)
            return found

        with monkeypatch.context() as patched:
            patched.setattr(_adoption.Adoption, "plan", plan)
            with pytest.raises(ExecutionStateError, match="went on meanwhile"):
                await one.states.restore(execution, dry_run=False, actor="t")
        assert "recovered" not in kinds(one, execution)
    assert a.steps().count("/do/1/h") == 1


async def test_after_an_error_what_was_shut_stays_shut(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world) as here:
        execution = await here.start(AGAIN)
        await until(lambda: world.calls)
        here._engine._ledger._close(execution, CorruptError("a bad block"))
        known = here._archive.execution(execution)
        assert known is not None
        plan = _adoption.Plan(present=known.seq + 1, missing=1, definition=known.definition)
        with pytest.raises(OSError, match="full"):
            async with here._engine.set_aside({execution: plan}):
                raise OSError("the disk is full")
        with pytest.raises(CorruptError):
            await here.pause(execution)
        async with here._engine.set_aside({execution: plan}) as aside:
            assert aside == {execution}
        await here.pause(execution)


# -- paused --------------------------------------------------------------------------------

CALLS = flow(f"do: [{{r: {{call: note, {GUARD}}}}}]", "calls")
EMITS = flow(
    f"do: [{{r: {{emit: {{event: {{with: {{source: 'urn://x', type: go}}}}}}, {GUARD}}}}}]", "emits"
)
CHILD = flow("do: [{n: {call: note}}]", "child")
STARTS = flow(
    "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}, " + GUARD + "}}]",
    "starts",
)


def _called(here: Node, world: World) -> bool:
    return bool(world.calls)


def _emitted(here: Node, world: World) -> bool:
    (execution,) = here.list()
    return "step_completed" in kinds(here, execution.id)


def _started(here: Node, world: World) -> bool:
    return len(here.list()) > 1


@pytest.mark.holds("E5")
@pytest.mark.parametrize(
    ("text", "began"), [(CALLS, _called), (EMITS, _emitted), (STARTS, _started)]
)
async def test_paused_nothing_is_begun_when_its_checkpoint_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    began: Callable[[Node, World], bool],
) -> None:
    world = World()
    async with node(tmp_path, world) as here:
        here.know(CHILD)
        gate = Gate(here, monkeypatch)
        execution = await here.start(text)
        await until(gate.asked.is_set)
        await here.pause(execution)
        gate.open.set()
        await until(lambda: here._stored.states.history(model.id_bytes(execution)))
        await here.checkpoint(execution)  # behind all that was decided
        assert not began(here, world)
        assert here.show(execution).status == "paused"
        await here.resume(execution)
        assert (await here.wait(execution)).status == "completed"
        assert began(here, world)
    verify(tmp_path / "home")


async def test_paused_an_attempt_that_waits_for_its_turn_is_not_begun(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, engine={"attempts_in_flight_max": 1}) as here:
        first = await here.start(AGAIN)
        await until(lambda: world.calls)
        second = await here.start(CHILD)
        await here.pause(second)
        world.gate.set()
        await here.wait(first)
        await turns()
        assert [step for step, _ in world.calls] == ["/do/0/h"]
        await here.resume(second)
        assert (await here.wait(second)).status == "completed"
    assert len(world.calls) == 2
