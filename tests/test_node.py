"""A whole node in this process: what an execution lives through, on asyncio and on trio."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what a function of a flow may raise
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import audit, model
from qflow.config import Config
from qflow.errors import (
    CorruptError,
    ExecutionFailedError,
    ExecutionNotFoundError,
    ExecutionStateError,
    FlowError,
    LockedError,
)
from qflow.events import CloudEvent
from qflow.node import Node
from qflow.steps import Functions
from qflow.testing import ManualClock

pytestmark = pytest.mark.anyio


def flow(body: str, name: str = "flow") -> str:
    return f"document: {{dsl: '1.0.3', namespace: t, name: {name}, version: '1.0.0'}}\n{body}"


class World:
    """Functions that note how they are called, and can be held back."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.gate = anyio.Event()
        self.functions = Functions()
        self.functions.register("note", self.note)
        self.functions.register("hold", self.hold)
        self.functions.register("fail", self.fail)

    async def note(self, attempt: model.Attempt) -> dict[str, Any]:
        self.calls.append((attempt.step, attempt.key))
        return {"step": attempt.step}

    async def hold(self, attempt: model.Attempt) -> str:
        self.calls.append((attempt.step, attempt.key))
        await self.gate.wait()
        return "released"

    async def fail(self) -> None:
        raise ValueError("never works")


@pytest.fixture
def world() -> World:
    return World()


def node(tmp_path: Path, world: World, **options: Any) -> Node:
    return Node(Config(home=tmp_path / "home", **options), functions=world.functions)


async def test_a_flow_runs_and_its_history_verifies(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        assert await here.run(flow("do: [{a: {call: note}}]")) == {"step": "/do/0/a"}
        (execution,) = here.list()
        shown = here.show(execution.id[:10])
        assert (shown.status, shown.output) == ("completed", {"step": "/do/0/a"})
        kinds = [record["type"].split(".")[-2] for record in here.history(execution.id)]
        assert kinds == ["created", "step_completed", "completed"]
    report = audit.verify(tmp_path / "home" / "log", tmp_path / "home" / "node.pub")
    assert report.ok, report


async def test_a_failed_execution_says_why(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        with pytest.raises(ExecutionFailedError) as caught:
            await here.run(flow("do: [{a: {call: fail}}]"))
        assert caught.value.problem["instance"] == "/do/0/a"
        shown = here.show(caught.value.execution)
        assert shown.status == "faulted"
        assert "never works" in str(shown.problem)


async def test_an_unknown_function_is_refused_before_anything_starts(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        with pytest.raises(FlowError, match="nowhere"):
            await here.start(flow("do: [{a: {call: nowhere}}]"))
        assert here.list() == []
        with pytest.raises(ExecutionNotFoundError):
            here.show("01aaaaaaaaaaaaaaaaaaaaaaaa")


async def test_two_nodes_cannot_share_a_home(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world):
        with pytest.raises(LockedError):
            async with node(tmp_path, world):
                raise AssertionError


@pytest.mark.holds("E2")
async def test_an_attempt_in_flight_is_made_again_with_the_same_key(
    tmp_path: Path, world: World
) -> None:
    text = flow("do: [{a: {call: note}}, {b: {call: hold}}, {c: {call: note}}]")
    async with node(tmp_path, world) as here:
        execution = await here.start(text)
        while len(world.calls) < 2:
            await anyio.lowlevel.checkpoint()
    world.gate.set()
    async with node(tmp_path, world) as here:
        done = await here.wait(execution)
    assert done.status == "completed"
    steps = [step for step, _ in world.calls]
    assert steps == ["/do/0/a", "/do/1/b", "/do/1/b", "/do/2/c"]
    assert world.calls[1] == world.calls[2]


@pytest.mark.holds("E5")
async def test_pause_holds_across_a_restart(tmp_path: Path, world: World) -> None:
    text = flow("do: [{a: {call: hold}}, {b: {call: note}}]")
    async with node(tmp_path, world) as here:
        execution = await here.start(text)
        while not world.calls:
            await anyio.lowlevel.checkpoint()
        await here.pause(execution, reason="look first")
        world.gate.set()
        while len(here.history(execution)) < 3:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(ExecutionStateError):
            await here.pause(execution)
    async with node(tmp_path, world) as here:
        assert here.show(execution).status == "paused"
        assert len(world.calls) == 1
        await here.resume(execution)
        assert (await here.wait(execution)).status == "completed"


@pytest.mark.holds("E5")
async def test_abort_cancels_what_runs_and_holds(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        execution = await here.start(flow("do: [{a: {call: hold}}]"))
        await here.abort(execution, reason="enough")
        assert (await here.wait(execution)).status == "aborted"
        with pytest.raises(ExecutionStateError):
            await here.resume(execution)
    async with node(tmp_path, world) as here:
        assert here.show(execution).status == "aborted"


async def test_events_reach_those_that_listen_also_after_a_restart(
    tmp_path: Path, world: World
) -> None:
    text = flow(
        "do: [{l: {listen: {to: {one: {with: {type: go, data: '${ .n == $workflow.input.n }'}}}}}}]"
    )
    async with node(tmp_path, world) as here:
        first, second = [await here.start(text, {"n": n}) for n in (1, 2)]
        while here.show(second).status != "waiting":
            await anyio.lowlevel.checkpoint()
    async with node(tmp_path, world) as here:
        event = CloudEvent(id="e", source="urn:t", type="go", data={"n": 2})
        assert await here.emit(event) == [second]
        assert (await here.wait(second)).output == [{"n": 2}]
        assert await here.emit(event) == []
        assert here.show(first).status == "waiting"


async def test_a_flow_that_emits_wakes_one_that_listens(tmp_path: Path, world: World) -> None:
    listens = flow("do: [{l: {listen: {to: {one: {with: {type: hey}}}}}}]", "listens")
    emits = flow(
        "do: [{e: {emit: {event: {with: {source: 'urn://x', type: hey, data: 5}}}}}]", "emits"
    )
    async with node(tmp_path, world) as here:
        waiting = await here.start(listens)
        await here.run(emits)
        assert (await here.wait(waiting)).output == [5]


async def test_a_subflow_runs_as_an_execution_of_its_own(tmp_path: Path, world: World) -> None:
    child = flow("do: [{c: {call: note}}, {s: {set: {n: '${ $workflow.input.n + 1 }'}}}]", "child")
    parent = flow(
        "do: [{r: {run: {workflow: {namespace: t, name: child, version: latest,"
        " input: {n: 41}}}}}]",
        "parent",
    )
    async with node(tmp_path, world) as here:
        here.know(child)
        assert await here.run(parent) == {"n": 42}
        assert {execution.flow for execution in here.list()} == {"t/child/1.0.0", "t/parent/1.0.0"}
        with pytest.raises(ExecutionFailedError, match="Unknown flow"):
            await here.run(parent.replace("name: child", "name: nobody"))


@pytest.mark.holds("E5")
async def test_aborting_a_parent_aborts_the_subflow_that_it_waits_for(
    tmp_path: Path, world: World
) -> None:
    child = flow("do: [{c: {call: hold}}]", "child")
    parent = flow(
        "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}}}]", "parent"
    )
    async with node(tmp_path, world) as here:
        here.know(child)
        execution = await here.start(parent)
        while not world.calls:
            await anyio.lowlevel.checkpoint()
        await here.abort(execution)
        below = next(item for item in here.list() if item.flow == "t/child/1.0.0")
        assert (await here.wait(below.id)).status == "aborted"


@pytest.mark.holds("E2")
async def test_timers_wake_what_waits_in_memory_and_on_disk(tmp_path: Path, world: World) -> None:
    clock = ManualClock()
    config = Config(home=tmp_path / "home")
    text = flow("do: [{w: {wait: PT1H}}, {n: {call: note}}]")
    async with Node(config, clock=clock, functions=world.functions) as here:
        execution = await here.start(text)
        await clock.advance(1_800_000)
        assert here.show(execution).status == "waiting"
    async with Node(config, clock=clock, functions=world.functions) as here:
        assert not world.calls
        await clock.advance(1_800_001)
        while not world.calls:
            await anyio.lowlevel.checkpoint()
        assert (await here.wait(execution)).status == "completed"


async def test_a_schedule_fires_once_a_time_and_survives_a_restart(
    tmp_path: Path, world: World
) -> None:
    clock = ManualClock()
    config = Config(home=tmp_path / "home")
    text = flow("schedule: {every: PT10M}\ndo: [{n: {call: note}}]", "timed")

    async def fired(here: Node, count: int) -> None:
        while len(here.list(flow="timed")) < count:
            await anyio.lowlevel.checkpoint()
        for execution in here.list():
            await here.wait(execution.id)

    async with Node(config, clock=clock, functions=world.functions) as here:
        assert await here.schedule(text) == "t/timed"
        await clock.advance(600_000)
        await fired(here, 1)
    async with Node(config, clock=clock, functions=world.functions) as here:
        (schedule,) = here.schedules()
        assert schedule.fired_at is not None
        assert len(here.list()) == 1
        await clock.advance(600_000)
        await fired(here, 2)
        await here.unschedule("t/timed")
    # Four due times pass while the node is down, for a schedule that is gone.
    await clock.advance(2_400_000)
    async with Node(config, clock=clock, functions=world.functions) as here:
        assert here.schedules() == []
        await clock.advance(1)
        assert len(here.list()) == 2


async def test_a_result_that_cannot_be_recorded_fails_the_step(
    tmp_path: Path, world: World
) -> None:
    async def huge() -> str:
        return "x" * (2 << 20)

    world.functions.register("huge", huge)
    async with node(tmp_path, world) as here:
        with pytest.raises(ExecutionFailedError, match="cannot be recorded"):
            await here.run(flow("do: [{a: {call: huge}}]"))


async def test_a_state_that_cannot_be_recorded_ends_its_execution_alone(
    tmp_path: Path, world: World
) -> None:
    grow = "do: [{a: {set: {x: '${ [range(9000)] | map(\"0123456789\" * 20) }'}}}]"
    async with node(tmp_path, world) as here:
        with pytest.raises((ExecutionFailedError, ExecutionStateError)):
            await here.run(flow(grow))
        with pytest.raises(ExecutionFailedError):
            await here.run(flow("do: [{n: {call: note}}, " + grow.removeprefix("do: [")))
        assert await here.run(flow("do: [{n: {call: note}}]"))


async def test_subscribers_hear_of_durable_facts_only(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here, here.subscribe("q.qflow.exec.*") as events:
        execution = await here.start(flow("do: [{n: {call: note}}]"))
        heard = []
        async for event in events:
            heard.append(event.type.split(".")[-2])
            assert event.subject == execution
            assert int(str(event.id).split("/")[-1]) < len(here.history(execution))
            if heard[-1] == "completed":
                break
    assert heard == ["created", "step_completed", "completed"]


async def test_executions_that_only_wait_leave_memory_and_come_back(
    tmp_path: Path, world: World
) -> None:
    text = flow("do: [{l: {listen: {to: {one: {with: {type: go}}}}}}]")
    async with node(tmp_path, world, engine={"executions_resident_max": 3}) as here:
        started = [await here.start(text) for _ in range(12)]
        assert len(here._engine.residents()) <= 4
        taken = await here.emit(CloudEvent(id="e", source="urn:t", type="go", data=1))
        assert sorted(taken) == sorted(started)
        for execution in started:
            assert (await here.wait(execution)).status == "completed"


async def test_an_error_leaves_the_node_as_it_was_raised(tmp_path: Path, world: World) -> None:
    with pytest.raises(ExecutionFailedError):
        async with node(tmp_path, world) as here:
            await here.run(flow("do: [{a: {call: fail}}]"))
    mine = ExceptionGroup("mine", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as caught:
        async with node(tmp_path, world):
            raise mine
    assert caught.value is mine


async def test_a_function_that_cancels_or_interrupts_itself_fails_its_step_alone(
    tmp_path: Path, world: World
) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    def interrupted() -> None:
        raise KeyboardInterrupt

    world.functions.register("cancelled", cancelled)
    world.functions.register("interrupted", interrupted)
    async with node(tmp_path, world) as here:
        for name in ("cancelled", "interrupted"):
            with pytest.raises(ExecutionFailedError, match=f"{name} failed"):
                await here.run(flow(f"do: [{{a: {{call: {name}}}}}]"))
        assert await here.run(flow("do: [{a: {call: note}}]"))


@pytest.mark.holds("H9")
async def test_a_history_that_is_gone_is_not_begun_anew(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        await here.run(flow("do: [{a: {call: note}}]"))
    (tmp_path / "home" / "log").rename(tmp_path / "elsewhere")
    with pytest.raises(CorruptError, match="its history is gone"):
        async with node(tmp_path, world):
            raise AssertionError
    (tmp_path / "elsewhere").rename(tmp_path / "home" / "log")
    async with node(tmp_path, world) as here:
        assert len(here.list()) == 1
