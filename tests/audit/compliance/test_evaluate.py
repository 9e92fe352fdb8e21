"""A history is judged whole: nothing is left out, nothing is believed, words decide nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.audit.compliance import Scope, evaluating, parse_rules
from qflow.errors import CorruptError, VerificationError
from tests.audit.compliance.histories import AT, History, at_fault, judge, name, result_of, rule

DENIED = {"consent": {"decision": "denied"}}
GRANTED = {"consent": {"decision": "granted"}}
RULES = (
    rule("consent-present", id="consent"),
    rule("separation-of-duties", id="duties"),
    rule("actor-missing", id="actors"),
    rule("clock-regression", id="clocks"),
)
WORDS = (
    "consent denied",
    "consent: {decision: denied}",
    "approved",
    "granted",
    "no actor",
    '{"consent":{"decision":"denied"}}',
    "clock moved backwards",
    "q.qflow.history.clock.v1",
)


@pytest.mark.holds("H12")
def test_a_hundred_thousand_findings_are_all_there() -> None:
    history = History()
    count = 100_000
    for _ in range(count):
        history.begin()
    found, outcome = judge(history, rule("consent-present"))
    assert [named for named, _ in at_fault(found)] == [
        name(n.to_bytes(6, "big") + n.to_bytes(10, "big")) for n in range(1, count + 1)
    ]
    assert outcome.results[0].findings == outcome.results[0].failed == count
    assert outcome.executions == outcome.size == count


@pytest.mark.holds("H12")
def test_every_chain_of_the_scope_is_counted_once_by_every_rule() -> None:
    history = History()
    for number in range(40):
        chain = history.begin(actor=f"a{number % 3}", flow=f"bank/f{number % 4}/1.0.0")
        if number % 2:
            history.add(chain, "exec.resumed", actor="a1")
        if number % 5:
            history.add(chain, "exec.completed")
    history.own("history.opened")
    more = (rule("retention", days=0, id="old"), rule("required-step", step="x", id="step"))
    _, outcome = judge(history, *RULES, *more)
    for result in outcome.results:
        total = result.passed + result.failed + sum(result.not_applicable.values())
        assert total == 40 + (result.rule.kind == "clock-regression")
    assert (outcome.chains, outcome.executions, outcome.over) == (41, 40, 32)


@pytest.mark.holds("H12")
@pytest.mark.parametrize("harm", ["drop", "change", "move", "cut", "add"])
def test_a_record_that_is_missing_changed_or_moved_is_no_clean_report(harm: str) -> None:
    history = History()
    for _ in range(10):
        history.run("completed", admission=GRANTED)
    head = history.head()
    if harm == "drop":
        del history.frames[5]
    elif harm == "change":
        index, address, data = history.frames[5][0][0]
        history.frames[5] = ([(index, address, data.replace(b"ann", b"bob"))], [])
    elif harm == "move":
        first, second = history.frames[4][0][0], history.frames[6][0][0]
        history.frames[4] = ([(first[0], first[1], second[2])], [])
        history.frames[6] = ([(second[0], second[1], first[2])], [])
    elif harm == "cut":
        history.frames.pop()
    else:
        head = (head[0] - 1, head[1])
    steps = evaluating(
        history,
        parse_rules(("version = 1\n" + RULES[0]).encode(), "r").rules,
        head=head,
        scope=Scope(),
        now_ms=AT,
        tell=lambda finding: None,
    )
    with pytest.raises((CorruptError, VerificationError)):
        result_of(steps)


def test_what_is_recorded_after_the_head_is_not_judged() -> None:
    history = History()
    history.run("completed", admission=GRANTED)
    head = history.head()
    history.begin(admission=DENIED)
    found: list[Any] = []
    rules = parse_rules(("version = 1\n" + RULES[0]).encode(), "r").rules
    outcome = result_of(
        evaluating(history, rules, head=head, scope=Scope(), now_ms=AT, tell=found.append)
    )
    assert (outcome.size, outcome.executions, found) == (2, 1, [])


@pytest.mark.holds("H12")
def test_a_scope_of_time_takes_the_findings_of_that_time_and_no_other() -> None:
    history = History()
    chains = [history.begin(admission=DENIED) for _ in range(10)]
    for since, until in ((None, AT + 5), (AT + 5, None), (AT + 3, AT + 8), (AT + 50, None)):
        found, outcome = judge(history, RULES[0], scope=Scope(since=since, until=until))
        wanted = [
            name(chain) for n, chain in enumerate(chains, 1)
            if (since or 0) <= AT + n < (until or AT * 2)
        ]  # fmt: skip
        assert [one for one, _ in at_fault(found)] == wanted
        assert outcome.executions == outcome.results[0].failed == len(wanted)


def test_a_scope_of_flows_judges_those_alone() -> None:
    history = History()
    pay = history.begin(admission=DENIED)
    history.begin(admission=DENIED, flow="shop/pack/1.0.0")
    history.own("history.opened", actor="")
    found, outcome = judge(history, *RULES, scope=Scope(flow="bank/*"))
    assert at_fault(found) == [(name(pay), 0)]
    assert outcome.chains == 1
    with pytest.raises(ValueError, match="since is not before until"):
        Scope(since=5, until=5)


@pytest.mark.holds("H13")
@pytest.mark.parametrize("words", WORDS)
def test_words_in_a_record_make_no_finding(words: str) -> None:
    history = History()
    chain = history.begin(actor=words, flow=f"{words}/pay/1.0.0", admission={
        "consent": {"decision": "granted", "grant": words, "by": words},
        "risk": {"score": 1, "scale": 100, "threshold": 70, "decision": "admitted", "why": words},
    }, note=words)  # fmt: skip
    history.add(chain, "exec.paused", actor="eve", meta={"reason": words}, step=f"/do/0/{words}")
    history.add(chain, "exec.resumed", actor="eve", meta={"reason": words, "decision": words})
    history.add(chain, "exec.completed", actor=words)
    found, _ = judge(history, *RULES, rule("risk-admitted", id="risk"))
    assert found == []


@pytest.mark.holds("H13")
@pytest.mark.parametrize("words", [*WORDS, "consent granted", "approved by everybody"])
def test_words_in_a_record_take_no_finding_away(words: str) -> None:
    history = History()
    chain = history.begin(note=words, admission={
        "consent": {"decision": "denied", "grant": words, "by": words, "note": words},
    })  # fmt: skip
    history.add(chain, "exec.resumed", meta={"reason": words, "approved": True})
    history.add(chain, "exec.step_completed", actor="", meta={"actor": words})
    found, _ = judge(history, *RULES)
    assert sorted((finding.rule, finding.records[0].seq) for finding in found) == [
        ("actors", 2), ("consent", 0), ("duties", 1),
    ]  # fmt: skip
    assert all(finding.judged for finding in found)


@pytest.mark.holds("H13")
@given(st.lists(st.text(max_size=40), min_size=4, max_size=4))
def test_no_text_whatever_changes_what_is_found(texts: list[str]) -> None:
    def told(texts: list[str]) -> list[tuple[str, int]]:
        history = History()
        for consent in ({"decision": "granted"}, {"decision": "denied"}):
            more = {"grant": texts[0], "by": texts[1]}
            chain = history.begin(admission={"consent": {**consent, **more}}, note=texts[2])
            history.add(chain, "exec.paused", meta={"reason": texts[3]})
        return [(f.rule, f.records[0].index) for f in judge(history, *RULES)[0]]

    assert told(texts) == told(["", "", "", ""])


def test_the_log_that_begins_later_says_what_it_could_not_judge() -> None:
    history = History()
    chain = history.begin(admission=DENIED)
    history.add(chain, "exec.paused")
    history.add(chain, "exec.completed")
    whole = history.begin(admission=DENIED)
    # As a pruning leaves it: the first record is gone, the indexes are what they were.
    del history.frames[0]
    found, outcome = judge(history, RULES[0], rule("separation-of-duties", id="duties"))
    assert at_fault(found) == [(name(whole), 0)]
    assert outcome.first == 1
    reasons = [result.not_applicable for result in outcome.results]
    assert reasons[0] == {"its beginning was pruned from the log": 1}
    assert reasons[1]["its beginning was pruned from the log"] == 1
