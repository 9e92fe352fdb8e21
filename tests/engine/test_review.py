from __future__ import annotations

from typing import Any

import pytest

from qflow.engine._replay import replay
from qflow.engine._state import Status
from tests.engine.test_decide import flow
from tests.engine.world import Failed, World, START_MS


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
    catch: {{as: {name}, when: '${name}.status == 418', do: [{{k: {{set: {{n: '${{ ${name}.status }}'}}}}}}]}}
- l:
    listen: {{to: {{any: [{{with: {{type: a}}}}], until: '. | length > 0'}}}}
    foreach: {{item: {name}, output: {{as: '[${name}]'}}}}
"""
    world = World(flow(body)).run({"items": [1]})
    assert world.state.status == Status.WAITING, world.state.problem
    world.post("event_received", value={"specversion": "1.0", "id": "1", "source": "u", "type": "a", "data": 4})
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


BIG = "${ [range(100000)] | map(\"0123456789\") }"


@pytest.mark.parametrize("body", [
    "do: [{a: {set: {x: '%s'}}}]",
    "do: [{a: {emit: {event: {with: {source: 'https://e.com', type: t, data: '%s'}}}}}]",
    "do: [{a: {raise: {error: {type: 'https://e.com', status: 5, detail: '%s'}}}}]",
    "do: [{a: {run: {workflow: {namespace: a, name: b, version: latest, input: {x: '%s'}}}}}]",
    "do: [{a: {set: {x: '${ 99999999999999999999999 }'}}}]",
    "do: [{a: {wait: PT0S, output: {as: '%s'}}}]",
    "do: [{a: {wait: PT0S}}]\noutput: {as: '%s'}",
])
def test_what_cannot_be_recorded_fails_its_step(body: str) -> None:
    text = flow(body % BIG if "%s" in body else body)
    if "raise" in body:
        text = text.replace(BIG, "${ [range(100000)] | map(\"0123456789\") | join(\",\") }")
    world = World(text).run()
    assert world.state.status == Status.FAULTED
    assert "recorded" in world.state.problem["title"]


def test_one_decision_is_bounded_in_bytes() -> None:
    body = "do: [{a: {set: {n: '${ (.n // 0) + 1 }', x: '${ [range(9000)] | map(\"0123456789\") }'}, then: a}}]"
    world = World(flow(body)).start()
    assert sum(len(b) for b in world.blocks.values()) < 4 << 20


def test_restart_of_a_wide_execution() -> None:
    body = """
do:
- outer:
    metadata: {qflow: {concurrency: 256}}
    for: {each: i, in: '[range(20)]'}
    do:
    - inner:
        metadata: {qflow: {concurrency: 256}}
        for: {each: j, in: '[range(200)]'}
        do: [{w: {call: w}}]
"""
    world = World(flow(body)).start()
    for _ in range(10):
        world.step()
    while any(c.kind == "go_on" for c in world._asked):
        c = next(c for c in world._asked if c.kind == "go_on")
        world._asked.remove(c)
        world._carry_out(c)
    assert sum(f.running for f in world.state.frames.values()) > 3000
    world.crash()


def test_interrupted_report_while_paused() -> None:
    body = "do: [{a: {call: a, metadata: {qflow: {interrupted: report}}}}]"
    world = World(flow(body)).start()
    world.post("paused")
    world.crash()
    world.post("resumed")
    world.settle()
    assert world.calls == []
    assert world.state.problem["title"] == "Interrupted"


@pytest.mark.holds("E3")
def test_checkpoints_replay_from_each_other() -> None:
    body = """
do:
- both:
    fork:
      branches:
      - a: {listen: {to: {any: [{with: {type: e}}], until: 'length > 3'}}, foreach: {do: [{c: {call: c, metadata: {qflow: {checkpoint: true}}}}]}}
      - b: {listen: {to: {any: [{with: {type: e}}], until: 'length > 3'}}, foreach: {do: [{c: {call: c, metadata: {qflow: {checkpoint: true}}}}]}}
"""
    world = World(flow(body), lambda *a: {"r": 1}).start()
    ev = {"specversion": "1.0", "id": "1", "source": "u", "type": "e", "data": {"x": 1}}
    for _ in range(4):
        world.post("event_received", value=ev)
    world.settle()
    marks = [i for i, f in enumerate(world.facts()) if f == "created" and i]
    assert len(marks) > 3
    for i in [0, *marks]:
        if world.entries(first=i) is not None:
            replay(world.flow, world.live.id, world.entries(first=i))
