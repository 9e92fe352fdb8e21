"""Checkpoints of a node: when they are made, what waits for them, and what is begun from."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core, model
from qflow.config import Config
from qflow.errors import (
    CorruptError,
    ExecutionStateError,
    PoisonedError,
    StaleError,
    UnavailableError,
)
from qflow.node import Node
from qflow.state import Saved
from qflow.testing import ManualClock
from tests.nodes import turns, until, verify
from tests.test_node import World, flow, node

pytestmark = pytest.mark.anyio

HOLD = flow("do: [{a: {call: note}}, {h: {call: hold}}, {s: {set: {n: 5}}}]")
RISKY = flow(
    "do: [{a: {call: note}}, {r: {call: note, metadata: {qflow: {checkpoint: true}}}}]", "risky"
)
MANY = flow(
    "do: [{l: {for: {in: '${ [range(30)] }'}, do: [{n: {call: note}}]}}, {h: {call: hold}},"
    " {s: {set: {name: '${ $workflow.input.name }'}}}]",
    "many",
)
CREATED = "q.qflow.checkpoint.created.v1"


@pytest.fixture
def world() -> World:
    return World()


async def held(here: Node, world: World, text: str = HOLD, value: Any = None) -> str:
    """An execution that waits in the function `hold`."""
    execution = await here.start(text, value)
    await until(lambda: world.calls and world.calls[-1][0].endswith("/h"))
    return execution


def versions(here: Node, execution: str) -> list[Saved]:
    return here._stored.states.history(model.id_bytes(execution))


def marks(here: Node, execution: str) -> list[dict[str, Any]]:
    """The records of checkpoints."""
    return [record for record in here.history(execution) if record["type"] == CREATED]


def begins(here: Node, execution: str) -> int:
    """Where a replay of it begins."""
    found = here._archive.beginning(model.id_bytes(execution))
    return 0 if found is None else found.seq


# -- on demand -----------------------------------------------------------------------------


@pytest.mark.holds("S1", "S4", "S9")
async def test_a_checkpoint_is_durable_with_nothing_else_there(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        execution = await held(here, world)
        made = await here.checkpoint(execution, label="before", description="to look at", actor="a")
        assert made["why"] == "asked"
        # Another process would find it now: nothing waits to be written.
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        (mark,) = marks(here, execution)
        assert (mark["actor"], mark["seq"], mark["payload"]) == ("a", made["seq"], None)
        (saved,) = versions(here, execution)
        assert mark["meta"]["state"] == str(_core.Cid(saved.state)) == made["state"]
        assert (saved.label, saved.description) == ("before", "to look at")
    config = Config(home=tmp_path / "copy")
    async with Node(config, functions=world.functions) as here:
        (again,) = versions(here, execution)
        assert str(_core.Cid(again.cid)) == made["version"]
        text = here._stored.states.load(again.cid)
        assert (len(text), _core.decode(text)["id"]) == (made["size"], execution)
        assert begins(here, execution) == made["seq"]
        world.gate.set()
        assert (await here.wait(execution)).output == {"n": 5}
    verify(tmp_path / "copy")


@pytest.mark.holds("S2")
async def test_a_version_whose_quorum_is_waited_for_is_not_pruned(
    tmp_path: Path, world: World
) -> None:
    waiting, answered = anyio.Event(), anyio.Event()

    async def confirm(cids: Sequence[bytes]) -> None:
        if not waiting.is_set():
            waiting.set()
            await answered.wait()

    async with node(tmp_path, world, checkpoint={"keep": 1}) as here:
        here._checkpoints._confirm = confirm
        execution = await held(here, world)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.checkpoint, execution)
            await waiting.wait()
            (first,) = versions(here, execution)
            await here.checkpoint(execution)
            await here.checkpoint(execution)  # the pruning behind the one before is done
            assert first in versions(here, execution)
            await until(lambda: len(versions(here, execution)) == 2)
            answered.set()
        await here.checkpoint(execution)
        await until(lambda: len(versions(here, execution)) == 1)
        world.gate.set()
        await here.wait(execution)


@pytest.mark.holds("S1", "S2")
async def test_a_node_begins_and_checkpoints_with_ipfs_down_and_owes_the_pins(
    tmp_path: Path, world: World
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with node(tmp_path, world, storage={"kubo": (url,)}) as here:
        execution = await held(here, world)
        await here.checkpoint(execution)
        (saved,) = versions(here, execution)
        assert here._stored.elsewhere.outbox.owed([saved.cid]) == 1
        world.gate.set()
        assert (await here.wait(execution)).output == {"n": 5}
    async with node(tmp_path, world, storage={"kubo": (url,)}) as here:
        assert here._stored.elsewhere.outbox.owed([saved.cid]) == 1


async def test_with_a_quorum_whoever_waits_for_a_checkpoint_waits_for_other_stores(
    tmp_path: Path, world: World
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    storage = {"kubo": (url,), "quorum": 2}
    async with node(tmp_path, world, storage=storage, checkpoint={"every_facts": 10}) as here:
        execution = await held(here, world, MANY, {"name": 1})
        # Nobody waits for these.
        await until(lambda: here.status()["checkpoints"]["kept"])
        with pytest.raises(UnavailableError, match="0 of 1"):
            await here.checkpoint(execution)
        assert versions(here, execution)[0].why == "asked"
        risky = await here.start(RISKY)
        with pytest.raises(UnavailableError, match="0 of 1"):
            await here.wait(risky)
        assert world.calls[-1][0] == "/do/0/a"
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": 1}


async def test_paused_and_waiting_ones_have_checkpoints_and_ended_ones_have_not(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        paused = await held(here, world)
        await here.pause(paused)
        waiting = await here.start(flow("do: [{w: {wait: PT1H}}]", "waits"))
        for execution in (paused, waiting):
            await here.checkpoint(execution)
            await here.checkpoint(execution)
        assert [saved.status for saved in versions(here, paused)] == ["paused"] * 2
        assert [saved.status for saved in versions(here, waiting)] == ["waiting"] * 2
        await here.abort(waiting)
        with pytest.raises(ExecutionStateError, match="is over; it cannot be checkpointed"):
            await here.checkpoint(waiting)
        with pytest.raises(ExecutionStateError, match="a label has 1 to 100 characters"):
            await here.checkpoint(paused, label="x" * 101)
        with pytest.raises(ExecutionStateError, match="no checkpoint"):
            await here.checkpoint(paused, label="\ud800")
        world.gate.set()
        await here.resume(paused)
        assert (await here.wait(paused)).output == {"n": 5}
    verify(tmp_path / "home")


# -- before a step -------------------------------------------------------------------------


class Gate:
    """Holds what is committed to the store of states, or fails it."""

    def __init__(self, here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.asked = threading.Event(), threading.Event()
        self.error: Exception | None = None
        inner = here._stored.states.commit_many

        def commit_many(drafts: Any) -> Any:
            self.asked.set()
            assert self.open.wait(20)
            return [self.error] * len(drafts) if self.error is not None else inner(drafts)

        monkeypatch.setattr(here._stored.states, "commit_many", commit_many)


@pytest.mark.holds("S1")
async def test_a_step_that_is_to_be_checkpointed_waits_until_that_is_durable(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        gate = Gate(here, monkeypatch)
        execution = await here.start(RISKY)
        await until(gate.asked.is_set)
        await turns()
        assert [step for step, _ in world.calls] == ["/do/0/a"]
        # Nobody else waits for it.
        assert await here.run(flow("do: [{n: {call: note}}]"))
        gate.open.set()
        assert (await here.wait(execution)).status == "completed"
        assert world.calls[-1][0] == "/do/1/r"
        (mark,) = marks(here, execution)
        assert mark["meta"]["why"] == "step"
        (saved,) = versions(here, execution)
        state = _core.decode(here._stored.states.load(saved.cid))
        assert [frame["path"] for frame in state["frames"] if frame["running"]] == ["/do/1/r"]


async def test_an_attempt_that_was_cancelled_meanwhile_is_not_made(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        gate = Gate(here, monkeypatch)
        execution = await here.start(RISKY)
        await until(gate.asked.is_set)
        await here.abort(execution)
        gate.open.set()
        assert (await here.wait(execution)).status == "aborted"
        await turns()
        assert [step for step, _ in world.calls] == ["/do/0/a"]
    verify(tmp_path / "home")


@pytest.mark.parametrize("how", ["crash", "pause"])
async def test_an_attempt_that_is_asked_for_again_waits_again(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A crash may have come between the record of the checkpoint and the store."""
    async with node(tmp_path, world) as here:
        gate = Gate(here, monkeypatch)
        gate.error = CorruptError("the node dies here")
        execution = await here.start(RISKY)
        await until(gate.asked.is_set)
        if how == "pause":
            await here.pause(execution)
        gate.open.set()
        await turns()
    assert len(world.calls) == 1
    async with node(tmp_path, world) as here:
        assert versions(here, execution) == [] or how == "crash"
        if how == "pause":
            gate = Gate(here, monkeypatch)
            await here.resume(execution)
            await until(gate.asked.is_set)
            await turns()
            assert len(world.calls) == 1
            gate.open.set()
        assert (await here.wait(execution)).status == "completed"
        assert versions(here, execution)
        assert len(world.calls) == 2


# -- a store that fails --------------------------------------------------------------------


@pytest.mark.holds("S13")
@pytest.mark.parametrize("why", [StaleError("another was first"), CorruptError("a bad block")])
async def test_a_step_whose_checkpoint_is_not_kept_is_not_begun(
    tmp_path: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    why: Exception,
) -> None:
    async with node(tmp_path, world) as here:
        gate = Gate(here, monkeypatch)
        gate.error = why
        execution = await here.start(RISKY)
        await until(gate.asked.is_set)
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with pytest.raises(type(why)):
                    await here.wait(execution)

            group.start_soon(wait)
            await turns()
            gate.open.set()
        for ask in (here.pause, here.resume, here.abort, here.checkpoint):
            with pytest.raises(type(why)):
                await ask(execution)
        # Others go on.
        assert await here.run(flow("do: [{n: {call: note}}]"))
        assert [step for step, _ in world.calls] == ["/do/0/a", "/do/0/n"]
    assert "an execution stays shut" in capsys.readouterr().out
    # A start tries it again.
    async with node(tmp_path, world) as here:
        assert (await here.wait(execution)).status == "completed"
    verify(tmp_path / "home")


async def test_one_that_nobody_waits_for_and_is_not_kept_stops_nothing(
    tmp_path: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        gate = Gate(here, monkeypatch)
        gate.error = CorruptError("a bad block")
        gate.open.set()
        world.gate.set()
        await here.run(MANY, {"name": 1})
    assert "a checkpoint was not kept" in capsys.readouterr().out


@pytest.mark.holds("S17")
async def test_a_store_that_fails_to_write_stops_the_node_as_the_log_does(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(job: Any) -> None:
        raise PoisonedError(f"{tmp_path}/home/state.db: no space")

    started: list[str] = []

    async def live() -> None:
        async with node(tmp_path, world) as here:
            started.append(await held(here, world))
            monkeypatch.setattr(here._stored.database, "write", write)
            with pytest.raises(PoisonedError):
                await here.checkpoint(started[0])
            await anyio.sleep_forever()

    with pytest.raises(PoisonedError, match=r"state\.db"):
        await live()
    (execution,) = started
    async with node(tmp_path, world) as here:
        world.gate.set()
        assert (await here.wait(execution)).output == {"n": 5}
    verify(tmp_path / "home")


# -- by count and by time ------------------------------------------------------------------


async def test_facts_bring_checkpoints_and_the_newest_stay(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world, checkpoint={"every_facts": 10, "keep": 2}) as here:
        execution = await held(here, world, MANY, {"name": 1})
        await until(lambda: here.status()["checkpoints"]["waiting"] == 0)
        made = marks(here, execution)
        assert len(made) == 3
        assert {mark["meta"]["why"] for mark in made} == {"facts"}
        await until(lambda: len(versions(here, execution)) == 2)
        assert versions(here, execution)[0].seq == made[-1]["seq"]
        await here.checkpoint(execution)
        await until(lambda: [v.why for v in versions(here, execution)] == ["asked", "facts"])


async def test_time_brings_one_for_what_is_new_and_none_for_what_is_not(
    tmp_path: Path, world: World
) -> None:
    clock = ManualClock()
    config = Config(home=tmp_path / "home", checkpoint={"every_s": 60})
    async with Node(config, clock=clock, functions=world.functions) as here:
        execution = await held(here, world)
        waiting = await here.start(flow("do: [{w: {wait: P1D}}]", "waits"))
        await clock.advance(59_000)
        assert versions(here, execution) == []
        await clock.advance(2_000)
        await until(lambda: versions(here, execution) and versions(here, waiting))
        assert [v.why for v in versions(here, execution)] == ["time"]
        await clock.advance(600_000)
        assert len(marks(here, execution)) == 1
        await here.pause(execution)
        await clock.advance(61_000)
        await until(lambda: len(versions(here, execution)) == 2)
    # What came while nothing looked is seen at the next start, also of one that only waits.
    config = Config(home=tmp_path / "home", checkpoint={"every_s": 0})
    async with Node(config, clock=clock, functions=world.functions) as here:
        other = await here.start(flow("do: [{w: {wait: P1D}}]", "others"))
        await clock.advance(600_000)
        assert versions(here, other) == []
    config = Config(home=tmp_path / "home", checkpoint={"every_s": 60})
    async with Node(config, clock=clock, functions=world.functions) as here:
        await turns()
        await clock.advance(2_000)
        await until(lambda: versions(here, other))
        assert len(marks(here, waiting)) == 1
    verify(tmp_path / "home")


async def test_those_of_an_execution_that_is_over_go_after_a_time(
    tmp_path: Path, world: World
) -> None:
    clock = ManualClock()
    config = Config(home=tmp_path / "home", checkpoint={"ended_days": 1, "every_s": 0})
    async with Node(config, clock=clock, functions=world.functions) as here:
        execution = await held(here, world)
        await here.checkpoint(execution)
        other = await here.start(flow("do: [{w: {wait: P9D}}]", "waits"))
        await here.checkpoint(other)
        world.gate.set()
        await here.wait(execution)
        await clock.advance(3_600_000)
        assert versions(here, execution)
        with anyio.fail_after(20):
            while versions(here, execution):
                await clock.advance(3_600_000)
                await turns()
        assert clock.now_ms() >= here.show(execution).updated_at + 24 * 3_600_000
        assert versions(here, other)


async def test_a_full_queue_takes_only_those_that_somebody_waits_for(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.node._checkpoints.WAITING_MAX", 0)
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        execution = await held(here, world, MANY, {"name": 1})
        assert marks(here, execution) == []
        await here.checkpoint(execution)
        assert [mark["meta"]["why"] for mark in marks(here, execution)] == ["asked"]
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": 1}


async def test_a_newer_one_takes_the_place_of_one_that_nobody_waits_for(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        gate = Gate(here, monkeypatch)
        execution = await held(here, world, MANY, {"name": 1})
        await until(lambda: len(marks(here, execution)) == 3)
        made = marks(here, execution)
        assert len(made) == 3
        gate.open.set()
        await until(lambda: here.status()["checkpoints"]["waiting"] == 0)
        await until(lambda: len(versions(here, execution)) == 2)
        assert [v.seq for v in versions(here, execution)] == [made[-1]["seq"], made[0]["seq"]]
        assert here.status()["checkpoints"]["left_out"] == len(made) - 2
        assert begins(here, execution) == made[-1]["seq"]


async def test_a_state_that_is_too_large_goes_without(
    tmp_path: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def seal(*_: Any) -> Any:
        raise ValueError("a state of 99 MiB")

    monkeypatch.setattr("qflow.engine._live.seal", seal)
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        world.gate.set()
        assert await here.run(MANY, {"name": 1}) == {"name": 1}
        waiting = await here.start(flow("do: [{w: {wait: P1D}}]", "waits"))
        with pytest.raises(ExecutionStateError, match="99 MiB"):
            await here.checkpoint(waiting)
        assert marks(here, here.list(flow="t/many/1.0.0")[0].id) == []
    assert capsys.readouterr().out.count("no checkpoint is made") >= 3
    verify(tmp_path / "home")
