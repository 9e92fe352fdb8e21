"""A node whose checkpoints count only once another store has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import ConfigError, UnavailableError
from tests.kubo.daemon import Daemon
from tests.nodes import until, verify
from tests.test_node import World, node
from tests.test_node_checkpoints import HOLD, RISKY, held, versions

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def test_what_was_taken_away_there_is_sent_again_within_the_call(
    tmp_path: Path, world: World, kubo: Daemon
) -> None:
    async with node(tmp_path, world, storage={"kubo": [kubo.url], "quorum": 2}) as here:
        execution = await held(here, world, HOLD)
        await here.checkpoint(execution)
        kubo.clear()
        made = await here.checkpoint(execution)
        assert str(made["version"]) in kubo.pins()


async def test_a_checkpoint_is_pinned_elsewhere_before_it_is_answered(
    tmp_path: Path, world: World, kubo: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = {"kubo": [kubo.url], "quorum": 2}
    async with node(tmp_path, world, storage=storage) as here:
        execution = await held(here, world, HOLD)
        await here.checkpoint(execution)
        (saved,) = versions(here, execution)
        assert str(_core.Cid(saved.cid)) in kubo.pins()
        kubo.stop()
        with pytest.raises(UnavailableError, match="0 of 1 other stores have it"):
            await here.checkpoint(execution)
        assert len(versions(here, execution)) == 2, "it is durable here all the same"
        said = capsys.readouterr()
        assert "a checkpoint is durable here" in said.out + said.err
        assert "was not kept" not in said.out + said.err
        world.gate.set()
        assert (await here.wait(execution)).output == {"n": 5}
    verify(tmp_path / "home")


async def test_a_step_that_is_to_be_checkpointed_is_not_begun_without_the_quorum(
    tmp_path: Path, world: World, kubo: Daemon
) -> None:
    kubo.stop()
    storage = {"kubo": [kubo.url], "quorum": 2}
    async with node(tmp_path, world, storage=storage) as here:
        execution = await here.start(RISKY)
        await until(lambda: versions(here, execution))
        await until(lambda: here.status()["checkpoints"]["waiting"] == 0)
        assert [step for step, _ in world.calls] == ["/do/0/a"]
    kubo.start()
    async with node(tmp_path, world, storage=storage) as here:
        assert (await here.wait(execution)).status == "completed"
        assert len(world.calls) == 2


async def test_a_quorum_that_can_never_be_met_starts_nothing(tmp_path: Path, world: World) -> None:
    with pytest.raises(ConfigError, match=r"storage\.quorum is 2"):
        async with node(tmp_path, world, storage={"quorum": 2}):
            pass
