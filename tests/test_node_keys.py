"""Keys on whole nodes: an execution that came from another one is erased like one of our own, a
rotation reaches everything, and no secret shows."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core, model
from qflow.audit._own import own_chain
from qflow.config import Config
from qflow.errors import (
    ErasedError,
    HeldError,
    SigningKeyError,
    UnavailableError,
    VerificationError,
)
from qflow.events import CloudEvent
from qflow.node import Node
from qflow.node._care import Care, open_care
from qflow.node._elsewhere import Elsewhere
from qflow.node._key_care import ROTATED, open_key_care
from qflow.trust import (
    Keyring,
    Signers,
    _key,
    load_or_create_key,
    make_envelope,
    open_envelope,
    parse_envelope,
    protect_key,
    read_key_file,
    write_key_file,
)
from qflow.trust._passphrase import Cost
from tests.kubo.daemon import Daemon
from tests.nodes import verify
from tests.test_node import flow

pytestmark = pytest.mark.anyio
WAITS = flow("do: [{l: {listen: {to: {one: {with: {type: go}}}}}}, {s: {set: '${ . }'}}]", "waits")
ECHO = flow("do: [{a: {set: '${ . }'}}]", "echo")
SECRET = "marker-of-a-person"
GO = CloudEvent(id="1", source="urn:t", type="go", data={"name": SECRET})


@asynccontextmanager
async def node(home: Path, **settings: Any) -> AsyncIterator[Node]:
    async with Node(Config(home=home, **settings)) as here:
        yield here


class Moved:
    """An execution that began in one home and went on in another, which adopted its key."""

    def __init__(self, folder: Path) -> None:
        self.theirs, self.ours = folder / "theirs", folder / "ours"
        self.car, self.keys = folder / "a.car", folder / "a.keys"
        self.execution = ""

    @property
    def chain(self) -> bytes:
        return model.id_bytes(self.execution)

    async def begin(self) -> None:
        async with node(self.theirs) as here:
            self.execution = await here.start(WAITS, {"name": SECRET})
            await here.states.create(self.execution, label=None, description=None, actor="ann")
            self.car.unlink(missing_ok=True)
            async for _ in here.states.export(
                [self.execution], str(self.car), with_key=True, replace=False
            ):
                pass
        export_keys(self.theirs, self.keys)

    async def adopt(self, here: Node) -> list[Any]:
        await here.keys.bring(read_key_file(self.keys, bytes), actor="ann")
        steps = [step async for step in here.states.import_(str(self.car))]
        await here.states.restore(self.execution, dry_run=False, actor="ann")
        return steps


def export_keys(home: Path, path: Path) -> None:
    key = load_or_create_key(home)
    ring = Keyring(home, lambda: key.seed)
    path.unlink(missing_ok=True)
    write_key_file(path, ring.subnet.exported(), key, subnet="default")


@pytest.fixture
async def moved(tmp_path: Path) -> Moved:
    made = Moved(tmp_path)
    await made.begin()
    return made


async def finished(moved: Moved, here: Node) -> None:
    """The execution goes on here to its end."""
    await moved.adopt(here)
    await here.emit(GO)
    with anyio.fail_after(20):
        await here.wait(moved.execution)


@pytest.mark.holds("H21")
@pytest.mark.holds("S16")
async def test_an_execution_from_elsewhere_is_erased_for_good(moved: Moved) -> None:
    """Its adopted key, its states and its envelope: also after its CAR comes in again, and after
    copies of every file of keys are put back."""
    copy = moved.ours.with_name("copy")
    async with node(moved.ours) as here:
        await finished(moved, here)
        assert here._keyring.count_adopted() == 1
        shown = here.show(moved.execution)
        assert SECRET in str(shown.output)
    shutil.copytree(moved.ours, copy)
    async with node(moved.ours) as here:
        held = await here.care.hold(execution=moved.execution, reason="case", by="ann")
        with pytest.raises(HeldError):
            await here.care.erase(moved.execution, reason="asked", actor="ann")
        assert not here._keyring.is_destroyed_of(moved.chain, number_of(here, moved))
        await here.care.release(held.id, reason="over", actor="ann")
        await here.care.erase(moved.execution, reason="asked", actor="ann")
        await gone(moved, here)
        with pytest.raises(ErasedError, match="was erased already"):
            await here.care.erase(moved.execution, reason="asked", actor="ann")
        await taken_again(moved, here)
    verify(moved.ours)
    for names in (("adopted.keys",), ("adopted.keys", "keys", "subnet.keys", "state.db"), None):
        for name in names or ("adopted.keys", "state.db"):
            path = moved.ours / name
            path.unlink(missing_ok=True)
            if names:
                shutil.copy(copy / name, path)
        async with node(moved.ours) as here:
            if names:
                await gone(moved, here)
            await taken_again(moved, here)
            assert here.show(moved.execution).output is None
    verify(moved.ours)


def number_of(here: Node, moved: Moved) -> int:
    number: int = here.history(moved.execution)[0]["meta"]["key"]
    return number


async def gone(moved: Moved, here: Node) -> None:
    number = number_of(here, moved)
    assert here._keyring.is_destroyed_of(moved.chain, number)
    with pytest.raises(ErasedError):
        here._keyring.key_of(moved.chain, number)
    assert here.show(moved.execution).payloads == "erased"
    assert here._stored.states.history(moved.chain) == []


async def taken_again(moved: Moved, here: Node) -> None:
    """The same file of states comes in again: its key is not taken, and nothing is readable."""
    number = number_of(here, moved)
    steps = [step async for step in here.states.import_(str(moved.car))]
    assert steps[-1].result.keys == 0
    with pytest.raises((ErasedError, UnavailableError)):
        here._keyring.key_of(moved.chain, number)


@pytest.mark.holds("S16")
@pytest.mark.parametrize("where", ["before the key", "before the states", "after the states"])
async def test_an_erasure_that_a_crash_cut_short_is_finished(
    moved: Moved, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qflow.node import _erasing

    class DiedError(Exception):
        pass

    def die(*_: Any) -> None:
        raise DiedError

    async with node(moved.ours) as here:
        await finished(moved, here)
        with monkeypatch.context() as patch:
            if where == "before the key":
                patch.setattr(_erasing, "shred", die)
            elif where == "before the states":
                patch.setattr(Elsewhere, "erase", die)
            else:
                real = Elsewhere.erase

                def erase_and_die(*all_: Any) -> None:
                    real(*all_)
                    die()

                patch.setattr(Elsewhere, "erase", erase_and_die)
            with pytest.raises(DiedError):
                await here.care.erase(moved.execution, reason="asked", actor="ann")
    async with node(moved.ours) as here:
        await gone(moved, here)
        await taken_again(moved, here)
    async with open_care(Config(home=moved.ours)) as care:
        assert isinstance(care, Care)


@pytest.mark.holds("H21")
async def test_our_own_key_of_the_same_number_is_not_destroyed(
    moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = (moved.theirs / "keys").read_bytes()
    number = int.from_bytes(theirs[4096 + 8 : 4096 + 16], "little")
    monkeypatch.setattr("qflow.trust._keyring.random_bytes", _chance_with_tag(number >> 32))
    async with node(moved.ours) as here:
        assert await here.run(ECHO, {"name": "ours"}) == {"name": "ours"}
        (ours,) = here.list()
        await finished(moved, here)
        assert number_of(here, moved) == here.history(ours.id)[0]["meta"]["key"]
        await here.care.erase(moved.execution, reason="asked", actor="ann")
        assert here.show(ours.id).output == {"name": "ours"}
    (moved.ours / "adopted.keys").unlink()
    async with node(moved.ours) as here:
        assert here.show(ours.id).output == {"name": "ours"}
        with pytest.raises(VerificationError, match="another key"):
            here.show(moved.execution)


def _chance_with_tag(tag: int) -> Any:
    from qflow.clock import random_bytes

    def drawn(size: int) -> bytes:
        return (tag << 3).to_bytes(3, "big") if size == 3 else random_bytes(size)

    return drawn


async def test_a_rotation_beside_running_executions(moved: Moved) -> None:
    async with node(moved.ours) as here:
        await moved.adopt(here)
        waiting = await here.start(WAITS, {"name": "ours"})
        for turn in range(3):
            done = await here.keys.rotate(forget=turn == 1, actor="ann")
            assert done.epoch == turn + 1
            assert await here.run(ECHO, {"turn": turn}) == {"turn": turn}
        await here.emit(GO)
        for execution in (moved.execution, waiting):
            with anyio.fail_after(20):
                assert SECRET in str((await here.wait(execution)).output)
        own = here._history.records(own_chain(here._key.public), limit=100)
        rotated = [entry.record for entry in own if entry.record["type"] == ROTATED]
        assert [record["meta"]["epoch"] for record in rotated] == [1, 2, 3]
    async with node(moved.ours) as here:
        assert SECRET in str(here.show(moved.execution).output)
        assert here._keyring.subnet.ring.oldest == 2
    verify(moved.ours)


@pytest.mark.holds("S16")
async def test_a_rotation_that_died_is_told_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, told = tmp_path / "home", list[int]()
    async with node(home) as here:
        await here.run(ECHO, {"n": 1})
        (done,) = here.list()
        with monkeypatch.context() as patch:
            patch.setattr(Keyring, "_finish", _fail)
            with pytest.raises(UnavailableError, match="not rotated to the end"):
                await here.keys.rotate(forget=True, actor="ann")
        assert here.show(done.id).output == {"n": 1}
    monkeypatch.setattr(Elsewhere, "rotated", lambda _: told.append(1))
    async with node(home) as here:
        assert here._keyring.subnet.ring.oldest == 1
        assert here.show(done.id).output == {"n": 1}
        assert told == [1]
    async with open_key_care(Config(home=home)):
        pass
    assert told == [1]


def _fail(_: Any) -> None:
    raise OSError(5, "Input/output error")


async def test_a_protected_home_needs_its_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, file = tmp_path / "home", tmp_path / "passphrase"
    async with node(home) as here:
        await here.run(ECHO, {"n": 1})
    file.touch(mode=0o600)
    file.write_text("correct horse\n")
    protect_key(home, b"correct horse", cost=Cost(1, 1 << 20))
    _key._opened.clear()
    with pytest.raises(SigningKeyError, match="there is no passphrase"):
        async with node(home):
            pass
    async with node(home, keys={"passphrase_file": file}) as here:
        assert here.show(here.list()[0].id).output == {"n": 1}
        await here.run(ECHO, {"n": 2})


async def test_an_envelope_of_this_node_opens_after_its_home_is_gone(tmp_path: Path) -> None:
    """All that is left is the node's key: epoch 0 comes from it."""
    home, key = tmp_path / "home", load_or_create_key(tmp_path / "home")
    async with node(home) as here:
        await here.run(ECHO, {"n": 1})
        (done,) = here.list()
        chain, number = model.id_bytes(done.id), here.history(done.id)[0]["meta"]["key"]
        _, block = make_envelope(here._keyring, key, subnet="default", chain=chain, number=number)
    for path in home.iterdir():
        if path.name != "node.key":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    ring = Keyring(home, lambda: key.seed)
    assert parse_envelope(block).epoch == 0
    assert ring.adopt(open_envelope(block, ring, Signers(key.did), subnet="default"))
    assert ring.key_of(chain, number).number == number


@pytest.mark.holds("S12")
@pytest.mark.holds("H21")
@pytest.mark.parametrize("kubo_is", ["there", "away"])
async def test_rotation_and_erasure_reach_the_envelopes_on_kubo(
    tmp_path: Path, kubo: Daemon, kubo_is: str
) -> None:
    """The old envelope is replaced; after an erasure none is left, nor any version."""
    home = tmp_path / "home"
    async with node(home, storage={"kubo": [kubo.url]}) as here:
        execution = await here.start(WAITS, {"name": SECRET})
        await here.states.create(execution, label=None, description=None, actor="ann")
        first = await envelope_on(kubo, here, execution)
        await here.keys.rotate(forget=True, actor="ann")
        second = await envelope_on(kubo, here, execution)
        assert first != second
        assert not is_on(kubo, first)
        assert is_on(kubo, second)
        await here.abort(execution, actor="ann")
        if kubo_is == "away":
            await anyio.to_thread.run_sync(kubo.stop)
        await here.care.erase(execution, reason="asked", actor="ann")
    await anyio.to_thread.run_sync(kubo.start)
    async with node(home, storage={"kubo": [kubo.url]}) as here:
        await synced(here)
        assert kubo.pins() == {}
        assert not is_on(kubo, second)
        number = here.history(execution)[0]["meta"]["key"]
        assert here._keyring.is_destroyed(number)


async def envelope_on(kubo: Daemon, here: Node, execution: str) -> str:
    """The CID of the envelope that belongs on the endpoint now, once that is up to date."""
    await synced(here)
    number = here.history(execution)[0]["meta"]["key"]
    cid = here._stored.elsewhere.make(model.id_bytes(execution), number)[0]
    assert str(_core.Cid(cid)) in kubo.pins()
    return str(_core.Cid(cid))


async def synced(here: Node) -> None:
    async for _ in here.states.sync():
        pass


def is_on(kubo: Daemon, cid: str) -> bool:
    return kubo.try_ipfs("block", "get", "--offline", cid).returncode == 0
