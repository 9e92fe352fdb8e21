"""What a decision may record, and what happens to more."""

from __future__ import annotations

import pytest

from qflow.engine._state import Status
from tests.engine.test_decide import flow
from tests.engine.world import World

BIG = '${ [range(100000)] | map("0123456789") }'


@pytest.mark.parametrize(
    "body",
    [
        "do: [{a: {set: {x: '%s'}}}]",
        "do: [{a: {emit: {event: {with: {source: 'https://e.com', type: t, data: '%s'}}}}}]",
        "do: [{a: {raise: {error: {type: 'https://e.com', status: 5, detail: '%s'}}}}]",
        "do: [{a: {run: {workflow: {namespace: a, name: b, version: latest, input: {x: '%s'}}}}}]",
        "do: [{a: {set: {x: '${ 99999999999999999999999 }'}}}]",
        "do: [{a: {wait: PT0S, output: {as: '%s'}}}]",
        "do: [{a: {wait: PT0S}}]\noutput: {as: '%s'}",
    ],
)
def test_what_cannot_be_recorded_fails_its_step(body: str) -> None:
    text = flow(body % BIG if "%s" in body else body)
    if "raise" in body:
        text = text.replace(BIG, '${ [range(100000)] | map("0123456789") | join(",") }')
    world = World(text).run()
    assert world.state.status == Status.FAULTED
    assert "recorded" in world.state.problem["title"]


def test_one_decision_is_bounded_in_bytes() -> None:
    large = '${ [range(9000)] | map("0123456789") }'
    body = f"do: [{{a: {{set: {{n: '${{ (.n // 0) + 1 }}', x: '{large}'}}, then: a}}}}]"
    world = World(flow(body)).start()
    assert sum(len(b) for b in world.blocks.values()) < 4 << 20


def test_an_execution_with_thousands_of_attempts_under_way_restarts() -> None:
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
