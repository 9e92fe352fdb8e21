"""An execution goes on at another node: from a file and the keys, or from where it left off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qflow import _core, model
from qflow.errors import ExecutionStateError, StaleError, UnavailableError, VerificationError
from qflow.node import Node, _adoption
from qflow.node._states_open import open_state_care
from tests.nodes import turns, verify
from tests.places import Place, carry, held, last, places, sent, taken_over, trust

__all__ = ["places"]
pytestmark = pytest.mark.anyio
RESTORED = "q.qflow.state.restored.v1"


@pytest.mark.holds("S4", "S10", "E2")
async def test_an_execution_goes_on_elsewhere_and_its_history_verifies_there(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, made = await sent(a, one, two, tmp_path)
        done = await two.states.restore(execution, dry_run=True, actor="t")
        assert (done.records, done.present) == (made["seq"] + 1, 0)
        assert two.list() == []
        done = await two.states.restore(execution, dry_run=False, actor="ann")
        assert done.records == made["seq"] + 1
        b.world.gate.set()
        assert (await two.wait(execution)).output == {"name": "n"}
        # What is behind the checkpoint is done there alone, the step under way once more.
        assert b.steps() == ["/do/1/h"]
        there, here = two.history(execution), one.history(execution)
        there = [record | {"index": 0} for record in there[: len(here)]]
        assert there == [record | {"index": 0} for record in here]
        entries = two._history.records(model.id_bytes(execution))
        records = [entry.record for entry in entries]
        own = [r for r in records if r["node"] == two._key.did]
        assert {r["epoch"] for r in own} == {1}
        assert own[0]["type"] == "q.qflow.exec.recovered.v1"
        (row,) = [e.record for e in two._history.records(_own(two)) if e.record["type"] == RESTORED]
        assert (row["actor"], row["meta"]["version"]) == ("ann", made["version"])
        # Again is no harm, and says that it is over.
        with pytest.raises(ExecutionStateError):
            await two.states.restore(execution, dry_run=False, actor="ann")
    verify(a.home)
    verify(b.home)


def _own(here: Node) -> bytes:
    from qflow.audit._own import own_chain

    return own_chain(here._key.public)


async def test_a_stopped_node_finds_it_at_its_next_start(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one:
        async with b.node() as two:
            execution = await held(a, one)
            await one.checkpoint(execution)
            await trust(one, two, tmp_path)
        async with open_state_care(b.config) as care:
            file = tmp_path / "x.car"
            await last(one.states.export([execution], str(file), with_key=True, replace=True))
            await last(care.import_(str(file)))
            await care.restore(execution, dry_run=False, actor="t")
    async with b.node() as two:
        b.world.gate.set()
        assert (await two.wait(execution)).output == {"name": "n"}
    async with b.node() as two:
        assert two.show(execution).output == {"name": "n"}
    verify(b.home)


@pytest.mark.holds("S13")
async def test_who_was_overtaken_writes_no_version_and_goes_on_with_nothing(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, _ = await taken_over(a, one, two, tmp_path)
        await two.checkpoint(execution)
        await carry(two, one, execution, tmp_path)
        with pytest.raises(StaleError):
            await one.checkpoint(execution)
        calls = len(a.world.calls)
        a.world.gate.set()
        await turns()
        assert len(a.world.calls) == calls
        with pytest.raises(StaleError):
            await one.pause(execution)
        # Its own history went another way by the record of that checkpoint.
        with pytest.raises(ExecutionStateError, match="another history"):
            await one.states.restore(execution, dry_run=False, actor="t")
    verify(a.home)


async def test_it_comes_back_to_where_it_began(places: tuple[Place, Place], tmp_path: Path) -> None:
    """The chain here is the beginning of the one that comes: the rest is appended."""
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, _ = await taken_over(a, one, two, tmp_path)
        await two.pause(execution)
        made = await two.checkpoint(execution)
        await carry(two, one, execution, tmp_path)
        before = one.show(execution).seq
        done = await one.states.restore(execution, dry_run=False, actor="t")
        assert (done.present, done.records) == (before + 1, made["seq"] - before)
        assert one.show(execution).status == "paused"
        await one.resume(execution)
        a.world.gate.set()
        assert (await one.wait(execution)).output == {"name": "n"}
        records = one._history.records(model.id_bytes(execution), limit=1000)
        assert [e.record["epoch"] for e in records][-1] == 2
    verify(a.home)
    verify(b.home)


@pytest.mark.holds("S17", "E2")
@pytest.mark.parametrize("appended", [0, 1, 3])
async def test_a_restore_that_is_cut_off_is_not_gone_on_with_and_done_again(
    places: tuple[Place, Place],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    appended: int,
) -> None:
    monkeypatch.setattr(_adoption, "PIECE_RECORDS_MAX", 5)
    a, b = places
    async with a.node() as one:
        execution = await held(a, one)
        await one.pause(execution)
        made = await one.checkpoint(execution)
        async with b.node() as two:
            await trust(one, two, tmp_path)
            await carry(one, two, execution, tmp_path)
            inner, count = two._log.append, [0]

            async def append(*batch: Any) -> int:
                if count[0] == appended:
                    raise OSError("the machine dies here")
                count[0] += 1
                return await inner(*batch)

            with monkeypatch.context() as patched:
                patched.setattr(two._log, "append", append)
                with pytest.raises(OSError, match="dies here"):
                    await two.states.restore(execution, dry_run=False, actor="t")
    b.world.gate.set()
    async with b.node() as two:
        await turns()
        if appended:
            assert "restore it again" in capsys.readouterr().out
            with pytest.raises(UnavailableError, match="restore it again"):
                await two.resume(execution)
        done = await two.states.restore(execution, dry_run=False, actor="t")
        assert (done.present, done.records) == (5 * appended, made["seq"] + 1 - 5 * appended)
        await two.resume(execution)
        assert (await two.wait(execution)).output == {"name": "n"}
    verify(b.home)


async def test_a_home_that_is_ahead_stays_so(places: tuple[Place, Place], tmp_path: Path) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        execution, _ = await sent(a, one, two, tmp_path)
        await one.pause(execution)
        with pytest.raises(ExecutionStateError, match="this home is ahead"):
            await one.states.restore(execution, dry_run=False, actor="t")
        await one.resume(execution)
        a.world.gate.set()
        assert (await one.wait(execution)).output == {"name": "n"}


@pytest.mark.holds("S6", "S14")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "q.qflow.exec.completed.v1"}, "is an end"),
        ({"type": "q.qflow.exec.created.v1"}, "no execution begins so"),
        ({"subnet": "other"}, "subnet"),
        ({"seq": 5}, "does not follow"),
        ({"prev": b"x" * 32}, "does not follow"),
        ({"chain": b"x" * 16}, "does not follow"),
    ],
)
async def test_records_that_would_spoil_the_log_are_not_taken(
    places: tuple[Place, Place], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """Though a node that is trusted here signed the version."""
    a, _ = places
    async with a.node() as one:
        execution = await held(a, one)
        await one.checkpoint(execution)
        chain = model.id_bytes(execution)
        (saved,) = one._stored.states.history(chain)
        records = [data for data, _ in one._history.stored(chain)]
        record = {**_core.decode_record(records[1]), **change}
        changed = _core.encode(record)
        with pytest.raises(VerificationError, match=said):
            _adoption._checked(changed, saved, 1, _core.record_hash(records[0]), "default")
