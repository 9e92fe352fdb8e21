"""Which executions a rule or a hold means, and that a hold always wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.audit._patterns import is_flow
from qflow.audit._retention import (
    DAY_MS,
    HELD,
    RELEASED,
    Hold,
    Holds,
    Subject,
    describe,
    judge,
)
from qflow.config import RetentionRule

NOW = 1_700_000_000_000


def subject(**changes: Any) -> Subject:
    values: dict[str, Any] = {
        "execution": "01x",
        "flow": "shop/order/1.2.0",
        "actor": "local:ann",
        "status": "completed",
        "started_at": NOW - 11 * DAY_MS,
        "ended_at": NOW - 10 * DAY_MS,
    }
    return Subject(**(values | changes))


def hold(**selected: Any) -> Hold:
    return Hold(id="h1", reason="case", by="ann", at=NOW, **selected)


def record(kind: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "meta": meta, "actor": "ann", "at": NOW}


def holds(*standing: Hold) -> Holds:
    made = Holds()
    for one in standing:
        made.apply(record(HELD, one.meta()))
    return made


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        ("order", True),
        ("ord*", True),
        ("shop/*", True),
        ("shop/order", True),
        ("shop/order/1.*", True),
        ("*/*/1.2.0", True),
        ("shop", False),
        ("shop/order/1.2", False),
        ("shop/order/1?2.0", False),
        ("shop/order/1.2.0/x", False),
        ("Order", False),
        ("", False),
    ],
)
def test_flows_by_pattern(pattern: str, fits: bool) -> None:
    assert is_flow(pattern, "shop/order/1.2.0") is fits


@pytest.mark.parametrize(
    ("selected", "covered"),
    [
        ({"execution": "01x"}, True),
        ({"execution": "01y"}, False),
        ({"flow": "shop/*"}, True),
        ({"flow": "bank/*"}, False),
        ({"actor": "local:*"}, True),
        ({"actor": "local:bob"}, False),
        ({"since": NOW - 10 * DAY_MS}, True),
        ({"since": NOW - 10 * DAY_MS + 1}, False),
        ({"until": NOW - 11 * DAY_MS + 1}, True),
        ({"until": NOW - 11 * DAY_MS}, False),
        ({"flow": "shop/*", "actor": "local:bob"}, False),
    ],
)
def test_a_hold_covers_what_has_all_that_it_names(selected: dict[str, Any], covered: bool) -> None:
    assert hold(**selected).covers(subject()) is covered


@pytest.mark.parametrize(
    ("selected", "reason"),
    [({}, "case"), ({"flow": "*"}, " "), ({"flow": "*"}, "x" * 501), ({"flow": "x" * 501}, "case")],
)
def test_a_hold_over_nothing_or_without_a_reason_is_refused(
    selected: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=r"hold|characters"):
        Hold(id="h", reason=reason, by="ann", at=NOW, **selected)


def test_holds_are_folded_from_their_records() -> None:
    standing = holds(hold(flow="shop/*", since=5))
    (found,) = standing
    assert found == hold(flow="shop/*", since=5)
    assert standing.find("h") == found
    assert standing.find("") is None
    standing.apply(record(HELD, hold(flow="bank/*").meta()))
    assert list(standing) == [found], "said again after a pruning, it is the same hold"
    standing.apply(record(RELEASED, {"id": "h1", "reason": "over"}))
    standing.apply(record("q.qflow.history.opened.v1", {}))
    assert list(standing) == []


def test_the_first_rule_that_fits_counts() -> None:
    rules = [
        RetentionRule(flow="bank/*", payloads_days=1),
        RetentionRule(flow="shop/*", status=("faulted",), payloads_days=1),
        RetentionRule(flow="shop/*", payloads_days=30),
        RetentionRule(payloads_days=1, records_days=1),
    ]
    found = judge(rules, Holds(), subject(), NOW)
    assert (found.rule, found.erase, found.prune) == (3, False, False)
    found = judge(rules, Holds(), subject(status="faulted"), NOW)
    assert (found.rule, found.erase, found.prune) == (2, True, False)
    found = judge(rules, Holds(), subject(flow="a/b/1"), NOW)
    assert (found.rule, found.erase, found.prune) == (4, True, True)
    assert describe(rules[3]) == "* ended: payloads 1 days, records 1 days"


def test_what_no_rule_names_is_kept() -> None:
    found = judge([RetentionRule(flow="bank/*", payloads_days=0)], Holds(), subject(), NOW)
    assert (found.rule, found.erase, found.prune) == (None, False, False)


def test_the_time_counts_from_the_end_to_the_millisecond() -> None:
    rules = [RetentionRule(payloads_days=10)]
    assert judge(rules, Holds(), subject(), NOW).erase
    assert not judge(rules, Holds(), subject(), NOW - 1).erase


days = st.none() | st.floats(0, 100)
RULES = st.builds(
    lambda flow, payloads, records: RetentionRule(
        flow=flow, payloads_days=payloads, records_days=0 if payloads is None else records
    ),
    st.sampled_from(["*", "shop/*", "order"]),
    days,
    days,
)


@pytest.mark.holds("H21")
@given(
    rules=st.lists(RULES, max_size=4),
    status=st.sampled_from(["completed", "faulted", "aborted", "running", "waiting", "paused"]),
    ended=st.integers(0, 2 * NOW),
    selected=st.sampled_from([{"flow": "*"}, {"execution": "01x"}, {"actor": "*"}, {"since": 0}]),
)
def test_nothing_under_a_hold_and_nothing_unfinished_ever_goes(
    rules: list[RetentionRule], status: str, ended: int, selected: dict[str, Any]
) -> None:
    one = subject(status=status, ended_at=ended)
    found = judge(rules, holds(hold(**selected)), one, NOW)
    assert not found.erase
    assert not found.prune
    free = judge(rules, Holds(), one, NOW)
    assert (free.erase or free.prune) == (found.hold is not None)
    if status in ("running", "waiting", "paused"):
        assert not free.erase
        assert not free.prune
