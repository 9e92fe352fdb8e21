"""The bounds of a node: what happens at them is an answer, and the node goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow.config import Config
from qflow.errors import (
    BusyError,
    ExecutionFailedError,
    ExecutionStateError,
    PoisonedError,
    StepError,
)
from qflow.events import CloudEvent
from qflow.node import Node
from qflow.testing import ManualClock
from tests.nodes import until, verify
from tests.test_node import World, flow, node

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def test_a_problem_that_cannot_be_recorded_fails_the_step(
    tmp_path: Path, world: World
) -> None:
    async def bad() -> None:
        raise StepError({"type": "https://e.com/x", "status": 418, "detail": "x" * (2 << 20)})

    world.functions.register("bad", bad)
    async with node(tmp_path, world) as here:
        with pytest.raises(ExecutionFailedError, match="cannot be recorded") as caught:
            await here.run(flow("do: [{n: {call: bad}}]"))
        assert caught.value.status == "faulted"


async def test_a_reason_or_actor_that_no_record_holds_is_refused_and_changes_nothing(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        execution = await here.start(flow("do: [{a: {call: hold}}]"))
        with pytest.raises(ExecutionStateError):
            await here.pause(execution, reason="x" * 9000)
        with pytest.raises(ExecutionStateError):
            await here.emit(CloudEvent(id="1", source="urn:x", type="x"), actor="x" * 9000)
        world.gate.set()
        assert (await here.wait(execution)).status == "completed"


@pytest.mark.holds("E2")
async def test_a_full_queue_of_the_log_delays_and_loses_nothing(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_timers_of_executions_that_are_over_are_forgotten(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        for _ in range(1100):
            await here.start(flow("timeout: {after: P1D}\ndo: [{n: {set: {x: 1}}}]"))
        step = "{n: {call: note, timeout: {after: P1D}}}"
        await here.run(flow(f"do: [{{l: {{for: {{in: '[range(1200)]'}}, do: [{step}]}}}}]"))
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
                except PoisonedError as error:
                    told.append(type(error).__name__)

            group.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
    assert told == ["PoisonedError"]


async def test_an_event_is_sealed_for_each_execution_that_takes_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        ids = [
            await here.start(flow("do: [{l: {listen: {to: {one: {with: {type: go}}}}}}]"))
            for _ in range(20)
        ]
        events: list[bytes] = []
        inner = here._log.submit

        def submit(records: Any, blocks: Any = (), done: Any = None) -> Any:
            events.extend(data for _, data in blocks if len(data) > 60000)
            return inner(records, blocks, done)

        monkeypatch.setattr(here._log, "submit", submit)
        await here.emit(CloudEvent(id="1", source="urn:x", type="go", data="x" * 60000))
        # No two are alike: each is erased with its execution alone.
        assert len({*events}) >= len(ids)
        for i in ids:
            await here.wait(i)
