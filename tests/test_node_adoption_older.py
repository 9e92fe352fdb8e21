"""An execution goes on elsewhere from an older checkpoint, although a newer one lies there."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from qflow import _core, model
from qflow.node import Node
from qflow.node._states_open import open_state_care
from tests.nodes import until, verify
from tests.places import Place, carry, held, last, sent, taken_over

pytestmark = pytest.mark.anyio


@pytest.mark.holds("S8", "S10")
async def test_what_follows_is_kept_behind_the_checkpoint_that_was_restored(tmp_path: Path) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with a.node() as one, b.node() as two:
        execution, older = await sent(a, one, two, tmp_path)
        newer = await one.checkpoint(execution, label="newer")
        await carry(one, two, execution, tmp_path)
        await two.states.restore(older["version"], dry_run=False, actor="t")
        made = await two.checkpoint(execution)
        shown = await two.states.show(made["version"])
        assert (shown.checkpoint.epoch, shown.checkpoint.previous) == (1, older["version"])
        kept = two._stored.states.history(model.id_bytes(execution))
        assert [one.epoch for one in kept] == [1, 0, 0]
        assert newer["version"] != older["version"]
        b.world.gate.set()
        assert (await two.wait(execution)).output == {"name": "n"}
        assert two._stored.states.verify().findings == []
    verify(b.home)


def _are_left(here: Node, execution: str, count: int) -> bool:
    return len(here._stored.states.history(model.id_bytes(execution))) == count


@pytest.mark.holds("S4", "S8", "S13")
@pytest.mark.parametrize("running", [True, False])
async def test_what_the_same_node_acknowledges_behind_an_older_one_is_kept(
    tmp_path: Path, running: bool
) -> None:
    """The data directory was lost but the key; what was made behind the restored one is here."""
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    b.home.mkdir()
    async with a.node() as one:
        execution = await held(a, one)
        shutil.copy(a.home / "node.key", b.home / "node.key")
        made = []
        for _ in range(6):
            made.append(await one.checkpoint(execution))
            file = tmp_path / f"{len(made)}.car"
            await last(one.states.export([execution], str(file), with_key=True, replace=True))
    files = [str(tmp_path / f"{number}.car") for number in range(1, 7)]
    if not running:
        async with open_state_care(b.config) as care:
            for name in files:
                await last(care.import_(name))
            await care.restore(made[1]["version"], dry_run=False, actor="t")
    async with b.node() as two:
        if running:
            for name in files:
                await last(two.states.import_(name))
            await two.states.restore(made[1]["version"], dry_run=False, actor="t")
        for number in range(4):
            again = await two.checkpoint(execution)
            await until(partial(_are_left, two, execution, 3))
            newest, *older = two._stored.states.history(model.id_bytes(execution))
            assert (str(_core.Cid(newest.cid)), newest.epoch) == (again["version"], 1)
            assert two._stored.states.load(newest.cid)
            assert [one.epoch for one in older].count(1) == min(number, 2)
    # An epoch is begun once.
    async with b.node() as two:
        await two.checkpoint(execution)
        assert two._stored.states.history(model.id_bytes(execution))[0].epoch == 1
        b.world.gate.set()
        assert (await two.wait(execution)).output == {"name": "n"}
    verify(b.home)


@pytest.mark.holds("S13")
async def test_who_restores_behind_a_later_epoch_begins_one_beyond_it(tmp_path: Path) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with a.node() as one, b.node() as two:
        execution, older = await taken_over(a, one, two, tmp_path)
        await two.checkpoint(execution)
        await carry(two, one, execution, tmp_path)
    a.lose_log()
    a.world.calls.clear()
    async with a.node() as one:
        await one.states.restore(older["version"], dry_run=False, actor="t")
        made = await one.checkpoint(execution)
        shown = await one.states.show(made["version"])
        assert (shown.checkpoint.epoch, shown.checkpoint.previous) == (2, older["version"])
