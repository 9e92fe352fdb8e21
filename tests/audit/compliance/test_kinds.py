"""Each kind of rule finds what it is for, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from qflow.audit.compliance import Scope
from tests.audit.compliance.histories import AT, DAY, PAY, History, at_fault, judge, name, rule

GRANTED = {"decision": "granted", "grant": "g-1", "by": "did:key:zDesk"}


def risk(**fields: Any) -> dict[str, Any]:
    made = {"score": 10, "scale": 100, "threshold": 70, "decision": "admitted", **fields}
    return {"risk": {key: value for key, value in made.items() if value is not None}}


def one(history: History, text: str, **more: Any) -> tuple[int, int, int]:
    """Passed, failed and not judged, of one rule."""
    _, outcome = judge(history, text, **more)
    (result,) = outcome.results
    return result.passed, result.failed, sum(result.not_applicable.values())


# -- separation of duties ------------------------------------------------------------------


def test_who_starts_and_lets_go_on_is_found() -> None:
    history = History()
    bad = history.run("paused", "resumed", "completed", actor="bob")
    good = history.begin("ann")
    history.add(good, "exec.paused", actor="bob")
    history.add(good, "exec.resumed", actor="bob")
    history.run("completed")
    text = rule("separation-of-duties")
    found, _ = judge(history, text)
    assert at_fault(found) == [(name(bad), 2)]
    assert [named.seq for named in found[0].records] == [2, 0]
    assert "'bob'" in found[0].what
    assert found[0].values == {"actor": "bob"}
    # The third execution has nobody with the second duty.
    assert one(history, text) == (1, 1, 1)


def test_duties_may_come_in_any_order_and_one_record_is_no_clash_with_itself() -> None:
    history = History()
    chain = history.begin("ann")
    history.add(chain, "exec.resumed", actor="eve")
    history.add(chain, "exec.paused", actor="eve")
    history.add(chain, "exec.paused", actor="eve")
    text = rule("separation-of-duties", first=["exec.paused"], second=["exec.resumed"])
    assert at_fault(judge(history, text)[0]) == [(name(chain), 2)]
    same = rule("separation-of-duties", first=["exec.created"], second=["exec.created"])
    assert judge(history, same)[0] == []


def test_exempt_actors_may_do_both_and_nameless_ones_cannot_be_judged() -> None:
    history = History()
    history.run("resumed", actor="schedule:nightly")
    nameless = history.run("resumed", actor="")
    found, _ = judge(history, rule("separation-of-duties", exempt=["schedule:*"]))
    assert at_fault(found) == [(name(nameless), 0)]
    assert not found[0].judged


# -- consent and risk ----------------------------------------------------------------------


def test_consent_must_be_granted_by_whom_the_rule_says() -> None:
    history = History()
    history.begin(admission={"consent": GRANTED})
    denied = history.begin(admission={"consent": {**GRANTED, "decision": "denied"}})
    stranger = history.begin(admission={"consent": {**GRANTED, "by": "did:key:zEve"}})
    silent = history.begin()
    found, _ = judge(history, rule("consent-present", by=["did:key:zDesk"]))
    assert at_fault(found) == [(name(chain), 0) for chain in (denied, stranger, silent)]
    assert [finding.judged for finding in found] == [True, True, False]


def test_a_word_on_consent_that_is_malformed_is_a_finding_even_where_none_is_required() -> None:
    history = History()
    parts: list[Any] = [{}, {"decision": None}, {"decision": True}, {"decision": "GRANTED"}]
    parts += [{"decision": "granted "}, {"decision": ["granted"]}, "granted", 1, []]
    for part in parts:
        history.begin(admission={"consent": part})
    history.begin(admission="granted")
    history.begin(admission={})
    history.begin()
    found, _ = judge(history, rule("consent-present", required=False))
    assert len(found) == len(parts) + 1
    assert not any(finding.judged for finding in found)
    assert one(history, rule("consent-present", required=False)) == (0, len(parts) + 1, 2)


def test_an_execution_that_another_one_started_is_admitted_with_it() -> None:
    history = History()
    history.begin(parent="01hf0000000000000000000000:1")
    for kind in ("consent-present", "risk-admitted"):
        assert one(history, rule(kind)) == (0, 0, 1)


@pytest.mark.parametrize(
    ("fields", "threshold", "found"),
    [
        ({"score": 0.99, "scale": 1, "threshold": 1}, 70, True),
        ({"score": 70}, 70, False),
        ({"score": 70.1}, 70, True),
        ({"score": 0.07, "scale": 1, "threshold": 1}, 7, False),
        ({"score": 0, "threshold": 0}, 0, False),
        ({"score": 0.001, "threshold": 100}, 0, True),
        ({"score": 71}, None, True),
        ({"score": 0.71, "scale": 1, "threshold": 0.7}, None, True),
        ({"score": 0.7, "scale": 1, "threshold": 0.7}, None, False),
        ({"score": 1, "threshold": 0}, None, True),
        ({"score": 1, "decision": "refused"}, 100, True),
    ],
)
def test_risk_is_of_100_whatever_its_scale(
    fields: dict[str, Any], threshold: float | None, found: bool
) -> None:
    history = History()
    history.begin(admission=risk(**fields))
    more = {} if threshold is None else {"threshold": threshold}
    told, _ = judge(history, rule("risk-admitted", **more))
    assert [finding.judged for finding in told] == [True] * found


@pytest.mark.parametrize(
    "fields",
    [
        {"score": None}, {"score": "10"}, {"score": True}, {"score": -1}, {"score": 101},
        {"scale": None}, {"scale": 0}, {"scale": "100"}, {"decision": None}, {"decision": "yes"},
        {"threshold": None}, {"threshold": 101}, {"threshold": "70"},
    ],
)  # fmt: skip
def test_a_risk_that_cannot_be_read_is_a_finding(fields: dict[str, Any]) -> None:
    history = History()
    history.begin(admission=risk(**fields))
    (finding,) = judge(history, rule("risk-admitted", required=False))[0]
    assert not finding.judged
    assert "cannot be judged" in finding.what


def test_no_word_on_risk_is_a_finding_where_one_is_required() -> None:
    history = History()
    history.begin()
    assert one(history, rule("risk-admitted")) == (0, 1, 0)
    assert one(history, rule("risk-admitted", required=False)) == (0, 0, 1)


# -- nodes, actors, clocks, flows, steps ---------------------------------------------------


def test_records_of_nodes_that_are_not_approved_are_counted_by_node() -> None:
    history = History()
    chain = history.begin()
    for node in ("node-2", "node-1", "node-2", ""):
        history.add(chain, "exec.step_completed", node=node)
    history.own("history.opened", node="node-3")
    found, _ = judge(history, rule("approved-nodes", nodes=["node-1", "other-*"]))
    assert [(f.values["node"], f.count, f.records[0].seq) for f in found] == [
        ("node-2", 2, 1), ("", 1, 4), ("node-3", 1, 0),
    ]  # fmt: skip


def test_records_without_an_actor_are_found() -> None:
    history = History()
    chain = history.begin()
    for actor in ("", "anonymous", "ann", ""):
        history.add(chain, "exec.step_completed", actor=actor)
    history.own("history.opened", actor="")
    found, _ = judge(history, rule("actor-missing", nobody=["anonymous"]))
    assert [(f.values["actor"], f.count) for f in found] == [("", 2), ("anonymous", 1)]


def test_clocks_that_moved_and_times_that_went_back_are_found() -> None:
    history = History()
    chain = history.begin()
    history.add(chain, "exec.paused", at=AT - 5000)
    moved = {"wall": 1, "expected": 2, "moved_ms": 9000, "kind": "ahead"}
    history.own("history.clock", meta=moved)
    history.own("history.clock", meta={**moved, "kind": "backwards", "moved_ms": 10})
    history.own("history.clock", meta={"kind": "sideways", "moved_ms": 1})
    found, _ = judge(history, rule("clock-regression"))
    assert [finding.judged for finding in found] == [True, True, True, False]
    assert found[0].records[0].execution == name(chain)
    assert found[0].values == {"moved_ms": 5001}
    less = rule("clock-regression", moves=["backwards"], over_ms=10)
    assert [f.judged for f in judge(history, less)[0]] == [True, False]


@pytest.mark.parametrize("pattern", ["bank/pay/1.0.0", "bank/pay", "pay", "pa*y", "*/pay/1.*"])
def test_a_flow_that_is_forbidden_is_found(pattern: str) -> None:
    history = History()
    chain = history.run("completed")
    history.run("completed", flow="shop/pack/1.0.0")
    found, _ = judge(history, rule("forbidden-flow", flow=pattern))
    assert at_fault(found) == [(name(chain), 0)]


def test_a_step_that_is_required_is_missed_once_the_execution_completed() -> None:
    history = History()
    done, without, running = history.begin(), history.begin(), history.begin()
    for chain, step in ((done, "/do/0/approve"), (without, "/do/1/ship"), (running, "/do/1/x")):
        history.add(chain, "exec.step_completed", step=step)
    history.add(done, "exec.completed")
    history.add(without, "exec.completed")
    history.run("aborted")
    text = rule("required-step", step="*/approve")
    assert at_fault(judge(history, text)[0]) == [(name(without), 2)]
    assert one(history, text) == (1, 1, 2)


# -- retention -----------------------------------------------------------------------------


def hold(history: History, **covers: Any) -> None:
    meta = {"id": "h1", "reason": "a lawsuit", "by": "legal", "at": history.now}
    history.own("history.held", meta={**meta, **covers})


def erase(history: History, chain: bytes) -> None:
    meta = {"execution": name(chain), "key": 1, "reason": "it was time"}
    history.own("history.erased", meta=meta)


def test_payloads_that_are_too_old_and_not_erased_are_found() -> None:
    history = History()
    old, erased, held = (history.run("completed") for _ in range(3))
    erase(history, erased)
    hold(history, execution=name(held))
    history.run("paused")
    history.now += 30 * DAY
    history.run("completed")
    found, _ = judge(history, rule("retention", days=30))
    assert at_fault(found) == [(name(old), 1)]
    assert found[0].values == {"days": 30}
    # One erased, one held, one running, one too young.
    assert one(history, rule("retention", days=30)) == (1, 1, 3)


@pytest.mark.parametrize("covers", ["execution", "flow", "actor", "since"])
def test_what_was_erased_under_a_hold_is_found_whatever_the_hold_names(covers: str) -> None:
    history = History()
    chain, other = history.run("completed"), history.run("completed")
    value = {"execution": name(chain), "flow": PAY, "actor": "a*", "since": AT}[covers]
    erase(history, other)
    hold(history, **{covers: value})
    erase(history, chain)
    found, _ = judge(history, rule("retention", days=3650))
    assert [named.type for named in found[0].records] == [
        "q.qflow.history.erased.v1", "q.qflow.history.held.v1",
    ]  # fmt: skip
    assert len(found) == 1
    assert found[0].flow == PAY


def test_a_hold_that_was_released_covers_nothing() -> None:
    history = History()
    chain = history.run("completed")
    hold(history, flow=PAY)
    history.own("history.released", meta={"id": "h1", "reason": "it is over"})
    erase(history, chain)
    assert judge(history, rule("retention", days=3650))[0] == []


def test_a_tombstone_that_names_no_execution_cannot_be_judged() -> None:
    history = History()
    history.run("completed")
    for meta in ({}, {"execution": 5}, {"execution": "x"}):
        history.own("history.erased", meta=meta)
    history.own("history.held", meta={"id": "h"})
    found, _ = judge(history, rule("retention", days=3650))
    assert [finding.judged for finding in found] == [False] * 4


def test_records_of_the_own_chain_that_no_rule_looks_at_leave_no_gap() -> None:
    history = History()
    history.own("history.opened")
    chain = history.run("completed")
    hold(history, flow="bank/other")
    history.own("compliance.reported")
    erase(history, chain)
    for scope in (Scope(), Scope(flow="bank/*")):
        found, outcome = judge(history, rule("retention", days=0), scope=scope)
        assert (found, outcome.results[0].passed) == ([], 1)


def test_holds_count_also_when_only_some_flows_are_judged() -> None:
    history = History()
    chain = history.run("completed")
    hold(history, flow=PAY)
    erase(history, chain)
    found, outcome = judge(history, rule("retention", days=1), scope=Scope(flow="bank/*"))
    assert len(found) == 1
    assert outcome.chains == 1
