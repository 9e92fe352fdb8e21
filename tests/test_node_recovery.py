"""What an execution and its subflows find again, whatever else is in memory or has died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core
from qflow.engine import _decide, _tasks
from qflow.errors import CorruptError, ExecutionFailedError
from qflow.events import CloudEvent
from tests.nodes import until, verify
from tests.test_node import World, flow, node

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.holds("E2")
async def test_an_execution_that_was_just_brought_in_stays(tmp_path: Path, world: World) -> None:
    listens = flow("do: [{l: {listen: {to: {any: [{with: {type: go}}], until: 'length > 1'}}}}]")
    hold = flow("do: [{h: {call: hold}}]", "hold")
    async with node(tmp_path, world, engine={"executions_resident_max": 1}) as here:
        execution = await here.start(listens)
        await here.start(hold)
        await here.start(hold)
        assert here._engine.resident(execution) is None
        async with anyio.create_task_group() as group:
            for n in range(2):
                group.start_soon(
                    here.emit, CloudEvent(id=str(n), source="urn:t", type="go", data=n)
                )
        done = await here.wait(execution)
        assert sorted(done.output) == [0, 1]
    verify(tmp_path / "home")


CHILD = "do: [{c: {call: hold}}, {s: {set: {n: 5}}}]"
PARENT = "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}}}]"


@pytest.mark.holds("E2")
async def test_the_output_of_a_subflow_outlives_a_crash_before_its_parent_hears_of_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        here.know(flow(CHILD, "child"))
        execution = await here.start(flow(PARENT, "parent"))
        await until(lambda: world.calls)
        monkeypatch.setattr(here._engine, "_tell_parent", lambda *_: None)
        world.gate.set()
        await until(lambda: here.list(status="completed"))
    async with node(tmp_path, world) as here:
        assert (await here.wait(execution)).output == {"n": 5}


@pytest.mark.holds("E2")
async def test_the_end_of_a_subflow_outlives_a_crash_before_its_parent_hears_of_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        here.know(flow(CHILD, "child"))
        execution = await here.start(flow(PARENT, "parent"))
        await until(lambda: world.calls)
        monkeypatch.setattr(here._engine, "_tell_parent", lambda *_: None)
        (child,) = here.list(flow="t/child/1.0.0")
        await here.abort(child.id, reason="enough")
        await until(lambda: here.list(status="aborted"))
    async with node(tmp_path, world) as here:
        done = await here.wait(execution)
        assert done.problem is not None
        assert (done.problem["title"], done.problem["detail"]) == ("Aborted", "enough")
        assert here.show(child.id).problem == {**done.problem, "instance": "/do"}


@pytest.mark.holds("E5")
async def test_a_subflow_whose_parent_ended_before_a_crash_is_aborted_behind_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        here.know(flow(CHILD, "child"))
        execution = await here.start(flow(PARENT, "parent"))
        await until(lambda: world.calls)
        monkeypatch.setattr(here._engine, "_abort", lambda *_: None)
        await here.abort(execution)
        (child,) = here.list(flow="t/child/1.0.0")
        assert child.status == "running"
    async with node(tmp_path, world) as here:
        assert (await here.wait(child.id)).status == "aborted"


async def test_a_damaged_flow_ends_the_execution_that_needs_it_alone(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:

        def find(*_: Any) -> None:
            raise CorruptError("bad block")

        monkeypatch.setattr(here._library, "find", find)
        with pytest.raises(ExecutionFailedError, match="abort"):
            await here.run(flow(PARENT, "parent"))
        assert await here.run(flow("do: [{n: {call: note}}]"))
    verify(tmp_path / "home")


async def test_a_mistake_in_a_decision_ends_its_execution_alone(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = flow("do: [{a: {call: hold}}, {b: {wait: PT1S}}]")
    with monkeypatch.context() as patched:

        def broken(*_: Any) -> None:
            raise KeyError("a bug")

        patched.setitem(_tasks.BEGIN, "wait", broken)
        async with node(tmp_path, world) as here:
            execution = await here.start(text)
            other = await here.start(flow("do: [{a: {call: hold}}]"))
            world.gate.set()
            assert (await here.wait(execution)).status == "aborted"
            assert (await here.wait(other)).status == "completed"
    verify(tmp_path / "home")


async def test_a_mistake_at_a_restart_ends_its_execution_alone(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        execution = await here.start(flow("do: [{a: {call: hold}}]"))

    def broken(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setitem(_decide._EVENTS, "recovered", broken)
    async with node(tmp_path, world) as here:
        assert (await here.wait(execution)).status == "aborted"
        world.gate.set()
        assert await here.run(flow("do: [{n: {call: note}}]"))


@pytest.mark.holds("E2")
async def test_nothing_is_done_before_the_decision_is_durable(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        inner, held = here._log.submit, list[Any]()
        with monkeypatch.context() as patched:
            patched.setattr(here._log, "submit", lambda *batch: held.append(batch))
            async with anyio.create_task_group() as group:
                group.start_soon(here.run, flow("do: [{a: {call: note}}]"))
                await until(lambda: held)
                for _ in range(50):
                    await anyio.lowlevel.checkpoint()
                assert not world.calls
                patched.undo()
                for batch in held:
                    inner(*batch)
        assert len(world.calls) == 1


@pytest.mark.holds("E2")
async def test_an_emitted_event_and_what_its_takers_make_of_it_are_one_commit(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    emits = flow("do: [{e: {emit: {event: {with: {source: 'urn://x', type: hey}}}}}]", "emits")
    async with node(tmp_path, world) as here:
        listener = await here.start(flow("do: [{l: {listen: {to: {one: {with: {type: hey}}}}}}]"))
        inner, commits = here._log.submit, list[set[tuple[str, str]]]()

        def submit(records: Any, blocks: Any = (), done: Any = None) -> Any:
            decoded = map(_core.decode_record, records)
            commits.append({(record["flow"], record["type"].split(".")[-2]) for record in decoded})
            return inner(records, blocks, done)

        with monkeypatch.context() as patched:
            patched.setattr(here._log, "submit", submit)
            await here.run(emits)
            await here.wait(listener)
    taken = next(kinds for kinds in commits if ("t/flow/1.0.0", "event_received") in kinds)
    assert ("t/emits/1.0.0", "step_completed") in taken


@pytest.mark.holds("E2")
async def test_each_attempt_has_a_key_of_its_own(tmp_path: Path, world: World) -> None:
    body = "do: [{a: {call: note}}, {l: {for: {in: '[1, 2]'}, do: [{b: {call: note}}]}}]"
    async with node(tmp_path, world) as here:
        await here.run(flow(body))
        await here.run(flow(body))
    assert len({key for _, key in world.calls}) == len(world.calls) == 6


@pytest.mark.holds("E5")
async def test_an_abort_cancels_the_attempts_under_way(tmp_path: Path, world: World) -> None:
    ends: list[str] = []

    async def lasting() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ends.append("cancelled")

    world.functions.register("lasting", lasting)
    async with node(tmp_path, world) as here:
        execution = await here.start(flow("do: [{a: {call: lasting}}, {b: {call: note}}]"))
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        await here.abort(execution)
        await until(lambda: ends)
        assert here.history(execution)[-1]["type"] == "q.qflow.exec.aborted.v1"
    assert not world.calls
