"""The bus: order, patterns, and what a slow subscriber is told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from qflow.clock import SystemClock
from qflow.events import Bus, CloudEvent, validate
from qflow.events._bus import GAP

pytestmark = pytest.mark.anyio


def bus(bound: int = 8) -> Bus:
    return Bus(clock=SystemClock(), source="did:key:z6Mk", queue_events_max=bound)


def event(number: int, type: str = "t.one") -> CloudEvent:
    return CloudEvent(id=str(number), source="s", type=type)


async def take(events: AsyncIterator[CloudEvent], count: int) -> list[CloudEvent]:
    with anyio.fail_after(5):
        return [await anext(events) for _ in range(count)]


async def test_events_arrive_in_order_at_every_subscriber() -> None:
    made = bus()
    async with made.subscribe() as one, made.subscribe() as two:
        for number in range(5):
            made.publish(event(number))
        for events in (one, two):
            assert [got.id for got in await take(events, 5)] == ["0", "1", "2", "3", "4"]


async def test_waiting_subscriber_is_woken() -> None:
    made = bus()
    got: list[str] = []

    async def read(events: AsyncIterator[CloudEvent]) -> None:
        got.extend(one.id for one in await take(events, 3))

    async with made.subscribe() as events, anyio.create_task_group() as tasks:
        tasks.start_soon(read, events)
        for number in range(3):
            await anyio.lowlevel.checkpoint()
            made.publish(event(number))
    assert got == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", ["0", "1", "2"]),
        ("q.qflow.exec.*", ["0", "1"]),
        ("q.qflow.exec.paused.v?", ["1"]),
        ("com.*", ["2"]),
    ],
)
async def test_patterns(pattern: str, wanted: list[str]) -> None:
    made = bus()
    async with made.subscribe(pattern) as events:
        made.publish(event(0, "q.qflow.exec.created.v1"))
        made.publish(event(1, "q.qflow.exec.paused.v1"))
        made.publish(event(2, "com.example.order"))
        assert [got.id for got in await take(events, len(wanted))] == wanted


async def test_slow_subscriber_loses_the_oldest_and_is_told_how_many() -> None:
    made = bus(bound=4)
    async with made.subscribe("t.*") as slow, made.subscribe() as quick:
        for number in range(4):
            made.publish(event(number))
        assert [got.id for got in await take(quick, 4)] == ["0", "1", "2", "3"]
        for number in range(4, 11):
            made.publish(event(number))
        gap, *rest = await take(slow, 5)
        assert (gap.type, gap.data) == (GAP, {"count": 7})
        validate(gap)
        assert [got.id for got in rest] == ["7", "8", "9", "10"]
        made.publish(event(11))
        assert [got.id for got in await take(slow, 1)] == ["11"]
        assert (await take(quick, 1))[0].data == {"count": 4}


async def test_two_gaps_are_two_events() -> None:
    made = bus(bound=1)
    async with made.subscribe() as events:
        gaps = []
        for _ in range(2):
            for number in range(3):
                made.publish(event(number))
            gaps.append((await take(events, 2))[0])
        assert gaps[0].id != gaps[1].id


async def test_memory_of_a_subscriber_that_never_reads_is_bounded() -> None:
    made = bus(bound=4)
    async with made.subscribe():
        for number in range(1000):
            made.publish(event(number))
        assert len(made._subscribers[0].queue) == 4


async def test_left_subscription_is_forgotten_and_ends() -> None:
    made = bus()
    asked = [made.has_subscribers]
    async with made.subscribe() as events:
        asked.append(made.has_subscribers)
        made.publish(event(0))
    made.publish(event(1))
    asked.append(made.has_subscribers)
    assert asked == [False, True, False]
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_cancelled_reader_leaves_the_bus_usable() -> None:
    made = bus()
    async with made.subscribe() as events:
        with anyio.move_on_after(0.01):
            await anext(events)
    async with made.subscribe() as again:
        made.publish(event(1))
        assert [got.id for got in await take(again, 1)] == ["1"]
