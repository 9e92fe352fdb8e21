"""Schedules of a running node: each time once, and what was asked last holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow.config import Config
from qflow.errors import ExecutionStateError
from qflow.node import Node
from qflow.testing import ManualClock
from tests.nodes import until, verify
from tests.test_node import World, flow

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


def scheduled(rule: str) -> str:
    return flow(f"schedule: {rule}\ndo: [{{n: {{call: note}}}}]", "timed")


@pytest.mark.parametrize("change", ["remove", "replace"])
async def test_a_schedule_that_is_changed_while_it_fires_stays_changed(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
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


async def test_a_schedule_that_cannot_start_its_flow_goes_on_with_the_next_time(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
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
