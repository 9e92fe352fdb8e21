"""Attempts under way: bounded, each once, and unheard when they were cancelled."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from qflow import model
from qflow.engine._attempts import Attempts

pytestmark = pytest.mark.anyio


def attempt(number: int) -> model.Attempt:
    return model.Attempt(
        execution="x",
        step=f"/do/{number}",
        number=1,
        key=str(number),
        task={},
        input=None,
        variables={},
        use={},
    )


class Slow:
    """Runs until it is let go, even when it is cancelled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = anyio.Event()

    async def run(self, attempt: Any) -> Any:
        self.begun.append(attempt.key)
        with anyio.CancelScope(shield=True):
            await self.gate.wait()
        return attempt.key


@pytest.mark.holds("E5")
async def test_the_outcome_of_a_cancelled_attempt_is_not_told() -> None:
    runner, told = Slow(), list[Any]()
    attempts = Attempts(runner, lambda *outcome: told.append(outcome), 8)
    async with anyio.create_task_group() as group:
        attempts.open(group)
        for number in range(2):
            attempts.ask("x", number, lambda number=number: attempt(number))  # type: ignore[misc]
        while len(runner.begun) < 2:
            await anyio.lowlevel.checkpoint()
        attempts.cancel("x", 0)
        runner.gate.set()
    assert told == [("x", 1, "1", None)]


@pytest.mark.holds("E2")
async def test_an_attempt_that_is_asked_for_twice_is_made_once() -> None:
    runner, told = Slow(), list[Any]()
    attempts = Attempts(runner, lambda *outcome: told.append(outcome), 1)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            attempts.ask("x", 1, lambda: attempt(1))
        attempts.open(group)
        attempts.ask("x", 2, lambda: None)
        while not runner.begun:
            await anyio.lowlevel.checkpoint()
        attempts.ask("x", 1, lambda: attempt(1))
        runner.gate.set()
    assert runner.begun == ["1"]
    assert told == [("x", 1, "1", None)]


async def test_no_more_run_than_the_bound_and_those_cancelled_make_room() -> None:
    runner, told = Slow(), list[Any]()
    attempts = Attempts(runner, lambda *outcome: told.append(outcome), 2)
    async with anyio.create_task_group() as group:
        attempts.open(group)
        for number in range(6):
            attempts.ask("x", number, lambda number=number: attempt(number))  # type: ignore[misc]
        for _ in range(9):
            await anyio.lowlevel.checkpoint()
        assert len(runner.begun) == 2
        attempts.cancel("x", 5)
        runner.gate.set()
    assert sorted(outcome[1] for outcome in told) == [0, 1, 2, 3, 4]
