"""Flows that are valid and odd: names, expressions and pauses at unusual places."""

from __future__ import annotations

from typing import Any

import pytest

from qflow.engine import _decide
from qflow.engine._decide import INPUTS
from qflow.engine._state import Status
from tests.engine.test_decide import event, flow
from tests.engine.world import Failed, World


@pytest.mark.parametrize("name", ["value", "frame", "text", "flow", "state", "self", "template"])
def test_a_variable_may_have_any_name(name: str) -> None:
    body = f"""
do:
- loop:
    for: {{each: {name}, in: .items}}
    while: ${name} < 9
    do: [{{a: {{set: {{items: '${{ .items }}', n: '${{ ${name} }}'}}}}}}]
- guard:
    try: [{{bad: {{raise: {{error: {{type: 'https://e.com/x', status: 418}}}}}}}}]
    catch:
      as: {name}
      when: ${name}.status == 418
      do: [{{k: {{set: {{n: '${{ ${name}.status }}'}}}}}}]
- l:
    listen: {{to: {{any: [{{with: {{type: a}}}}], until: '. | length > 0'}}}}
    foreach: {{item: {name}, output: {{as: '[${name}]'}}}}
"""
    world = World(flow(body)).run({"items": [1]})
    assert world.state.status == Status.WAITING, world.state.problem
    world.post("event_received", value=event("a", 4))
    assert world.settle().state.output == [[4]]


def test_an_expression_in_an_attempt_limit_that_fails_later_fails_the_step() -> None:
    body = """
do:
- init: {set: {s: PT5S}, export: {as: .}}
- outer:
    try:
    - work: {call: work, export: {as: '{s: "x"}'}}
    - bad: {call: bad}
    catch:
      errors: {with: {status: 503}}
      retry: {delay: PT1S, limit: {attempt: {count: 4, duration: '${ $context.s }'}}}
"""

    def act(step: str, *_: Any) -> Any:
        if step.endswith("bad"):
            raise Failed()
        return 1

    world = World(flow(body), act).run()
    assert world.state.status == Status.FAULTED
    assert "duration" in world.state.problem["detail"]


@pytest.mark.holds("E5")
def test_an_interruption_while_paused_is_reported_too() -> None:
    body = "do: [{a: {call: a, metadata: {qflow: {interrupted: report}}}}]"
    world = World(flow(body)).start()
    world.post("paused")
    world.crash()
    world.post("resumed")
    world.settle()
    assert world.calls == []
    assert world.state.problem["title"] == "Interrupted"


@pytest.mark.holds("E5")
@pytest.mark.parametrize("every_facts", [1, 10_000])
def test_an_attempt_that_a_crash_cut_off_while_paused_waits_for_the_resume(
    every_facts: int,
) -> None:
    world = World(flow("do: [{a: {call: a}}]"), every_facts=every_facts).start()
    world.post("paused")
    world.crash()
    assert world.settle().calls == []
    assert world.state.status == Status.PAUSED
    world.post("resumed")
    assert world.settle().calls == [("/do/0/a", 1)]
    assert world.state.status == Status.COMPLETED


@pytest.mark.holds("E5")
def test_a_pause_holds_in_the_middle_of_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "use: {functions: {f: {call: work}}}\ndo: [{a: {call: f}}, {b: {set: {x: 1}}}]"
    monkeypatch.setattr(_decide, "TRANSITIONS_MAX", 1)
    world = World(flow(body)).start()
    assert [operation for operation, _, _ in world.state.agenda] == ["function"]
    world.post("paused")
    assert not world.post("continued")
    assert world.settle().calls == []
    world.post("resumed")
    assert world.settle().state.output == {"x": 1}


@pytest.mark.holds("E5")
@pytest.mark.parametrize("body", ["do: [{a: {set: {x: 1}}}]", "do: [{a: {call: a}}]"])
def test_nothing_follows_an_end(body: str) -> None:
    world = World(flow(body)).start()
    world.post("aborted", meta={})
    count = len(world.records)
    for kind in sorted(INPUTS):
        assert not world.post(kind, frame=2, value="timeout", meta={})
    assert len(world.records) == count


@pytest.mark.holds("E2")
def test_only_what_is_under_way_can_be_completed() -> None:
    world = World(flow("do: [{w: {wait: PT1H}}, {a: {call: a}}]")).start()
    assert not world.post("step_completed", frame=2, value="early")
    assert not world.post("step_failed", frame=2, value={"type": "x"})
    assert world.settle().calls == [("/do/1/a", 1)]
