"""Stored states of a node: what is compared, what endpoints are owed, what an erasure reaches."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from qflow import model
from qflow.api._states import StateStep
from qflow.engine._state import Frame, State
from qflow.errors import BlockNotFoundError, ErasedError, QflowError, UnavailableError
from qflow.node import Node
from qflow.node._difference import VALUE_BYTES_MAX, compare
from qflow.node._states_open import open_state_view
from qflow.state import Saved
from tests.test_node import World, node
from tests.test_node_checkpoints import HOLD, held

KUBO = "http://127.0.0.1:9"
"""Nothing answers there: what is owed stays owed."""


def state(**fields: Any) -> State:
    return State(id="x", flow="a/b/1", **fields)


def changes(older: State, newer: State, **options: Any) -> list[tuple[str, str, Any, Any]]:
    found = compare(older, newer, **({"limit": 100, "values": True} | options))
    return [(change.what, change.path, change.old, change.new) for change in found.changes]


def test_a_difference_names_each_place_once() -> None:
    older = state(context={"a": [1, 2, 3], "b/c": {"~": True}, "gone": None}, output=None)
    newer = state(context={"a": [1, 5], "b/c": {"~": 1}, "new": []}, output={"n": 1})
    assert changes(older, newer) == [
        ("changed", "/context/a/1", 2, 5),
        ("removed", "/context/a/2", 3, None),
        ("changed", "/context/b~1c/~0", True, 1),
        ("removed", "/context/gone", None, None),
        ("added", "/context/new", None, []),
        ("changed", "/output", None, {"n": 1}),
    ]
    assert changes(older, older) == []
    assert [old for _, _, old, _ in changes(older, newer, values=False)] == [None] * 6


def test_numbers_texts_and_truths_are_not_taken_for_each_other() -> None:
    for old, new in ((1, True), (0, False), (1, 1.0), ("1", 1), ([], {}), (None, False)):
        assert changes(state(input=old), state(input=new)) == [("changed", "/input", old, new)]


def test_a_difference_has_bounds() -> None:
    long = "x" * (VALUE_BYTES_MAX + 1)
    found = compare(state(input=long), state(input="y"), limit=10, values=True)
    assert [(item.cut, item.old, item.new) for item in found.changes] == [(True, None, None)]
    many = compare(state(input=[0] * 50), state(input=[1] * 50), limit=10, values=True)
    assert (len(many.changes), many.more) == (10, 40)
    large = "x" * (VALUE_BYTES_MAX - 2)
    whole = compare(state(input=[large] * 200), state(input=[0] * 200), limit=200, values=True)
    assert 0 < sum(not item.cut for item in whole.changes) < 100


def test_steps_that_came_and_went_are_named() -> None:
    def with_frame(path: str, kind: str, number: int) -> State:
        return state(frames={number: Frame(id=number, parent=0, kind=kind, path=path, where=path)})

    found = compare(
        with_frame("/do/0/a", "call", 2), with_frame("/do/1/b", "call", 3), limit=9, values=True
    )
    assert (found.entered, found.left) == (["/do/1/b"], ["/do/0/a"])
    lists = compare(state(), with_frame("/do", "list", 1), limit=9, values=True)
    assert (lists.entered, lists.left) == ([], [])


# -- what endpoints are owed ---------------------------------------------------------------


def wanted(here: Node, execution: str) -> bool:
    outbox, chain = here._stored.elsewhere.outbox, model.id_bytes(execution)
    return here._stored.database.read(lambda db: outbox.is_key_wanted(db, chain))


def kinds(here: Node) -> list[str]:
    def read(db: sqlite3.Connection) -> list[str]:
        return [kind for (kind,) in db.execute("SELECT kind FROM outbox ORDER BY kind")]

    return here._stored.database.read(read)


@pytest.mark.anyio
@pytest.mark.holds("S1", "S12")
async def test_a_key_is_wanted_with_the_first_version_and_released_with_the_last(
    tmp_path: Path,
) -> None:
    world = World()
    async with node(tmp_path, world, storage={"kubo": [KUBO]}) as here:
        execution = await held(here, world)
        await here.checkpoint(execution, label="a")
        assert (wanted(here, execution), kinds(here)) == (True, ["key", "pin"])
        await here.checkpoint(execution, label="b")
        assert kinds(here) == ["key", "pin", "pin"]
        gone = await here.states.prune(None, keep=1, dry_run=False, actor="me")
        assert (gone.deleted, kinds(here)) == ((), ["key", "pin", "pin"])
        gone = await here.states.prune(None, keep=1, dry_run=False, actor="me", labelled=True)
        assert [item.label for item in gone.deleted] == ["a"]
        assert kinds(here) == ["key", "pin", "unpin"]
        done = await here.states.delete(execution, actor="me")
        assert (done.versions, wanted(here, execution)) == (1, False)
        assert kinds(here) == ["unpin", "unpin"]
        await here.checkpoint(execution, label="c")
        assert wanted(here, execution)
        assert "key" in kinds(here)


@pytest.mark.anyio
@pytest.mark.holds("S16", "H21")
async def test_an_erasure_reaches_the_store_and_the_endpoints_for_good(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, storage={"kubo": [KUBO]}) as here:
        execution = await held(here, world)
        await here.checkpoint(execution, label="a")
        chain = model.id_bytes(execution)
        block = here._stored.elsewhere.envelope_of(chain)
        assert block is not None
        await here.abort(execution)
        await here.care.erase(execution, reason="asked", actor="me")
        assert [item async for item in here.states.list()] == []
        assert kinds(here) == ["remove", "unpin"]
        assert wanted(here, execution), "given up counts as known: it is never sent again"
        with pytest.raises(BlockNotFoundError):
            await here.states.show(execution)
        with pytest.raises(ErasedError):
            here.states._home.adopt_key(block[1])  # type: ignore[union-attr]
    with open_state_view(here._config) as view, pytest.raises(UnavailableError):
        await view.restore(execution, dry_run=True, actor="me")


@pytest.mark.anyio
async def test_a_rotation_sends_every_envelope_anew(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, storage={"kubo": [KUBO]}) as here:
        execution = await held(here, world)
        await here.checkpoint(execution, label="a")
        chain = model.id_bytes(execution)
        before = here._stored.elsewhere.envelope_of(chain)
        here._stored.database.write(lambda db: db.execute("DELETE FROM outbox"))
        await here.keys.rotate(forget=False, actor="me")
        assert kinds(here) == ["key"]
        assert here._stored.elsewhere.envelope_of(chain) != before


# -- the care ------------------------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def result(steps: Any) -> Any:
    found = [step async for step in steps]
    assert all(isinstance(step, StateStep) for step in found)
    return found[-1].result


@pytest.mark.anyio
async def test_an_export_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path / "home", world) as here:
        execution = await held(here, world, HOLD, {"large": "x" * 900_000})
        await here.checkpoint(execution)
        file = tmp_path / "x.car"
        steps = here.states.export([execution], str(file), with_key=True, replace=False)
        assert (await anext(steps)).result is None
        await steps.aclose()
        assert names_in(tmp_path) == ["home"]
        done = await result(
            here.states.export([execution], str(file), with_key=True, replace=False)
        )
        assert done.bytes == file.stat().st_size > 900_000
        with pytest.raises(UnavailableError, match="is there already"):
            await result(here.states.export([], str(file), with_key=True, replace=False))
        again = await result(here.states.import_(str(file)))
        assert (again.taken, again.known, again.keys) == ((), 1, 0)


@pytest.mark.anyio
async def test_lists_are_read_page_by_page_and_stop_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.node._states.PAGE", 2)
    world = World()
    async with node(tmp_path, world, checkpoint={"keep": 5}) as here:
        execution = await held(here, world)
        for label in "abcde":
            await here.checkpoint(execution, label=label)
        labels = [item.label async for item in here.states.list()]
        assert labels == ["e", "d", "c", "b", "a"]
        assert [item.label async for item in here.states.list(limit=3)] == labels[:3]
        assert [item.number async for item in here.states.list(label="[b-d]")] == []
        with pytest.raises(QflowError):
            _ = [item async for item in here.states.list(execution="not an id!")]


@pytest.mark.anyio
async def test_a_version_of_another_home_is_shown_without_what_is_sealed(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world) as here:
        execution = await held(here, world)
        await here.checkpoint(execution, label="a")
        saved: Saved = here._stored.states.history(model.id_bytes(execution))[0]
        from msgspec.structs import replace

        from qflow.node._state_views import checkpoint_of

        bare = replace(saved, flow="")
        assert checkpoint_of(bare, erased=True).payloads == "erased"
        shown = checkpoint_of(bare, erased=False)
        assert (shown.payloads, shown.flow, shown.label) == ("sealed", None, None)
