"""Payloads sealed, erased and held, on a whole node: the bytes on the disk, and what is proven."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import model
from qflow.audit._retention import Step
from qflow.config import Config, RetentionRule
from qflow.engine import _ledger
from qflow.engine._live import Live
from qflow.errors import (
    ErasedError,
    ExecutionFailedError,
    ExecutionNotFoundError,
    ExecutionStateError,
    HeldError,
    QflowError,
)
from qflow.events import CloudEvent
from qflow.node import Node
from qflow.node._care import Care, open_care
from qflow.testing import ManualClock
from qflow.trust import Keyring
from tests.nodes import until, verify
from tests.test_node import World, flow, node

pytestmark = pytest.mark.anyio

SECRET = "marker-of-a-person"
ECHO = flow("do: [{a: {set: '${ . }'}}]", "echo")
WAITS = flow("do: [{l: {listen: {to: {one: {with: {type: go}}}}}}, {s: {set: '${ . }'}}]", "waits")


@pytest.fixture
def world() -> World:
    return World()


def bytes_of(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(home.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes()


def is_on_disk(home: Path, text: str) -> list[str]:
    """The files of a home that hold a text."""
    return [name for name, data in bytes_of(home) if text.encode() in data]


async def steps(care: Care, *rules: RetentionRule, dry_run: bool = False) -> list[Step]:
    return [step async for step in care.retain(rules, actor="ann", dry_run=dry_run)]


# -- sealed --------------------------------------------------------------------------------


@pytest.mark.holds("H21")
async def test_no_payload_is_on_the_disk_in_plain(tmp_path: Path, world: World) -> None:
    home = tmp_path / "home"
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        assert await here.run(ECHO, {"name": SECRET}) == {"name": SECRET}
        error = "{type: 'https://x.example/e', status: 500, title: '${ .n }'}"
        failing = flow(f"do: [{{a: {{raise: {{error: {error}}}}}}}]", "failing")
        with pytest.raises(ExecutionFailedError, match=SECRET):
            await here.run(failing, {"n": SECRET})
        waiting = await here.start(WAITS, {"name": SECRET})
        event = CloudEvent(id="1", source="urn:t", type="go", data={"name": SECRET[::-1]})
        await here.emit(event)
        done = await here.wait(waiting)
        assert done.output[0]["name"] == SECRET[::-1]
        assert SECRET in str(here.list(status="faulted")[0].problem)
        # Also not in the index and its WAL, which are open now.
        assert is_on_disk(home, SECRET) == is_on_disk(home, SECRET[::-1]) == []
    assert is_on_disk(home, SECRET) == is_on_disk(home, SECRET[::-1]) == []
    verify(home)


async def test_snapshots_are_sealed_and_resumed_from(tmp_path: Path, world: World) -> None:
    home = tmp_path / "home"
    many = flow(
        "do: [{l: {for: {in: '${ [range(30)] }'}, do: [{n: {call: note}}]}}, {h: {call: hold}},"
        " {s: {set: {name: '${ $workflow.input.name }'}}}]"
    )
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        execution = await here.start(many, {"name": SECRET})
        await until(lambda: world.calls and world.calls[-1][0] == "/do/1/h")
        kinds = [record["type"] for record in here.history(execution)]
        assert "q.qflow.checkpoint.created.v1" in kinds
    assert is_on_disk(home, SECRET) == []
    async with node(tmp_path, world) as here:
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": SECRET}
    verify(home)


async def test_each_execution_has_a_key_of_its_own(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        here.know(flow("do: [{s: {set: {n: 5}}}]", "child"))
        parent = "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}}}]"
        await here.run(flow(parent, "parent"))
        for _ in range(5):
            await here.run(ECHO, {})
        firsts = [here.history(view.id)[0] for view in here.list()]
    numbers = [first["meta"]["key"] for first in firsts]
    assert len(set(numbers)) == len(numbers) == 7


class _Old(Live):
    """As executions were before payloads were sealed."""

    def __init__(self, flow: Any, definition: str, state: Any, _: Any) -> None:
        super().__init__(flow, definition, state, None)

    def decide(self, event: Any, *arguments: Any) -> Any:
        event.meta.pop("key", None)
        return super().decide(event, *arguments)


async def test_what_was_written_plain_is_read_and_goes_on(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        with monkeypatch.context() as patch:
            patch.setattr(_ledger, "Live", _Old)
            await here.run(ECHO, {"name": SECRET})
            waiting = await here.start(WAITS, {"name": SECRET})
        (done,) = here.list(status="completed")
    async with node(tmp_path, world) as here:
        assert here.show(done.id).output == {"name": SECRET}
        await here.emit(CloudEvent(id="1", source="urn:t", type="go", data="x"))
        assert (await here.wait(waiting)).status == "completed"
        with pytest.raises(ExecutionStateError, match="before payloads were sealed"):
            await here.care.erase(done.id, reason="asked", actor="ann")
        found = await steps(here.care, RetentionRule(payloads_days=0))
        assert [step.what for step in found] == ["plain", "plain", "progress", "summary"]
    verify(tmp_path / "home")


async def test_without_its_key_an_execution_stays_shut_and_others_go_on(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    """The file was lost, or an older copy was put back: what it sealed cannot go on."""
    async with node(tmp_path, world) as here:
        waiting = await here.start(WAITS)
    (tmp_path / "home" / "keys").unlink()
    async with node(tmp_path, world) as here:
        assert "the data keys are gone" in capsys.readouterr().out + caplog.text
        await here.emit(CloudEvent(id="1", source="urn:t", type="go", data="x"))
        assert here.show(waiting).status == "waiting"
        assert await here.run(ECHO, {"n": 1}) == {"n": 1}
        (first, *_) = here.history(waiting, payloads=True)
        assert first["withheld"] == "sealed"
    verify(tmp_path / "home")


# -- erased --------------------------------------------------------------------------------


@pytest.mark.holds("H21")
async def test_an_erased_execution_verifies_and_says_nothing_more(
    tmp_path: Path, world: World
) -> None:
    home = tmp_path / "home"
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        await here.run(ECHO, {"name": "kept"})
        kept, erased = here.list()
        assert await here.care.erase(erased.id[:14], reason="asked", actor="ann") == erased.id
        again = f"{erased.id} was erased already, [0-9-]+T[0-9:]+Z by ann: asked$"
        with pytest.raises(ErasedError, match=again):
            await here.care.erase(erased.id, reason="asked again", actor="bob")
        shown = here.show(erased.id)
        assert (shown.status, shown.output, shown.payloads) == ("completed", None, "erased")
        assert {record["withheld"] for record in here.history(erased.id, payloads=True)} == {
            "erased"
        }
        assert here.show(kept.id).output == {"name": "kept"}
        with pytest.raises(ErasedError):
            next(here._archive.entries(erased.id))
    assert is_on_disk(home, SECRET) == []
    verify(home)
    async with node(tmp_path, world) as here:
        assert here.show(erased.id).payloads == "erased"
        own = here._history.records(here._own._chain)
        (tombstone,) = [e.record for e in own if e.record["type"].endswith("erased.v1")]
        assert tombstone["actor"] == "ann"
        assert tombstone["meta"] == {
            "execution": erased.id,
            "key": tombstone["meta"]["key"],
            "reason": "asked",
            "envelope": tombstone["meta"]["envelope"],
        }


async def test_what_runs_or_is_awaited_is_not_erased(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        here.know(flow("do: [{s: {set: {n: 5}}}]", "child"))
        body = "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}}}]"
        monkeypatch.setattr(here._engine, "_tell_parent", lambda *_: None)
        parent = await here.start(flow(body, "parent"))
        await until(lambda: here.list(status="completed"))
        (child,) = here.list(status="completed")
        with pytest.raises(ExecutionStateError, match="is running"):
            await here.care.erase(parent, reason="asked", actor="ann")
        with pytest.raises(ExecutionStateError, match="still waits"):
            await here.care.erase(child.id, reason="asked", actor="ann")
        found = await steps(here.care, RetentionRule(payloads_days=0))
        assert [step.what for step in found] == ["awaited", "progress", "summary"]
        assert here.show(child.id).output == {"n": 5}


@pytest.mark.holds("H21")
async def test_an_erasure_that_a_crash_cut_short_is_done_when_the_node_opens(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError("the process died here")

    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
        with monkeypatch.context() as patch:
            patch.setattr(Keyring, "shred", crash)
            with pytest.raises(RuntimeError):
                await here.care.erase(done.id, reason="asked", actor="ann")
        assert here.show(done.id).output == {"name": SECRET}
    async with node(tmp_path, world) as here:
        assert here.show(done.id).payloads == "erased"
    verify(tmp_path / "home")


@pytest.mark.holds("H21")
async def test_an_erasure_whose_caller_went_is_carried_out(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on record as erased is not readable until the next start."""
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
        append = here._own.append

        async def gone(*arguments: Any) -> None:
            scope.cancel()
            await append(*arguments)

        monkeypatch.setattr(here._own, "append", gone)
        with anyio.CancelScope() as scope:
            await here.care.erase(done.id, reason="asked", actor="ann")
        monkeypatch.undo()
        assert here.show(done.id).payloads == "erased"
    verify(tmp_path / "home")


@pytest.mark.holds("S16")
@pytest.mark.parametrize("opened_by", ["node", "command"])
async def test_a_backup_of_the_keys_does_not_bring_back_what_was_erased(
    tmp_path: Path, world: World, opened_by: str
) -> None:
    home = tmp_path / "home"
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
    shutil.copy(home / "keys", tmp_path / "keys")
    async with node(tmp_path, world) as here:
        await here.care.erase(done.id, reason="asked", actor="ann")
        await here.run(ECHO, {"name": "later"})
    for _ in range(2):
        # Twice: also after the keyring has noted that it has seen the erasure.
        shutil.copy(tmp_path / "keys", home / "keys")
        if opened_by == "command":
            from qflow.cli._offline import Offline

            async with Offline(Config(home=home)) as files:
                assert (await files.show(done.id)).payloads == "erased"
        else:
            async with node(tmp_path, world) as here:
                assert here.show(done.id).payloads == "erased"
                assert await here.run(ECHO, {"name": "new"}) == {"name": "new"}
                assert here.show(here.list(limit=1)[0].id).output == {"name": "new"}
    verify(home)


async def test_an_erasure_of_another_history_is_looked_for_from_the_beginning(
    tmp_path: Path, world: World
) -> None:
    """The log was put back from a backup, the keys were not: their mark is of another chain."""
    home = tmp_path / "home"
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
    shutil.copytree(home / "log", tmp_path / "log")
    async with node(tmp_path, world) as here:
        for n in range(3):
            await here.run(ECHO, {"n": n})
        for view in here.list(limit=3):
            await here.care.erase(view.id, reason="asked", actor="ann")
    async with node(tmp_path, world):
        pass
    shutil.rmtree(home / "log")
    shutil.copytree(tmp_path / "log", home / "log")
    for path in home.glob("index.db*"):
        path.unlink()
    async with node(tmp_path, world) as here:
        await here.care.erase(done.id, reason="asked", actor="ann")
    shutil.copy(home / "keys", tmp_path / "keys")
    async with node(tmp_path, world) as here:
        assert here.show(done.id).payloads == "erased"


# -- held ----------------------------------------------------------------------------------


@pytest.mark.holds("H21")
async def test_a_legal_hold_keeps_what_it_covers_also_after_a_restart(
    tmp_path: Path, world: World
) -> None:
    rule = RetentionRule(payloads_days=0)
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET}, actor="local:bob")
        (done,) = here.list()
        held = await here.care.hold(reason="case 4711", by="ann", actor="local:*")
        with pytest.raises(HeldError, match=f"{held.id}: case 4711"):
            await here.care.erase(done.id, reason="asked", actor="ann")
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": "later"}, actor="local:bob")
        assert await here.care.holds() == [held]
        found = await steps(here.care, rule)
        assert [step.what for step in found] == ["held", "held", "progress", "summary"]
        assert held.id in found[0].why
        with pytest.raises(ExecutionNotFoundError):
            await here.care.release("zz", reason="over", actor="ann")
        assert await here.care.release(held.id[:20], reason="over", actor="ann") == held
        assert await here.care.holds() == []
        await here.care.erase(done.id, reason="asked", actor="ann")
        assert here.show(done.id).payloads == "erased"
    verify(tmp_path / "home")


async def test_a_hold_names_an_execution_by_the_beginning_of_its_id(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
        held = await here.care.hold(reason="case", by="ann", execution=done.id[:12])
        assert held.execution == done.id
        with pytest.raises(ExecutionNotFoundError):
            await here.care.hold(reason="case", by="ann", execution="0000")
        never = {"flow": "shop/order/1.0.0/x"}
        for wrong in ({}, {"flow": "x" * 1000}, {"since": "yesterday"}, never, {"flow": "shop/"}):
            with pytest.raises(QflowError):
                await here.care.hold(reason="case", by="ann", **wrong)
        for wrong in ({"flow": ""}, {"actor": ""}, {"actor": "\udcff"}):
            with pytest.raises(QflowError, match=r"is empty|no UTF-8"):
                await here.care.hold(reason="case", by="ann", **wrong)
        with pytest.raises(ExecutionNotFoundError, match=r"^no hold begins with 'zz'"):
            await here.care.release("zz", reason="over", actor="ann")
        await here.care.hold(reason="case", by="ann", flow="x")
        with pytest.raises(ExecutionNotFoundError, match=r"^more than one hold begins with"):
            await here.care.release(held.id[:2], reason="over", actor="ann")
        for reason in ("", "x" * 1000, "a reason\udcff"):
            with pytest.raises(QflowError, match="reason"):
                await here.care.erase(done.id, reason=reason, actor="ann")


async def test_a_hold_that_begins_while_rules_are_applied_holds(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qflow.node import _care

    monkeypatch.setattr(_care, "PAGE", 1)
    async with node(tmp_path, world) as here:
        for n in range(3):
            await here.run(ECHO, {"n": n})
        whats = []
        async for step in here.care.retain(
            [RetentionRule(payloads_days=0)], actor="a", dry_run=False
        ):
            whats.append(step.what)
            if step.what == "erase":
                await here.care.hold(reason="case", by="ann", flow="*")
        assert [what for what in whats if what != "progress"] == [
            "erase",
            "held",
            "held",
            "summary",
        ]


# -- rules ---------------------------------------------------------------------------------


@pytest.mark.holds("H21")
async def test_rules_of_the_settings_erase_what_is_due_and_nothing_twice(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qflow.node import _care

    monkeypatch.setattr(_care, "PAGE", 3)
    rules = [RetentionRule(flow="t/echo", payloads_days=0)]
    async with node(tmp_path, world, retention={"rules": rules}) as here:
        for n in range(8):
            await here.run(ECHO if n % 4 else flow("do: [{s: {set: {n: 1}}}]", "kept"), {"n": n})
        names = {view.id for view in here.list() if view.flow == "t/echo/1.0.0"}

        async def applied(*, dry_run: bool) -> list[Step]:
            found = here.care.retain(actor="ann", dry_run=dry_run)
            return [step async for step in found]

        for _ in range(2):
            found = await applied(dry_run=True)
            assert {step.execution for step in found if step.what == "erase"} == names
            assert all(view.payloads is None for view in map(here.show, names))
        found = await applied(dry_run=False)
        assert {step.execution for step in found if step.what == "erase"} == names
        assert "rule 1: t/echo ended: payloads 0 days" in found[0].why
        assert (found[-1].what, found[-1].done, found[-1].whole) == ("summary", 6, 8)
        assert {here.show(name).payloads for name in names} == {"erased"}
        found = await applied(dry_run=False)
        assert (found[-1].done, found[-1].whole) == (0, 8)
    verify(tmp_path / "home")


async def test_a_node_applies_its_rules_by_itself(tmp_path: Path, world: World) -> None:
    clock = ManualClock()
    settings = {"rules": [RetentionRule(payloads_days=0.5)], "every_hours": 24}
    config = Config(home=tmp_path / "home", retention=settings)
    async with Node(config, clock=clock, functions=world.functions) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
        await clock.advance(600_000)
        assert here.show(done.id).payloads is None
        # Once more as long: the next round counts from the end of the first.
        await clock.advance(48 * 3_600_000)
        await until(lambda: here.show(done.id).payloads == "erased")
    verify(tmp_path / "home")


async def test_care_of_files_is_that_of_the_node(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
    async with open_care(Config(home=tmp_path / "home")) as care:
        held = await care.hold(reason="case", by="ann", flow="*")
        with pytest.raises(HeldError):
            await care.erase(done.id, reason="asked", actor="ann")
    async with open_care(Config(home=tmp_path / "home")) as care:
        await care.release(held.id, reason="over", actor="ann")
        found = await steps(care, RetentionRule(payloads_days=0))
        assert [step.what for step in found] == ["erase", "progress", "summary"]
    async with node(tmp_path, world) as here:
        assert here.show(done.id).payloads == "erased"
    verify(tmp_path / "home")


# -- keys ----------------------------------------------------------------------------------


@pytest.mark.holds("S3")
async def test_without_keys_nothing_is_started(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qflow.errors import UnavailableError

    def none(_: Keyring) -> Any:
        raise UnavailableError("no key can be made: the disk is full")

    async with node(tmp_path, world) as here:
        with monkeypatch.context() as patch:
            patch.setattr(Keyring, "take", none)
            with pytest.raises(ExecutionStateError, match="the disk is full"):
                await here.run(ECHO, {"name": SECRET})
        assert here.list() == []
        assert await here.run(ECHO, {"name": SECRET}) == {"name": SECRET}


async def test_many_executions_get_keys_that_are_made_beside_them(
    tmp_path: Path, world: World
) -> None:
    async with node(tmp_path, world) as here, anyio.create_task_group() as group:

        async def caller() -> None:
            for _ in range(30):
                await here.run(ECHO, {"n": 1})

        for _ in range(10):
            group.start_soon(caller)
    async with node(tmp_path, world) as here:
        views = here.list(limit=1000)
        assert len(views) == 300
        assert all(here.show(view.id).output == {"n": 1} for view in views[::23])
    verify(tmp_path / "home")


@pytest.mark.holds("S18")
async def test_no_key_and_no_payload_is_in_a_line_of_the_log(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    async with node(tmp_path, world) as here:
        await here.run(ECHO, {"name": SECRET})
        (done,) = here.list()
        await here.care.erase(done.id, reason="asked", actor="ann")
        here.show(done.id)
        seed = here._key.seed.hex()
    out, err = capsys.readouterr()
    for text in (out, err, caplog.text):
        assert SECRET not in text
        assert seed not in text


def test_an_execution_shows_why_it_shows_nothing() -> None:
    view = model.Execution(id="x", flow="f", status="completed", started_at=0, updated_at=0, seq=0)
    assert view.payloads is None


async def test_a_parent_hears_that_what_it_waited_for_was_erased(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erasing is refused while it waits; but an older node, or a lost file, may have done so."""
    async with node(tmp_path, world) as here:
        here.know(flow("do: [{s: {set: {n: 5}}}]", "child"))
        body = "do: [{r: {run: {workflow: {namespace: t, name: child, version: '1.0.0'}}}}]"
        with monkeypatch.context() as patch:
            patch.setattr(here._engine, "_tell_parent", lambda *_: None)
            parent = await here.start(flow(body, "parent"))
            await until(lambda: here.list(status="completed"))
        (child,) = here.list(status="completed")
        here._keyring.shred([here.history(child.id)[0]["meta"]["key"]])
    async with node(tmp_path, world) as here:
        done = await here.wait(parent)
        assert done.status == "faulted"
        assert "is erased" in str(done.problem)
