"""A node beside a process that keeps `state.db` to itself: it stays up, and puts things off."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from qflow.config import Config
from qflow.errors import LockedError, UnavailableError
from qflow.node import Node
from qflow.storage import _file
from qflow.storage._endpoint import BACKOFF_S_MAX
from qflow.testing import ManualClock
from tests.kubo.daemon import Daemon
from tests.nodes import until, verify
from tests.storage.outboxes import kept_by_another
from tests.test_node import World, flow, node
from tests.test_node_checkpoints import HOLD, held, versions

pytestmark = pytest.mark.anyio

BACKOFF_MS = round(1000 * BACKOFF_S_MAX)
NOTE = flow("do: [{a: {call: note}}]")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file, "BUSY_S", 0.02)


@pytest.mark.holds("S2")
async def test_a_store_that_is_locked_behind_a_checkpoint_fails_its_quorum_and_not_the_node(
    tmp_path: Path, world: World, kubo: Daemon
) -> None:
    async with node(tmp_path, world, storage={"kubo": [kubo.url], "quorum": 2}) as here:
        execution = await held(here, world, HOLD)
        confirm = here._checkpoints._confirm
        assert confirm is not None

        async def locked(subjects: Sequence[bytes]) -> None:
            with kept_by_another(tmp_path / "home" / "state.db"):
                await confirm(subjects)

        here._checkpoints._confirm = locked
        with pytest.raises(UnavailableError, match=r"another process .* it is durable here"):
            await here.checkpoint(execution)
        assert len(versions(here, execution)) == 1
        world.gate.set()
        assert (await here.wait(execution)).status == "completed"
    verify(tmp_path / "home")


async def test_a_node_begins_beside_a_locked_store(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world, storage={"kubo": ["http://127.0.0.1:1"]}):
        pass
    clock = ManualClock()
    with ExitStack() as kept:
        kept.enter_context(kept_by_another(tmp_path / "home" / "state.db"))
        async with Node(
            Config(home=tmp_path / "home"), clock=clock, functions=world.functions
        ) as here:
            assert await here.run(NOTE) == {"step": "/do/0/a"}
            outbox = here._stored.elsewhere.outbox
            assert len(outbox.status()) == 1
            kept.close()
            await clock.advance(BACKOFF_MS)
            await until(lambda: not outbox.status())


@pytest.mark.holds("S16")
async def test_a_rotation_is_told_when_the_store_is_free_again(
    tmp_path: Path, world: World
) -> None:
    home = tmp_path / "home"
    async with node(tmp_path, world) as here:
        here.keys.rotated = _locked
        with pytest.raises(LockedError):
            await here.keys.rotate(forget=False, actor="ann")
    clock = ManualClock()
    with ExitStack() as kept:
        kept.enter_context(kept_by_another(home / "state.db"))
        async with Node(Config(home=home), clock=clock, functions=world.functions) as here:
            assert await here.run(NOTE) == {"step": "/do/0/a"}
            epoch = here._keyring.subnet.ring.epoch
            with pytest.raises(LockedError):
                await here.keys.rotate(forget=False, actor="ann")
            assert (here._keyring.is_behind, here._keyring.subnet.ring.epoch) == (True, epoch)
            kept.close()
            await clock.advance(BACKOFF_MS)
            await until(lambda: not here._keyring.is_behind)


def _locked() -> None:
    raise LockedError("another process has been writing")
