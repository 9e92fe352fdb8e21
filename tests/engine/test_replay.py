"""A chain gives its state back, wherever the node died; and nothing else passes for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.engine import _decide, _live, _recover, _sealed
from qflow.engine._replay import replay
from qflow.engine._snapshot import freeze, thaw
from qflow.engine._state import State, Status
from qflow.errors import ReplayError
from tests.engine.world import KEY, Failed, World

FLOW = """\
document: {dsl: '1.0.3', namespace: test, name: busy, version: '1.0.0'}
do:
- loop:
    metadata: {qflow: {concurrency: 2}}
    for: {each: n, in: .items}
    do:
    - guard:
        try: [{work: {call: work, with: {n: '${ $n }'}}}]
        catch: {retry: {delay: PT1S, jitter: {from: PT0S, to: PT2S}, limit: {attempt: {count: 5}}}}
- both: {fork: {branches: [{a: {call: a}}, {w: {wait: PT5S}}]}}
- tell: {emit: {event: {with: {source: 'https://e.com', type: t, data: '${ . }'}}}}
- hear: {listen: {to: {one: {with: {type: go}}}}}
- last: {set: {heard: '${ . }', items: '${ $workflow.input.items }'}}
"""
GO = {"specversion": "1.0", "id": "g", "source": "urn:g", "type": "go", "data": [1, {"two": 2}]}


def act(step: str, number: int, value: Any, arguments: Any) -> Any:
    if step.endswith("/work") and arguments["n"] % 3 == 0 and number < 3:
        raise Failed()
    return {"from": step, "number": number}


def finish(world: World, crashes: set[int]) -> World:
    """Run to the end; after each of the given numbers of steps the node dies."""
    done = 0
    while world.state.status != Status.COMPLETED:
        if done in crashes:
            crashes.discard(done)
            world.crash()
        if not world.step():
            assert world.post("event_received", value=GO)
        done += 1
        assert done < 500
    return world


@pytest.mark.holds("E2", "E3")
@given(
    items=st.lists(st.integers(0, 9), max_size=6),
    crashes=st.sets(st.integers(0, 40), max_size=6),
    every_facts=st.sampled_from([2, 7, 10_000]),
)
def test_each_step_is_committed_once_wherever_the_node_dies(
    items: list[int], crashes: set[int], every_facts: int
) -> None:
    calm = finish(World(FLOW, act).start({"items": items}), set())
    world = World(FLOW, act, every_facts=every_facts).start({"items": items})
    finish(world, crashes)
    assert world.state.output == calm.state.output
    assert set(world.committed()) == set(calm.committed())
    assert max(Counter(world.committed()).values(), default=1) == 1


@pytest.mark.holds("E3")
def test_the_whole_chain_replays_to_the_same_records() -> None:
    world = World(FLOW, act, every_facts=4).start({"items": [1, 2, 3]})
    for _ in range(12):
        world.step()
    restored = replay(world.flow, world.live.id, world.entries(first=0), KEY)
    assert (restored.seq, restored.prev) == (world.live.seq, world.live.prev)
    assert msgspec.to_builtins(restored.state) == msgspec.to_builtins(world.state)


@pytest.mark.holds("E3")
def test_a_decision_that_would_be_made_otherwise_stops_the_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(FLOW, act).start({"items": [1, 2]})
    world.step()
    monkeypatch.setattr(_recover, "waiting_for", lambda state: {"other": True})
    monkeypatch.setattr(_decide, "TRANSITIONS_MAX", 1)
    with pytest.raises(ReplayError, match=r"record [012]"):
        replay(world.flow, world.live.id, world.entries(), KEY)


@pytest.mark.holds("E3")
@pytest.mark.parametrize("change", ["payload", "drop", "swap", "meta"])
def test_a_chain_that_was_changed_does_not_replay(change: str) -> None:
    world = World(FLOW, act).start({"items": [1, 2, 3]})
    for _ in range(10):
        world.step()
    entries = list(world.entries())
    place = next(i for i, e in enumerate(entries) if "step_completed" in e.record["type"])
    if change == "payload":
        entries[place] = msgspec.structs.replace(entries[place], payload={"from": "elsewhere"})
    elif change == "drop":
        del entries[place]
    elif change == "swap":
        entries[place], entries[place + 1] = entries[place + 1], entries[place]
    else:
        entries[place].record["meta"]["frame"] += 1
    with pytest.raises(ReplayError):
        replay(world.flow, world.live.id, entries, KEY)


def test_a_snapshot_gives_the_state_back_and_stores_shared_values_once() -> None:
    world = World(FLOW, act).start({"items": [1, 2, 3]})
    frozen = freeze(world.state)
    assert msgspec.to_builtins(thaw(frozen)) == msgspec.to_builtins(world.state)
    assert sum(value == {"items": [1, 2, 3]} for value in frozen["table"]) == 1
    assert freeze(thaw(frozen)) == frozen


@pytest.mark.holds("E3")
def test_a_snapshot_of_another_version_is_refused() -> None:
    frozen = freeze(World(FLOW, act).start({"items": []}).state) | {"v": 2}
    with pytest.raises(ReplayError, match="version 2"):
        thaw(frozen)


@pytest.mark.holds("E3")
def test_the_chain_replays_from_each_of_its_checkpoints() -> None:
    branch = """
          listen: {to: {any: [{with: {type: go}}], until: length > 3}}
          foreach: {do: [{c: {call: c, metadata: {qflow: {checkpoint: true}}}}]}
"""
    text = FLOW.splitlines(keepends=True)[0] + "do:\n- both:\n    fork:\n      branches:\n"
    text += f"      - a: {branch}      - b: {branch}"
    world = World(text, lambda *_: {"r": 1}).start()
    for _ in range(4):
        world.post("event_received", value=GO)
    world.settle()
    marks = [i for i, f in enumerate(world.facts()) if f == "created" and i]
    assert len(marks) > 3
    for first in [0, *marks]:
        replay(world.flow, world.live.id, world.entries(first=first), KEY)


@pytest.mark.holds("E3")
def test_a_chain_begins_at_its_beginning_or_at_a_checkpoint_of_its_own() -> None:
    world = World(FLOW, act, every_facts=3).start({"items": [1, 2, 3]})
    for _ in range(6):
        world.step()
    with pytest.raises(ReplayError, match="begins at record 1"):
        replay(world.flow, world.live.id, world.entries(first=1), KEY)
    with pytest.raises(ReplayError, match="in the chain of"):
        replay(world.flow, "other", world.entries(), KEY)


@pytest.mark.holds("E3")
def test_an_end_that_follows_from_no_event_is_refused() -> None:
    world = World(FLOW, act).start({"items": []})
    assert world.post("aborted", meta={})
    entries = list(world.entries())
    assert "aborted" in entries[-1].record["type"]
    entries[-1].record["type"] = "q.qflow.exec.completed.v1"
    with pytest.raises(ReplayError, match="does not follow from any event"):
        replay(world.flow, world.live.id, entries, KEY)


@pytest.mark.holds("E3")
def test_a_checkpoint_that_is_not_of_the_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(FLOW, act).start({"items": [1, 2, 3]})
    honest = _sealed.seal

    def other(state: State, *place: Any) -> Any:
        return honest(msgspec.structs.replace(state, context={"rich": True}), *place)

    monkeypatch.setattr(_live, "seal", other)
    world.every_facts = 1
    world.settle()
    with pytest.raises(ReplayError, match="checkpoint"):
        replay(world.flow, world.live.id, world.entries(first=0), KEY)


@pytest.mark.holds("E2", "E3")
def test_a_subflow_has_the_same_id_in_every_replay() -> None:
    head = FLOW.splitlines(keepends=True)[0]
    task = "{run: {workflow: {namespace: a, name: b, version: latest}}}"
    world = World(f"{head}do: [{{r: {task}}}]").start()
    child = world._asked[-1].value["id"]
    world.crash()
    assert world._asked[-1].value["id"] == child
