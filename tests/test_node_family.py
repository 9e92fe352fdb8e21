"""An execution that waits for its subflows goes on elsewhere together with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from qflow.config import Config
from qflow.errors import ExecutionStateError, UnavailableError, VerificationError
from qflow.node import Node, _family
from qflow.node._adoption import Adoption
from qflow.node._states_open import open_state_care, open_state_view
from tests.kubo.daemon import Daemon
from tests.nodes import turns, until, verify
from tests.places import Place, carry, held, last, places, trust
from tests.test_node import flow

__all__ = ["places"]
pytestmark = pytest.mark.anyio


def _runs(name: str) -> str:
    return f"{{run: {{workflow: {{namespace: t, name: {name}, version: '1.0.0'}}}}}}"


LEAF = flow("do: [{c1: {call: note}}, {c2: {call: note}}, {h: {call: hold}}]", "leaf")
CHILD = flow(f"do: [{{d1: {{call: note}}}}, {{sub: {_runs('leaf')}}}]", "child")
PARENT = flow(f"do: [{{p: {_runs('child')}}}, {{q: {{call: note}}}}]", "parent")
BEHIND = ["/do/2/h", "/do/1/q"]
"""What no checkpoint below has: the step that is held, and what follows its end."""


def know_all(here: Node) -> None:
    """Both flows that others run."""
    here.know(LEAF)
    here.know(CHILD)


async def waiting(place: Place, here: Node) -> tuple[str, str, str]:
    """An execution, the one that it waits for, and the one that this waits for, which is held."""
    know_all(here)
    execution = await here.start(PARENT, {})
    await until(lambda: place.steps()[-1:] == ["/do/2/h"])
    flows = {one.flow.split("/")[1]: one.id for one in here.list()}
    assert flows["parent"] == execution
    return execution, flows["child"], flows["leaf"]


async def made(here: Any, execution: str) -> Any:
    care = here.states if isinstance(here, Node) else here
    return await care.create(execution, label="all", description=None, actor="t")


async def delivered(place: Place, one: Node, other: Node, folder: Path) -> tuple[str, str, str]:
    """As `waiting`, and the other node has a checkpoint of each and knows their flows."""
    know_all(other)
    execution, child, leaf = await waiting(place, one)
    await made(one, execution)
    await trust(one, other, folder)
    await carry(one, other, execution, folder)
    return execution, child, leaf


@pytest.mark.holds("S4", "E2")
async def test_what_an_execution_waits_for_is_kept_carried_and_restored_with_it(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one:
        execution, child, leaf = await waiting(a, one)
        saved = await made(one, execution)
        assert (saved.execution, saved.label) == (execution, "all")
        found = [item async for item in one.states.list()]
        assert {(item.execution, item.label) for item in found} == {
            (execution, "all"), (child, None), (leaf, None),
        }  # fmt: skip
        async with b.node() as two:
            know_all(two)
            await trust(one, two, tmp_path)
            file = str(tmp_path / "x.car")
            done = await last(one.states.export([execution], file, with_key=True, replace=True))
            done = done.result
            assert [item.execution for item in done.checkpoints] == [execution, child, leaf]
            assert (done.children, done.keys, done.missing) == (2, 3, ())
            await last(two.states.import_(file))
            dry = await two.states.restore(execution, dry_run=True, actor="t")
            assert [item.checkpoint.execution for item in dry.children] == [child, leaf]
            assert two.list() == []
            got = await two.states.restore(execution, dry_run=False, actor="t")
            assert [item.records for item in got.children] == [
                item.records for item in dry.children
            ]
            b.world.gate.set()
            assert (await two.wait(execution)).status == "completed"
            assert b.steps() == BEHIND
            assert {one.id for one in two.list()} == {execution, child, leaf}
    verify(b.home)


@pytest.mark.holds("E2")
async def test_a_subflow_of_which_nothing_is_here_begins_anew_only_when_that_is_asked_for(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, child, leaf = await waiting(a, one)
        await one.checkpoint(execution)
        file = str(tmp_path / "x.car")
        done = (
            await last(one.states.export([execution], file, with_key=True, replace=True))
        ).result
        assert done.missing == (child,)
        await trust(one, two, tmp_path)
        await carry(one, two, execution, tmp_path)
        know_all(two)
        for dry_run in (True, False):
            with pytest.raises(ExecutionStateError, match=f"waits for {child}, .*children-anew"):
                await two.states.restore(execution, dry_run=dry_run, actor="t")
        assert two.list() == []
        got = await two.states.restore(execution, dry_run=False, children_anew=True, actor="t")
        assert (got.anew, got.children) == ((child,), ())
        b.world.gate.set()
        assert (await two.wait(execution)).status == "completed"
        assert b.steps()[0] == "/do/0/d1"
        begun = {one.id for one in two.list()}
        # What it waits for has an id of its own, as it begins at another time.
        assert child in begun
        assert leaf not in begun


@pytest.mark.holds("E2", "S17")
async def test_the_engine_begins_none_anew_that_is_kept(
    places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a log that was taken from an older copy may have it: the parent, and not the child."""
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, child, _ = await delivered(a, one, two, tmp_path)
        b.world.gate.set()
        with monkeypatch.context() as patched:
            patched.setattr("qflow.node._states.family_of", lambda *_, **__: _family.Family())
            await two.states.restore(execution, dry_run=False, actor="t")
        await turns()
        assert b.steps() == []
        assert [one.id for one in two.list()] == [execution]
        await two.states.restore(child, dry_run=False, actor="t")
        assert (await two.wait(execution)).status == "completed"
        assert b.steps() == BEHIND


@pytest.mark.holds("S17", "E2")
async def test_a_restore_of_several_that_is_cut_off_is_done_again(
    places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, child, leaf = await delivered(a, one, two, tmp_path)
        adopt, count = Adoption.adopt, [0]

        async def cut(*given: Any, **more: Any) -> Any:
            count[0] += 1
            if count[0] == 3:
                raise OSError("the machine dies here")
            return await adopt(*given, **more)

        with monkeypatch.context() as patched:
            patched.setattr(Adoption, "adopt", cut)
            with pytest.raises(OSError, match="dies here"):
                await two.states.restore(execution, dry_run=False, actor="t")
        assert {one.id for one in two.list()} == {child, leaf}
    async with b.node() as two:
        await turns()
        got = await two.states.restore(execution, dry_run=False, actor="t")
        # They went on meanwhile.
        assert got.children == ()
        b.world.gate.set()
        assert (await two.wait(execution)).status == "completed"
        assert set(b.steps()) == set(BEHIND)
    verify(b.home)


async def test_a_subflow_whose_checkpoints_are_all_bad_is_named(
    places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, child, _ = await delivered(a, one, two, tmp_path)
        (bad,) = [item async for item in two.states.list(execution=child)]
        check = two._stored.states.check

        def refuse(cid: bytes) -> Any:
            saved = check(cid)
            if saved.number == bad.number and saved.head.hex() == bad.head:
                raise VerificationError("block x is damaged")
            return saved

        monkeypatch.setattr(two._stored.states, "check", refuse)
        for anew in (False, True):
            with pytest.raises(VerificationError, match=f"no good checkpoint: {child}: .*damaged"):
                await two.states.restore(execution, dry_run=False, children_anew=anew, actor="t")
        assert two.list() == []


async def test_the_files_of_a_home_are_kept_and_restored_alike(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one:
        async with b.node() as two:
            await trust(one, two, tmp_path)
            know_all(two)
        execution, child, leaf = await waiting(a, one)
    file = str(tmp_path / "x.car")
    async with open_state_care(a.config) as care:
        await made(care, execution)
    with open_state_view(a.config) as care:
        done = (await last(care.export([execution], file, with_key=True, replace=True))).result
        assert [item.execution for item in done.checkpoints] == [execution, child, leaf]
    async with open_state_care(b.config) as care:
        await last(care.import_(file))
        got = await care.restore(execution, dry_run=False, actor="t")
        assert [item.checkpoint.execution for item in got.children] == [child, leaf]
    b.world.gate.set()
    async with b.node() as two:
        assert (await two.wait(execution)).status == "completed"
        assert b.steps() == BEHIND
    verify(b.home)


async def test_who_is_named_is_recovered_with_what_it_waits_for(
    tmp_path: Path, kubo: Daemon
) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    for place in (a, b):
        place.config = Config(
            home=place.home, checkpoint={"every_s": 0}, storage={"kubo": [kubo.url]}
        )
    async with a.node() as one, b.node() as two:
        execution, child, leaf = await waiting(a, one)
        await made(one, execution)
        await last(one.states.sync())
        await trust(one, two, tmp_path)
        done = (await last(two.states.recover([execution]))).result
        assert [item.execution for item in done.taken] == [execution, child, leaf]
        assert (done.known, done.keys, done.refused) == (0, 3, ())
        again = (await last(two.states.recover([execution]))).result
        assert (again.taken, again.known) == ((), 1)


# -- a log that is older than the store ----------------------------------------------------


@pytest.mark.holds("E2", "S17")
async def test_a_log_that_is_behind_the_store_is_not_gone_on_with(tmp_path: Path) -> None:
    place = Place(tmp_path / "a")
    async with place.node() as here:
        execution = await held(place, here)
        await here.checkpoint(execution)
    shutil.copytree(place.home / "log", tmp_path / "older")
    async with place.node() as here:
        await here.pause(execution)
        await here.checkpoint(execution)
        size = here.show(execution).seq
    place.lose_log(older=tmp_path / "older")
    calls = len(place.world.calls)
    place.world.gate.set()
    async with place.node() as here:
        await turns()
        assert len(place.world.calls) == calls
        with pytest.raises(UnavailableError, match=f"qflow checkpoint restore {execution}"):
            await here.pause(execution)
        await here.states.restore(execution, dry_run=False, actor="t")
        assert (here.show(execution).status, here.show(execution).seq) == ("paused", size)
        await here.resume(execution)
        assert (await here.wait(execution)).output == {"name": "n"}
    verify(place.home)


async def test_an_older_version_that_was_chosen_is_gone_on_from(tmp_path: Path) -> None:
    """Though newer ones are kept."""
    place, again = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with place.node() as here:
        execution = await held(place, here)
        older = await here.checkpoint(execution)
        await here.pause(execution)
        await here.checkpoint(execution)
    again.home.mkdir()
    for name in ("node.key", "node.pub", "keys", "subnet.keys", "state.db"):
        if (place.home / name).exists():
            shutil.copy(place.home / name, again.home / name)
    async with again.node() as here:
        await here.states.restore(older["version"], dry_run=False, actor="t")
        assert here.show(execution).status == "running"
        again.world.gate.set()
    async with again.node() as here:
        assert (await here.wait(execution)).output == {"name": "n"}
