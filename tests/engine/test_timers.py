"""The heap of moments: each once, none early, and no memory for what nobody waits for."""

from __future__ import annotations

import anyio
import pytest

from qflow.engine._timers import Due, Timers
from qflow.testing import ManualClock

pytestmark = pytest.mark.anyio


async def fired_by(clock: ManualClock, dues: list[Due], by_ms: int) -> list[Due]:
    fired: list[Due] = []
    timers = Timers(clock, fired.append)
    async with anyio.create_task_group() as group:
        group.start_soon(timers.run)
        await clock.advance(0)
        for due in dues:
            timers.add(due)
        await clock.advance(by_ms)
        group.cancel_scope.cancel()
    return fired


async def test_moments_fire_in_order_and_none_early() -> None:
    clock = ManualClock()
    now = clock.now_ms()
    dues = [Due(now + at, "x", at, "wait") for at in (30, 10, 20, 41)]
    fired = await fired_by(clock, dues, 40)
    assert [due.frame for due in fired] == [10, 20, 30]


async def test_a_moment_that_is_added_again_fires_once() -> None:
    clock = ManualClock()
    due = Due(clock.now_ms() + 5, "x", None, "wake")
    assert await fired_by(clock, [due] * 9, 10) == [due]


async def test_more_than_a_burst_is_due_at_once_and_all_fire() -> None:
    clock = ManualClock()
    dues = [Due(clock.now_ms(), "x", frame, "wait") for frame in range(1000)]
    assert len(await fired_by(clock, dues, 10)) == 1000


async def test_what_is_taken_back_does_not_fire_and_is_swept() -> None:
    clock, fired = ManualClock(), list[Due]()
    timers = Timers(clock, fired.append)
    far = clock.now_ms() + 86_400_000
    for number in range(10_000):
        timers.add(Due(far, f"x{number % 100}", number, "timeout"))
    kept = Due(far, "x1", 1, "timeout")
    for number in range(100):
        timers.keep(f"x{number}", [kept])
    assert len(timers) < 1100
    async with anyio.create_task_group() as group:
        group.start_soon(timers.run)
        await clock.advance(86_400_000)
        group.cancel_scope.cancel()
    assert fired == [kept]
