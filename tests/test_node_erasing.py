"""Erasures on whole nodes that something keeps from being finished: nothing of them stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core, model
from qflow.audit._erasures import erasure_of
from qflow.config import Config, RetentionRule
from qflow.errors import ErasedError, LockedError, UnavailableError, VerificationError
from qflow.node import Node
from qflow.node._care import open_care
from qflow.node._elsewhere import Elsewhere
from qflow.testing import ManualClock
from qflow.trust import make_envelope, parse_envelope
from tests.nodes import until
from tests.test_node import World, node
from tests.test_node_checkpoints import held, versions
from tests.trust.rings import Party

pytestmark = pytest.mark.anyio
KUBO = {"kubo": ["http://127.0.0.1:9"]}
"""Nothing answers there: what is owed stays owed."""


@pytest.fixture
def world() -> World:
    return World()


async def ended(here: Node, world: World) -> str:
    """An execution with a version that is over."""
    execution = await held(here, world)
    await here.checkpoint(execution, label="a")
    await here.abort(execution)
    return execution


async def erase(here: Node, execution: str) -> str:
    return await here.care.erase(execution, reason="asked", actor="ann")


def owed(here: Node, kind: str) -> set[bytes]:
    query = "SELECT subject FROM outbox WHERE kind = ?"
    rows = here._stored.database.read(lambda db: db.execute(query, (kind,)).fetchall())
    return {subject for (subject,) in rows}


def tombstones(here: Node) -> list[dict[str, Any]]:
    own = here._history.records(here._own._chain)
    return [e.record["meta"] for e in own if e.record["type"] == "q.qflow.history.erased.v1"]


def key_of(here: Node, execution: str) -> int:
    number = here.history(execution)[0]["meta"]["key"]
    assert isinstance(number, int)
    return number


def envelopes(here: Node, execution: str) -> list[bytes]:
    """Those of every epoch, the newest first."""
    chain, ring = model.id_bytes(execution), here._keyring
    return [
        make_envelope(
            ring,
            here._key,
            subnet="default",
            chain=chain,
            number=key_of(here, execution),
            epoch=epoch,
        )[0]
        for epoch in reversed(ring.subnet.epochs)
    ]


class Refusing:
    """The store of states takes nothing for some time."""

    def __init__(self, patch: pytest.MonkeyPatch, times: int) -> None:
        self.left, self.calls, real = times, 0, Elsewhere.erase

        def erase(there: Elsewhere, erased: Any) -> None:
            self.calls += 1
            if self.left:
                self.left -= 1
                raise LockedError("another process has been writing for 10 s")
            real(there, erased)

        patch.setattr(Elsewhere, "erase", erase)


@pytest.mark.holds("S16", "H21")
async def test_an_erasure_that_is_not_finished_says_so_and_is_when_asked_again(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world, storage=KUBO) as here:
        execution = await ended(here, world)
        (envelope,) = envelopes(here, execution)
        store = Refusing(monkeypatch, 2)
        for _ in range(2):
            with pytest.raises(UnavailableError, match=f"{execution} is on record, but not fin"):
                await erase(here, execution)
            assert len(versions(here, execution)) == 1
        assert await erase(here, execution) == execution
        assert versions(here, execution) == []
        assert envelope in owed(here, "remove")
        # What a store that was put back has of it goes as well.
        calls = store.calls
        with pytest.raises(ErasedError, match="by ann: asked"):
            await here.care.erase(execution, reason="once more", actor="bob")
        assert store.calls == calls + 1
        assert len(tombstones(here)) == 1


@pytest.mark.holds("S16", "H21")
async def test_an_erasure_that_is_not_finished_is_finished_by_itself(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    config = Config(home=tmp_path / "home", storage=KUBO)
    async with Node(config, clock=clock, functions=world.functions) as here:
        execution = await ended(here, world)
        store = Refusing(monkeypatch, 3)
        with pytest.raises(UnavailableError):
            await erase(here, execution)
        with anyio.fail_after(20):
            while store.calls < 4:
                await clock.advance(1_000)
                await anyio.lowlevel.checkpoint()
        await until(lambda: not here.care._erasing.is_unfinished)
        assert versions(here, execution) == []
        assert len(tombstones(here)) == 1


@pytest.mark.holds("S16")
async def test_a_key_that_could_not_be_overwritten_gets_no_second_tombstone(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        execution = await ended(here, world)

        def refuse(*_: Any) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(here._keyring, "shred", refuse)
            with pytest.raises(UnavailableError, match="Input/output"):
                await erase(here, execution)
        assert await erase(here, execution) == execution
        assert here._keyring.is_destroyed(key_of(here, execution))
        assert len(tombstones(here)) == 1


@pytest.mark.holds("S16")
async def test_retention_finishes_what_was_left_first(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world) as here:
        execution = await ended(here, world)
        Refusing(monkeypatch, 2)
        rules = [RetentionRule(payloads_days=0)]
        for _ in range(2):
            with pytest.raises(UnavailableError, match="not finished"):
                [step async for step in here.care.retain(rules, actor="ann", dry_run=False)]
        assert [step async for step in here.care.retain(rules, actor="ann", dry_run=False)]
        assert versions(here, execution) == []
        assert len(tombstones(here)) == 1


@pytest.mark.holds("S16", "H21")
async def test_every_envelope_is_removed_also_when_the_store_was_lost(
    tmp_path: Path, world: World
) -> None:
    """Those of all epochs, at an endpoint that this `state.db` never told of them."""
    async with node(tmp_path, world, storage=KUBO) as here:
        execution = await ended(here, world)
        await here.keys.rotate(forget=False, actor="ann")
        await here.keys.rotate(forget=False, actor="ann")
        sent = envelopes(here, execution)
        assert len(set(sent)) == 3
    for path in (tmp_path / "home").glob("state.db*"):
        path.unlink()
    async with node(tmp_path, world, storage=KUBO) as here:
        await erase(here, execution)
        assert owed(here, "remove") == set(sent)
        (meta,) = tombstones(here)
        assert [meta["envelope"], *meta["earlier"]] == [str(_core.Cid(cid)) for cid in sent]
        assert erasure_of(meta).envelopes == tuple(sent)  # type: ignore[union-attr]
    # Also at an endpoint that comes later.
    more = {"kubo": [*KUBO["kubo"], "http://127.0.0.1:10"]}
    async with node(tmp_path, world, storage=more) as here:
        query = "SELECT count(*) FROM outbox WHERE kind = 'remove' GROUP BY endpoint"
        assert here._stored.database.read(lambda db: db.execute(query).fetchall()) == [(3,), (3,)]


@pytest.mark.holds("S16")
async def test_a_tombstone_names_as_many_envelopes_as_fit(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [bytes(_core.cid_of(_core.encode(n))) for n in range(500)]
    async with node(tmp_path, world) as here:
        executions = [await ended(here, world), await ended(here, world)]
        monkeypatch.setattr(Elsewhere, "envelopes", lambda *_: many)
        for execution, reason in zip(executions, ("asked", "\U0001f511" * 500), strict=True):
            await here.care.erase(execution, reason=reason, actor="ann")
        short, long = tombstones(here)
        assert len(short["earlier"]) > len(long["earlier"]) > 50
    async with open_care(here._config):
        pass


@pytest.mark.holds("S12", "S16")
async def test_a_checkpoint_that_waited_is_not_kept_once_its_execution_is_erased(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path, world, storage=KUBO) as here:
        execution = await held(here, world)
        states, shut = here._stored.states, [True]
        real, met = states.commit_many, []

        def commit_many(drafts: Any) -> Any:
            if shut[0]:
                met.append(1)
                raise LockedError("another process has been writing for 10 s")
            return real(drafts)

        monkeypatch.setattr(states, "commit_many", commit_many)
        raised: list[str] = []

        async def ask() -> None:
            try:
                await here.checkpoint(execution, label="x")
            except Exception as error:  # noqa: BLE001 - which one it is, is the question
                raised.append(type(error).__name__)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await until(lambda: bool(met))
                await here.abort(execution)
                await erase(here, execution)
                shut[0] = False
        assert raised == ["ErasedError"]
        assert versions(here, execution) == []
        assert owed(here, "pin") == set()


@pytest.mark.holds("S14", "S17")
async def test_a_trusted_node_cannot_shut_an_execution_of_our_own(
    tmp_path: Path, world: World
) -> None:
    """Its envelope wraps another key under the name of ours."""
    async with node(tmp_path, world) as here:
        execution = await held(here, world)
        chain, number = model.id_bytes(execution), key_of(here, execution)
        other = Party(tmp_path / "other", "other")
        other.ring._tag = number >> 32
        forged = next(k for k in iter(other.ring.take, None) if k.number == number)
        here._keyring.subnet.add(other.key.did, other.ring.subnet.exported())
        block = other.envelope(chain, forged.number)
        home = here.states._home
        assert home is not None
        with pytest.raises(VerificationError, match="here already"):
            await anyio.to_thread.run_sync(home.adopt_key, block)
        world.gate.set()
        assert (await here.wait(execution)).output == {"n": 5}
    async with node(tmp_path, world) as here:
        assert here.show(execution).output == {"n": 5}
        with pytest.raises(VerificationError, match="here already"):
            here._keyring.adopt(parse_envelope(block))
