"""Checkpoints that cannot be made, or have no room: no step begins without the one before it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import pytest

from qflow import model
from qflow.engine import _crowd, _keeping
from qflow.errors import ExecutionStateError, LockedError
from qflow.node import Node, _checkpoints
from qflow.testing import ManualClock
from tests.nodes import turns, until, verify
from tests.test_node import World, flow, node
from tests.test_node_checkpoints import RISKY, Gate, held, marks, versions

pytestmark = pytest.mark.anyio

FORK = flow(
    "do: [{f: {fork: {branches: [{r: {call: note, metadata: {qflow: {checkpoint: true}}}},"
    " {n: {call: note}}]}}}]",
    "fork",
)
SIZE = 300_000


def count(here: Node) -> int:
    """Records of checkpoints, of all executions."""
    return sum(len(marks(here, execution.id)) for execution in here.list())


@pytest.fixture
def world() -> World:
    return World()


# -- one that cannot be made ---------------------------------------------------------------


@pytest.mark.holds("S1")
@pytest.mark.parametrize("text", [RISKY, FORK])
async def test_a_step_whose_checkpoint_cannot_be_made_is_not_begun(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def seal(*_: Any) -> Any:
        raise ValueError("a state of 99 MiB")

    with monkeypatch.context() as patched:
        patched.setattr("qflow.engine._live.seal", seal)
        async with node(tmp_path, world) as here:
            execution = await here.start(text)
            with pytest.raises(ExecutionStateError, match=r"before it.*99 MiB"):
                await here.wait(execution)
            for ask in (here.pause, here.abort, here.checkpoint):
                with pytest.raises(ExecutionStateError, match="99 MiB"):
                    await ask(execution)
            # Others go on.
            assert await here.run(flow("do: [{x: {call: note}}]"))
        # Not after a start either.
        async with node(tmp_path, world) as here:
            await turns()
            with pytest.raises(ExecutionStateError, match="99 MiB"):
                await here.wait(execution)
    assert [step for step, _ in world.calls if step.endswith("/r")] == []
    async with node(tmp_path, world) as here:
        assert (await here.wait(execution)).status == "completed"
        assert versions(here, execution)
    verify(tmp_path / "home")


@pytest.mark.holds("S1")
async def test_an_execution_without_a_key_does_not_begin_such_a_step(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Node.start

    async def start(here: Node, text: str) -> str:
        ledger = here._engine._ledger
        create = ledger.create

        def keyless(*given: Any) -> Any:
            live = create(*given)
            live.key = None
            return live

        monkeypatch.setattr(ledger, "create", keyless)
        return await inner(here, text)

    async with node(tmp_path, world) as here:
        execution = await start(here, RISKY)
        with pytest.raises(ExecutionStateError, match="has no key"):
            await here.wait(execution)
    assert [step for step, _ in world.calls] == ["/do/0/a"]


# -- no room -------------------------------------------------------------------------------


@pytest.mark.holds("S1")
async def test_starts_and_steps_wait_while_the_store_is_locked(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_crowd, "STATES_BYTES_MAX", 5 * SIZE)
    async with node(tmp_path, world) as here:
        ledger, gate = here._engine._ledger, Gate(here, monkeypatch)
        known: list[str] = []

        async def start() -> None:
            known.append(await here.start(RISKY, {"x": "y" * SIZE}))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(start)
            await until(lambda: count(here) >= 5)
            await turns()
            assert ledger._crowd.size_bytes < 7 * SIZE
            assert count(here) <= 6
            assert {step for step, _ in world.calls} == {"/do/0/a"}
            gate.open.set()
        for execution in known:
            assert (await here.wait(execution)).status == "completed"
            assert len(marks(here, execution)) == 1
        assert len(known) == 20
        assert ledger._crowd.size_bytes == 0
        assert len([step for step, _ in world.calls if step == "/do/1/r"]) == 20
    verify(tmp_path / "home")


async def test_what_waits_for_room_can_be_aborted_and_left(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_crowd, "STATES_BYTES_MAX", 1)
    async with node(tmp_path, world) as here:
        gate = Gate(here, monkeypatch)
        first = await held(here, world)
        async with anyio.create_task_group() as group:
            # All three are decided on before the first state has a place.
            group.start_soon(partial(here.checkpoint, first))
            await until(gate.asked.is_set)
            group.start_soon(here.start, RISKY)
            await turns()
            assert len(here.list()) == 1
            gate.open.set()
        await until(lambda: len(here.list()) == 2)
        second = next(one.id for one in here.list() if one.id != first)
        assert (await here.wait(second)).status == "completed"
        gate.open.clear()
        gate.asked.clear()
        third = await here.start(RISKY)
        await until(gate.asked.is_set)
        await here.pause(first)
        gate.error = LockedError("another process writes")
        gate.open.set()
        await turns()
        # The node leaves, though the store takes nothing.
    async with node(tmp_path, world) as here:
        assert (await here.wait(third)).status == "completed"
    verify(tmp_path / "home")


@pytest.mark.holds("S13")
async def test_steps_that_were_postponed_begin_in_order_or_not_at_all(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for a checkpoint that is made once there is room; one is aborted meanwhile."""
    async with node(tmp_path, world) as here:
        risky = flow(
            "do: [{h: {call: hold}}, {r: {call: note, metadata: {qflow: {checkpoint: true}}}}]",
            "later",
        )
        known = [await here.start(risky) for _ in range(4)]
        await until(lambda: len(world.calls) == 4)
        monkeypatch.setattr(_crowd, "STATES_BYTES_MAX", 1)
        gate = Gate(here, monkeypatch)
        world.gate.set()
        await until(gate.asked.is_set)
        await turns()
        assert count(here) == 1
        known.sort(key=lambda one: -len(marks(here, one)))
        await here.abort(known[2])
        gate.open.set()
        found = [(await here.wait(one)).status for one in known]
        assert found == ["completed", "completed", "aborted", "completed"]
        assert [len(versions(here, one)) for one in known] == [1, 1, 0, 1]
        assert len([step for step, _ in world.calls if step == "/do/1/r"]) == 3
        assert here._engine._ledger._crowd.size_bytes == 0
    verify(tmp_path / "home")


async def test_those_that_are_due_are_made_one_by_one_within_the_bound(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_crowd, "OPTIONAL_BYTES_MAX", 3 * SIZE)
    inner, seen = _keeping._make, [""]

    def make(ledger: Any, execution: str) -> None:
        seen.append("made")
        inner(ledger, execution)

    async def tick() -> None:
        while True:
            seen.append("turn")
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(_keeping, "_make", make)
    async with node(tmp_path, world, checkpoint={"every_s": 0}) as here:
        gate = Gate(here, monkeypatch)
        waits = flow("do: [{w: {wait: PT1H}}]", "waits")
        for _ in range(12):
            await here.start(waits, {"x": "y" * SIZE})
        clock, ledger = ManualClock(start_ms=here._clock.now_ms()), here._engine._ledger
        async with anyio.create_task_group() as group:
            group.start_soon(_keeping.by_time, ledger, clock, 1.0)
            group.start_soon(tick)
            await turns()
            await clock.advance(3000)
            await turns()
            group.cancel_scope.cancel()
        assert seen.count("made") == 3
        # Two loops that take turns in any order: two may follow each other, three may not.
        assert "made made made" not in " ".join(seen)
        await until(lambda: count(here) == 3)
        gate.open.set()


async def test_executions_with_long_histories_are_not_committed_together(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the loss of `state.db`, when every checkpoint brings all that its execution had."""
    monkeypatch.setattr(_checkpoints, "HISTORY_BYTES_MAX", 2 * SIZE)
    waits = flow("do: [{w: {wait: PT1H}}]", "waits")
    async with node(tmp_path, world) as here:
        known = [await here.start(waits, {"x": "y" * SIZE}) for _ in range(6)]
        states, counts = here._stored.states, list[int]()
        inner, gate = states.commit_many, Event()

        def commit_many(drafts: Any) -> Any:
            assert gate.wait(20)
            counts.append(len(drafts))
            return inner(drafts)

        monkeypatch.setattr(states, "commit_many", commit_many)
        async with anyio.create_task_group() as group:
            for execution in known:
                group.start_soon(partial(here.checkpoint, execution))
            await until(lambda: count(here) == 6)
            await turns()
            gate.set()
        assert (sum(counts), max(counts)) == (6, 2)
        assert [len(versions(here, execution)) for execution in known] == [1] * 6


# -- deleted meanwhile ---------------------------------------------------------------------


@pytest.mark.holds("S12")
@pytest.mark.parametrize("times", [1, 2])
async def test_a_checkpoint_whose_versions_are_deleted_meanwhile_is_drafted_again(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    async with node(tmp_path, world) as here:
        execution = await held(here, world)
        await here.checkpoint(execution, label="a")
        states, left = here._stored.states, [times]
        inner = states.commit_many

        def commit_many(drafts: Any) -> Any:
            if left[0]:
                left[0] -= 1
                states.delete(chain=model.id_bytes(execution))
            return inner(drafts)

        monkeypatch.setattr(states, "commit_many", commit_many)
        await here.checkpoint(execution, label="b")
        (saved,) = versions(here, execution)
        assert states.check(saved.cid).label == "b"
        world.gate.set()
        assert (await here.wait(execution)).status == "completed"
    verify(tmp_path / "home")
