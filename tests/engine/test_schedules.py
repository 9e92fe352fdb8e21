"""When a schedule is due: pure, so every case is a line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from qflow import model
from qflow.engine._schedules import next_due

SINCE = round(datetime(2026, 1, 1, 12, 30, tzinfo=UTC).timestamp() * 1000)
MINUTE, HOUR = 60_000, 3_600_000


def schedule(rule: dict[str, Any], **fields: Any) -> model.Schedule:
    return model.Schedule(
        key="a/b", flow="a/b/1.0.0", definition="", rule=rule, since=SINCE, **fields
    )


@pytest.mark.parametrize(
    ("fired_at", "now", "due"),
    [
        (None, SINCE, SINCE + 10 * MINUTE),
        (None, SINCE + 9 * MINUTE, SINCE + 10 * MINUTE),
        (SINCE + 10 * MINUTE, SINCE + 11 * MINUTE, SINCE + 20 * MINUTE),
        # Down for an hour: the latest missed time, once.
        (SINCE + 10 * MINUTE, SINCE + 75 * MINUTE, SINCE + 70 * MINUTE),
    ],
)
def test_every(fired_at: int | None, now: int, due: int) -> None:
    assert next_due(schedule({"every": "PT10M"}, fired_at=fired_at), now, None) == due


@pytest.mark.parametrize(
    ("fired_at", "now", "due"),
    [
        (None, SINCE, SINCE + HOUR // 2),
        (SINCE + HOUR // 2, SINCE + HOUR, SINCE + HOUR // 2 + HOUR),
        (SINCE + HOUR // 2, SINCE + 5 * HOUR, SINCE + HOUR // 2 + 4 * HOUR),
    ],
)
def test_cron_in_utc(fired_at: int | None, now: int, due: int) -> None:
    assert next_due(schedule({"cron": "0 * * * *"}, fired_at=fired_at), now, None) == due


def test_after_follows_the_end_of_the_last_execution() -> None:
    rule = {"after": {"minutes": 5}}
    assert next_due(schedule(rule), SINCE + 7, None) == SINCE
    begun = schedule(rule, fired_at=SINCE, execution="x")
    assert next_due(begun, SINCE + HOUR, None) is None
    assert next_due(begun, SINCE + HOUR, SINCE + 2 * MINUTE) == SINCE + 7 * MINUTE


def test_a_cron_that_was_missed_for_weeks_fires_once_for_all() -> None:
    missed = SINCE + 14 * 24 * HOUR + 7
    late = schedule({"cron": "* * * * *"}, fired_at=SINCE)
    due = next_due(late, missed, None)
    assert due == missed - 7
    fired = schedule({"cron": "* * * * *"}, fired_at=due)
    assert next_due(fired, missed, None) == due + MINUTE


def test_a_clock_that_is_set_back_does_not_fire_again() -> None:
    for rule in ({"every": "PT10M"}, {"cron": "*/10 * * * *"}):
        fired = schedule(rule, fired_at=SINCE)
        assert next_due(fired, SINCE - HOUR, None) == SINCE + 10 * MINUTE
