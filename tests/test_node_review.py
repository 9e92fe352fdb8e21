from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import audit, model
from qflow.config import Config
from qflow.engine import _decide, _tasks
from qflow.errors import BusyError, CorruptError, ExecutionFailedError, ExecutionStateError, StepError
from qflow.events import CloudEvent
from qflow.node import Node
from qflow.testing import ManualClock
from tests.test_node import World, flow, node, world

pytestmark = pytest.mark.anyio
__all__ = ["world"]


def verify(home: Path) -> None:
    report = audit.verify(home / "log", home / "node.pub")
    assert report.ok, report


async def until(holds: Any) -> None:
    with anyio.fail_after(20):
        while not holds():
            await anyio.lowlevel.checkpoint()


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
                group.start_soon(here.emit, CloudEvent(id=str(n), source="urn:t", type="go", data=n))
        assert (await here.wait(execution)).output == [0, 1]
    verify(tmp_path / "home")


CHILD = "do: [{c: {call: hold}}, {s: {set: {n: 5}}}]"
PARENT = "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}}}]"


@pytest.mark.holds("E2")
async def test_subflow_output_survives_crash(tmp_path: Path, world: World, monkeypatch: Any) -> None:
    async with node(tmp_path, world) as here:
        here.know(flow(CHILD, "child"))
        execution = await here.start(flow(PARENT, "parent"))
        await until(lambda: world.calls)
        monkeypatch.setattr(here._engine, "_tell_parent", lambda *_: None)
        world.gate.set()
        await until(lambda: here.list(status="completed"))
    async with node(tmp_path, world) as here:
        assert (await here.wait(execution)).output == {"n": 5}


async def test_subflow_abort_survives_crash(tmp_path: Path, world: World, monkeypatch: Any) -> None:
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
        assert (done.problem["title"], done.problem["detail"]) == ("Aborted", "enough")
        assert here.show(child.id).problem["title"] == "Aborted"


async def test_orphan(tmp_path: Path, world: World, monkeypatch: Any) -> None:
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


async def test_library_failing(tmp_path: Path, world: World, monkeypatch: Any) -> None:
    async with node(tmp_path, world) as here:
        def find(*_: Any) -> None:
            raise CorruptError("bad block")
        monkeypatch.setattr(here._library, "find", find)
        with pytest.raises(ExecutionFailedError, match="abort"):
            await here.run(flow(PARENT, "parent"))
        assert await here.run(flow("do: [{n: {call: note}}]"))
    verify(tmp_path / "home")


async def test_huge_problem(tmp_path: Path, world: World) -> None:
    async def bad() -> None:
        raise StepError({"type": "https://e.com/x", "status": 418, "detail": "x" * (2 << 20)})
    world.functions.register("bad", bad)
    async with node(tmp_path, world) as here:
        with pytest.raises(ExecutionFailedError, match="cannot be recorded") as caught:
            await here.run(flow("do: [{n: {call: bad}}]"))
        assert caught.value.status == "faulted"


async def test_long_reason(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        execution = await here.start(flow("do: [{a: {call: hold}}]"))
        with pytest.raises(ExecutionStateError):
            await here.pause(execution, reason="x" * 9000)
        with pytest.raises(ExecutionStateError):
            await here.emit(CloudEvent(id="1", source="urn:x", type="x"), actor="x" * 9000)
        world.gate.set()
        assert (await here.wait(execution)).status == "completed"


async def test_bug_in_a_decision(tmp_path: Path, world: World, monkeypatch: Any) -> None:
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


async def test_bug_in_recovery(tmp_path: Path, world: World, monkeypatch: Any) -> None:
    async with node(tmp_path, world) as here:
        execution = await here.start(flow("do: [{a: {call: hold}}]"))
    def broken(*_: Any) -> None:
        raise KeyError("a bug")
    monkeypatch.setitem(_decide._EVENTS, "recovered", broken)
    async with node(tmp_path, world) as here:
        assert (await here.wait(execution)).status == "aborted"
        world.gate.set()
        assert await here.run(flow("do: [{n: {call: note}}]"))


async def test_busy(tmp_path: Path, world: World, monkeypatch: Any) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path / "home"), clock=clock, functions=world.functions) as here:
        inner, refused = here._log.submit, [0]

        def submit(records: Any, blocks: Any, done: Any) -> Any:
            if here._engine._ledger._in_flight >= 1 and records:
                refused[0] += 1
                raise BusyError("full")
            return inner(records, blocks, done)

        monkeypatch.setattr(here._log, "submit", submit)
        await here.schedule(flow("schedule: {every: PT1S}\ndo: [{n: {call: note}}]", "timed"))
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(here.run, flow("do: [{n: {call: note}}, {m: {call: note}}]"))
            await clock.advance(1000)
        await until(lambda: len(here.list(status="completed")) == 6)
        assert refused[0] > 0
    verify(tmp_path / "home")


def scheduled(rule: str) -> str:
    return flow(f"schedule: {rule}\ndo: [{{n: {{call: note}}}}]", "timed")


@pytest.mark.parametrize("change", ["remove", "replace"])
async def test_schedule_changed_while_it_fires(tmp_path: Path, world: World, monkeypatch: Any, change: str) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path / "home"), clock=clock, functions=world.functions) as here:
        await here.schedule(scheduled("{every: PT1M}"))
        inner, gate, firing = here._engine.start, anyio.Event(), anyio.Event()

        async def start(*args: Any, **options: Any) -> str:
            made = await inner(*args, **options)
            firing.set()
            await gate.wait()
            return made

        monkeypatch.setattr(here._engine, "start", start)
        await clock.advance(60_000)
        await firing.wait()
        if change == "remove":
            await here.unschedule("t/timed")
        else:
            await here.schedule(scheduled("{every: PT1H}"))
        gate.set()
        await clock.advance(600_000)
        await until(lambda: len(here.list(status="completed")) == 1)
        known = [schedule.rule for schedule in here.schedules()]
        assert known == ([] if change == "remove" else [{"every": "PT1H"}])
        assert len(here.list()) == 1


async def test_after_given_twice_starts_once(tmp_path: Path, world: World) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path / "home"), clock=clock, functions=world.functions) as here:
        for _ in range(2):
            await here.schedule(flow("schedule: {after: PT1H}\ndo: [{n: {call: hold}}]", "timed"))
        await clock.advance(1)
        await until(lambda: world.calls)
        await clock.advance(1)
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        assert len(here.list()) <= 2
        print(len(here.list()))


async def test_a_schedule_that_cannot_start(tmp_path: Path, world: World, monkeypatch: Any) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path / "home"), clock=clock, functions=world.functions) as here:
        await here.schedule(scheduled("{every: PT1M}"))
        with monkeypatch.context() as patched:
            def create(*_: Any) -> None:
                raise ExecutionStateError("it cannot be started")
            patched.setattr(here._engine._ledger, "create", create)
            await clock.advance(60_000)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
        assert here.list() == []
        await clock.advance(60_000)
        await until(lambda: len(here.list(status="completed")) == 1)
    verify(tmp_path / "home")


async def test_timers_of_executions_that_are_over_are_forgotten(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        for _ in range(1100):
            await here.start(flow("timeout: {after: P1D}\ndo: [{n: {set: {x: 1}}}]"))
        await here.run(flow("do: [{l: {for: {in: '[range(1200)]'}, do: [{n: {call: note, timeout: {after: P1D}}}]}}]"))
        assert len(here._engine._timers) <= 1100


async def test_who_waits_is_told_that_the_node_stopped(tmp_path: Path, world: World) -> None:
    told = []
    async with anyio.create_task_group() as group:
        here = node(tmp_path, world)
        async with here:
            execution = await here.start(flow("do: [{a: {call: hold}}]"))

            async def wait() -> None:
                try:
                    await here.wait(execution)
                except Exception as error:
                    told.append(type(error).__name__)
            group.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
    assert told == ["PoisonedError"]


async def test_one_event_is_stored_once(tmp_path: Path, world: World, monkeypatch: Any) -> None:
    async with node(tmp_path, world) as here:
        ids = [await here.start(flow("do: [{l: {listen: {to: {one: {with: {type: go}}}}}}]")) for _ in range(20)]
        sizes = []
        inner = here._log.submit
        monkeypatch.setattr(here._log, "submit", lambda r, b=(), d=None: (sizes.append(len(b)), inner(r, b, d))[1])
        await here.emit(CloudEvent(id="1", source="urn:x", type="go", data="x" * 60000))
        assert max(sizes) <= 2
        for i in ids:
            await here.wait(i)
