"""Checkpoints beside decisions: when one is due, of which epoch, what a replay makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qflow import _core
from qflow.engine import _recover
from qflow.engine._live import Changed, Identity, Live
from qflow.engine._replay import replay
from qflow.engine._sealed import Asked, inline
from qflow.engine._state import Status
from qflow.errors import ReplayError
from tests.engine.world import IDENTITY, KEY, World

HEAD = "document: {dsl: '1.0.3', namespace: test, name: busy, version: '1.0.0'}\n"
GUARD = "metadata: {qflow: {checkpoint: true}}"
TWO = f"{HEAD}do: [{{a: {{call: a}}}}, {{b: {{call: b, {GUARD}}}}}]"


def due(world: World) -> list[str]:
    return [made.asked.why for made in world.checkpoints]


def test_a_checkpoint_comes_before_its_step_and_not_behind_it() -> None:
    world = World(TWO).start()
    assert due(world) == []
    world.step()
    assert due(world) == ["step"]
    assert world.calls == [("/do/0/a", 1)]
    assert world.settle().state.status == Status.COMPLETED
    assert due(world) == ["step"]


@pytest.mark.parametrize(
    "body",
    [
        f"do: [{{b: {{call: b, {GUARD}}}}}]",
        f"do: [{{g: {{do: [{{b: {{call: b}}}}], {GUARD}}}}}]",
        f"use: {{functions: {{f: {{call: b}}}}}}\ndo: [{{b: {{call: f, {GUARD}}}}}]",
    ],
)
@pytest.mark.parametrize("how", ["crash", "resume"])
def test_what_is_asked_for_again_is_checkpointed_again(body: str, how: str) -> None:
    world = World(HEAD + body).start()
    assert due(world) == ["step"]
    if how == "crash":
        world.crash()
    else:
        world.post("paused")
        world.crash()
        world.post("resumed")
    assert due(world) == ["step", "step"]
    plain = World(f"{HEAD}do: [{{b: {{call: b}}}}]").start().crash()
    assert due(plain) == []


@pytest.mark.holds("E3")
def test_a_replay_makes_the_same_checkpoint_with_all_that_was_said_of_it() -> None:
    world = World(TWO).start()
    world.checkpoint(Asked(why="asked", label="here", description="to look at"))
    world.settle()
    entries = list(world.entries(first=0))
    replay(world.flow, world.live.id, entries, KEY)
    (mark,) = [entry for entry in entries if "label" in entry.record["meta"]]
    assert mark.record["meta"]["state"] == world.checkpoints[0].state
    mark.record["meta"]["label"] = "there"
    with pytest.raises(ReplayError, match="checkpoint"):
        replay(world.flow, world.live.id, entries, KEY)
    mark.record["meta"]["label"] = "here"
    with pytest.raises(ReplayError):
        replay(world.flow, world.live.id, entries, None)


@pytest.mark.holds("S8", "E3")
def test_a_checkpoint_of_the_older_form_is_replayed_over() -> None:
    world = World(TWO).start()
    records, blocks = world.live._encode([inline(world.state)], world.now, IDENTITY, "old")
    world.records.extend(records)
    world.blocks.update(blocks)
    world.settle()
    entries = list(world.entries(first=0))
    restored = replay(world.flow, world.live.id, entries, KEY)
    assert restored.prev == world.live.prev
    assert any("checkpoint" in e.record["type"] and e.record["payload"] for e in entries)


@pytest.mark.holds("S13")
def test_who_goes_on_behind_another_node_begins_an_epoch_and_keeps_it() -> None:
    world = World(TWO).start()
    assert epochs(world) == [0]
    other = Identity(node="did:key:zOther", subnet=IDENTITY.subnet)
    for identity, epoch in ((other, 1), (other, 1), (IDENTITY, 2), (IDENTITY, 2)):
        # Brought back each time, as by a start.
        restored = replay(world.flow, world.live.id, world.entries(), KEY)
        live = Live.of(world.flow, "bafy", restored)
        records, made = live.checkpoint(Asked(why="asked"), world.now, identity, "t")
        world.records.extend(records)
        world.blocks.update(made.blocks)
        assert epochs(world)[-1] == epoch
    replay(world.flow, world.live.id, world.entries(first=0), KEY)


def epochs(world: World) -> list[int]:
    return [_core.decode_record(record)["epoch"] for record in world.records]


def test_those_that_changed_first_come_first_and_only_when_it_is_time() -> None:
    changed = Changed()
    live = World(f"{HEAD}do: [{{a: {{call: a}}}}]").start().live
    changed.add("x", 5)
    changed.note(live, 7)
    changed.note(live, 9)
    assert changed.first == 5
    assert changed.take(4) is None
    assert changed.take(6) == "x"
    assert changed.take(6) is None
    live.checkpoint(Asked(why="time"), 8, IDENTITY, "t")
    changed.note(live, 8)
    assert changed.first is None


def test_only_what_its_flow_guards_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    inner: Callable[..., bool] = _recover.is_guarded

    def is_guarded(turn: Any, frame: Any) -> bool:
        seen.append(frame.path)
        return inner(turn, frame)

    monkeypatch.setattr(_recover, "is_guarded", is_guarded)
    World(TWO).start().crash()
    assert seen == ["/do/0/a"]
