"""The outbox while another process keeps `state.db` to itself: a typed error, or later."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from qflow.errors import LockedError, PoisonedError, UnavailableError
from qflow.storage import Database, _file
from qflow.storage._endpoint import BACKOFF_S_MAX
from qflow.testing import ManualClock
from tests.nodes import until
from tests.storage.bad_kubo import bad_kubo, refuse
from tests.storage.outboxes import home, kept_by_another, node

pytestmark = pytest.mark.anyio

ROOT = node(text="a root")
STATE = "state.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file, "BUSY_S", 0.02)


@pytest.mark.holds("S2")
async def test_a_locked_store_is_a_plain_error(tmp_path: Path) -> None:
    with bad_kubo(refuse) as bad, home(tmp_path, bad.url) as here:
        here.keep(ROOT)
        with (
            kept_by_another(tmp_path / STATE),
            pytest.raises(UnavailableError, match=r"0 of 1 .* another process .* durable here"),
        ):
            await here.outbox.settle([ROOT[0]], 1)
        (status,) = await here.outbox.catch_up()
        assert (status.pins, "something is wrong in here" in str(status.problem)) == (1, True)
    with (
        bad_kubo(refuse) as bad,
        home(tmp_path, bad.url) as here,
        kept_by_another(tmp_path / STATE),
        pytest.raises(LockedError, match="another process"),
    ):
        await here.outbox.catch_up()


async def test_a_store_that_is_not_written_any_more_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(*_: object) -> None:
        raise PoisonedError("the disk failed")

    with bad_kubo(refuse) as bad, home(tmp_path, bad.url) as here:
        here.keep(ROOT)
        monkeypatch.setattr(here.database, "submit", poisoned)
        with pytest.raises(PoisonedError, match="the disk failed"):
            await here.outbox.settle([ROOT[0]], 1)
        with pytest.raises(PoisonedError, match="the disk failed"):
            await here.outbox.catch_up()


async def test_it_begins_although_the_store_is_locked_and_forgets_endpoints_later(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    with home(tmp_path, "http://127.0.0.1:1", clock=clock) as here:
        here.keep(ROOT)
    with home(tmp_path, clock=clock) as here:
        assert len(here.outbox.status()) == 1
        async with anyio.create_task_group() as tasks:
            with kept_by_another(tmp_path / STATE):
                tasks.start_soon(here.outbox.run)
                await until(lambda: clock._sleepers)
            await clock.advance(round(1000 * BACKOFF_S_MAX))
            await until(lambda: not here.outbox.status())


async def test_nothing_is_written_when_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home(tmp_path):
        pass
    written: list[object] = []
    monkeypatch.setattr(Database, "submit", lambda _, job, done: written.append(job))
    with home(tmp_path) as here, anyio.fail_after(20):
        await here.outbox.run()
    assert written == []
