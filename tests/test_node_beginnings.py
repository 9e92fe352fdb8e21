"""What a start begins from: the newest good checkpoint, and never what the log does not name."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from qflow import model
from qflow.config import Config
from qflow.engine import Identity, Live, _replay, load_flow
from qflow.engine._replay import replay
from qflow.engine._sealed import Asked, inline
from qflow.engine._state import Command, State
from qflow.errors import CorruptError, VerificationError
from qflow.node._archive import Archive
from qflow.node._files import open_files
from tests.nodes import until, verify
from tests.test_node import World, flow, node
from tests.test_node_checkpoints import HOLD, MANY, begins, held, marks, versions

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.holds("S4", "S8", "E2")
async def test_a_start_replays_from_the_newest_checkpoint_alone(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world, checkpoint={"every_facts": 10}) as here:
        execution = await held(here, world, MANY, {"name": "n"})
    seen: list[int] = []
    inner = _replay._compare

    def compare(restored: Any, fact: Any, found: Any) -> None:
        seen.append(restored.seq + 1)
        inner(restored, fact, found)

    monkeypatch.setattr(_replay, "_compare", compare)
    async with node(tmp_path, world) as here:
        newest = versions(here, execution)[0].seq
        assert min(seen) == newest + 1
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": "n"}


def damage(home: Path, cid: bytes) -> None:
    """Change a byte of a block where it lies."""
    with closing(sqlite3.connect(home / "state.db")) as db:
        (place,) = db.execute("SELECT place FROM block WHERE cid = ?", (cid,)).fetchone()
        (data,) = db.execute("SELECT data FROM block_data WHERE place = ?", (place,)).fetchone()
        changed = data[:-1] + bytes([data[-1] ^ 1])
        db.execute("UPDATE block_data SET data = ? WHERE place = ?", (changed, place))
        db.commit()


@pytest.mark.holds("S8", "S11", "S14")
@pytest.mark.parametrize("what", ["state", "cid"])
async def test_a_bad_checkpoint_is_refused_and_the_one_before_is_begun_from(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    async with node(tmp_path, world) as here:
        execution = await held(here, world, MANY, {"name": "n"})
        for _ in range(2):
            await here.checkpoint(execution)
            await here.pause(execution)
            await here.resume(execution)
        newest, before = versions(here, execution)
    damage(tmp_path / "home", getattr(newest, what))
    async with node(tmp_path, world) as here:
        out = capsys.readouterr().out
        assert "a checkpoint is not begun from" in out
        assert f"seq={newest.seq}" in out
        assert begins(here, execution) == before.seq
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": "n"}
    verify(tmp_path / "home")


@pytest.mark.holds("S8", "S14")
@pytest.mark.parametrize("how", ["gone", "rolled back"])
async def test_a_store_that_is_older_than_the_log_makes_a_replay_longer_and_nothing_else(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    home = tmp_path / "home"
    async with node(tmp_path, world) as here:
        execution = await held(here, world, MANY, {"name": "n"})
        first = await here.checkpoint(execution)
    shutil.copy(home / "state.db", tmp_path / "old")
    async with node(tmp_path, world) as here:
        newest = await here.checkpoint(execution)
    for file in home.glob("state.db*"):
        file.unlink()
    if how == "rolled back":
        shutil.copy(tmp_path / "old", home / "state.db")
    async with node(tmp_path, world) as here:
        expected = first["seq"] if how == "rolled back" else 0
        out = capsys.readouterr().out
        assert "a checkpoint is not begun from" in out
        assert f"begins={expected}" in out
        assert f"seq={newest['seq']}" in out
        assert begins(here, execution) == expected
        made = await here.checkpoint(execution)
        assert begins(here, execution) == made["seq"]
        here._stored.states.check(versions(here, execution)[0].cid)
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": "n"}
    verify(home)


@pytest.mark.holds("S8", "S14")
async def test_a_version_of_another_history_is_not_begun_from(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        execution = await held(here, world, MANY, {"name": "n"})
        first, second = await here.checkpoint(execution), await here.checkpoint(execution)
        newest, before = versions(here, execution)
        chain = model.id_bytes(execution)
        for changes in (
            # The row says another place than the version; the version is of another record.
            {"cid": before.cid},
            {"seq": before.seq},
            {"seq": 1},
        ):
            wrong = msgspec.structs.replace(newest, **changes)
            with pytest.raises(VerificationError):
                here._archive._checked(here._stored.states, chain, wrong)
        monkeypatch.setattr(here._stored.states, "history", lambda _: [wrong, before])
        assert begins(here, execution) == first["seq"] < second["seq"]


@pytest.mark.holds("S8", "E3")
async def test_records_of_an_older_form_are_replayed_and_not_begun_from(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """There the state itself was the payload of the checkpoint's record."""
    config = Config(home=tmp_path / "home")
    async with node(tmp_path, world) as here:
        execution = await held(here, world, MANY, {"name": "n"})
    async with open_files(config) as files:
        archive = Archive(
            files.index, files.history, files.log, files.keys, None, node=files.key.did
        )
        text = load_flow(MANY)
        found = replay(text, execution, archive.entries(execution), archive.key(execution))
        live = Live.of(text, here.show(execution).definition, found)
        identity = Identity(node=files.key.did, subnet="default")
        records, blocks = live._encode([inline(live.state)], live.state.now, identity, "old")
        await files.log.append(records, blocks)
    async with node(tmp_path, world) as here:
        assert "it was written in an older form" in capsys.readouterr().out
        assert begins(here, execution) == 0
        (mark,) = marks(here, execution)
        assert mark["payload"] is not None
        made = await here.checkpoint(execution)
        assert begins(here, execution) == made["seq"]
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": "n"}
    verify(tmp_path / "home")


@pytest.mark.holds("E2", "S1")
async def test_a_crash_between_the_record_and_the_store_loses_nothing(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        execution = await held(here, world, MANY, {"name": "n"})
        first = await here.checkpoint(execution)
        monkeypatch.setattr(here._checkpoints, "keep", lambda checkpoint, done: None)
        async with anyio.create_task_group() as group:
            group.start_soon(here.checkpoint, execution)
            await until(lambda: len(marks(here, execution)) == 2)
            group.cancel_scope.cancel()
    async with node(tmp_path, world) as here:
        assert begins(here, execution) == first["seq"]
        await here.checkpoint(execution)
        saved = versions(here, execution)[0]
        # The next version carries all records, also that of the one that was not kept.
        here._stored.states.check(saved.cid)
        world.gate.set()
        assert (await here.wait(execution)).output == {"name": "n"}
    verify(tmp_path / "home")


async def test_a_damaged_store_says_what_to_do(tmp_path: Path, world: World) -> None:
    async with node(tmp_path, world) as here:
        await here.run(flow("do: [{n: {call: note}}]"))
    (tmp_path / "home" / "state.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptError, match=r"state\.db"):
        async with node(tmp_path, world):
            raise AssertionError


def test_an_execution_without_a_key_gets_no_checkpoint() -> None:
    text = load_flow(HOLD)
    live = Live(text, "", State(id=model.id_text(bytes(16)), flow=text.key), None)
    live.since = 5
    assert live.due([], 1) is None
    # A step that wants one is not begun without: the asking is refused below.
    assert live.due([Command(kind="checkpoint")], 1) == Asked(why="step")
    with pytest.raises(ValueError, match="before payloads were sealed"):
        live.checkpoint(Asked(why="asked"), 0, Identity(node="n", subnet="s"), "a")
