"""Which executions are in memory."""

from __future__ import annotations

import pytest

from qflow import model
from qflow.engine._live import Live, Residents
from qflow.engine._state import State, Status
from tests.engine.flows import load

FLOW = load("- a: {set: {x: 1}}")


def live(number: int, status: str) -> Live:
    state = State(id=model.id_text(number.to_bytes(16, "big")), flow=FLOW.key, status=status)
    return Live(FLOW, "", state, None)


def test_those_that_only_wait_leave_and_the_newest_stays() -> None:
    residents = Residents(10)
    for number in range(100):
        newest = live(number, Status.WAITING)
        residents.put(newest)
        assert residents.get(newest.id) is newest
    assert len(residents) <= 11


@pytest.mark.holds("E2")
def test_the_newest_stays_though_it_alone_could_leave() -> None:
    residents = Residents(1)
    for number in range(3):
        residents.put(live(number, Status.RUNNING))
    waiting = live(9, Status.WAITING)
    residents.put(waiting)
    assert residents.get(waiting.id) is waiting


@pytest.mark.holds("E2")
def test_what_is_not_durable_yet_stays() -> None:
    residents = Residents(1)
    pending = live(0, Status.WAITING)
    pending.pending = 1
    for item in (pending, *(live(number, Status.WAITING) for number in range(1, 9))):
        residents.put(item)
    assert residents.get(pending.id) is pending


def test_many_busy_ones_are_not_searched_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def is_idle(self: Live) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(Live, "is_idle", property(is_idle))
    residents = Residents(10)
    for number in range(5000):
        residents.put(live(number, Status.RUNNING))
    assert looks < 5000 * 20
