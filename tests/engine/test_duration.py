from __future__ import annotations

from typing import Any

import pytest

from qflow.engine._duration import duration_s
from qflow.errors import ExpressionError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("PT30S", 30),
        ("PT1M30S", 90),
        ("P1DT12H", 129_600),
        ("P1W", 604_800),
        ("P1Y", 31_536_000),
        ("P1M", 2_592_000),
        ("PT0.25S", 0.25),
        ("P0D", 0),
        ({"seconds": 3}, 3),
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1, "milliseconds": 500}, 90_061.5),
    ],
)
def test_durations(value: Any, seconds: float) -> None:
    assert duration_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        *("", "P", "PT", "P1DT", "30S", "PT-1S", "P1S", "PT1D", "pt1s", " PT1S", "PT1S\n"),
        *("P" + "1" * 400 + "D", "PT1.S", "PT٣S", None, 3, True, [], {}, {"second": 1}),
        *({"seconds": 1.5}, {"seconds": -1}, {"seconds": True}, {"seconds": 10**20}),
    ],
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ExpressionError):
        duration_s(value)
