"""An execution goes on elsewhere from an older checkpoint, although a newer one lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow import model
from tests.nodes import verify
from tests.test_node_adoption import Place, carry, held, trust

pytestmark = pytest.mark.anyio


@pytest.mark.holds("S8", "S10")
async def test_what_follows_is_kept_behind_the_checkpoint_that_was_restored(tmp_path: Path) -> None:
    a, b = Place(tmp_path / "a"), Place(tmp_path / "b")
    async with a.node() as one, b.node() as two:
        execution = await held(a, one)
        older = await one.checkpoint(execution)
        await trust(one, two, tmp_path)
        await carry(one, two, execution, tmp_path)
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
