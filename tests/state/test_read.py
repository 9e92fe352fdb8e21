"""What is restored equals what was saved, or is refused, and the one before is offered."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import (
    BlockNotFoundError,
    ErasedError,
    QflowError,
    UnavailableError,
    VerificationError,
)
from qflow.events import CloudEvent, validate
from qflow.state import Block, Saved, Version
from qflow.state._segment import Segment
from tests.state.executions import DOCUMENT, Execution, Home, Keys, node

STATES = [
    _core.encode([{"item": at, "text": f"{at * number:032x}"} for at in range(3000)])
    for number in (1, 2, 3)
]


def filled(home: Home, execution: Execution, texts: list[bytes] | None = None) -> list[Saved]:
    """Versions, the oldest first."""
    saved = []
    for text in STATES if texts is None else texts:
        execution.facts(40)
        since = home.states.next_seq(execution.chain)
        saved.append(home.states.commit(execution.checkpoint(text, since=since)))
    return saved


def overwrite(path: Path, cid: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of a block on the disk, as a fault or an attacker does."""
    with closing(sqlite3.connect(path)) as db, db:
        (place,) = db.execute("SELECT place FROM block WHERE cid = ?", (cid,)).fetchone()
        (data,) = db.execute("SELECT data FROM block_data WHERE place = ?", (place,)).fetchone()
        db.execute("UPDATE block_data SET data = ? WHERE place = ?", (change(data), place))


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)


@pytest.mark.holds("S4", "S8", "S9")
def test_after_a_restart_all_is_found_and_equals_what_was_saved(
    home: Home, execution: Execution
) -> None:
    saved = filled(home, execution)
    states = home.reopen()
    assert states.list().versions == saved[::-1]
    for one, text in zip(saved, STATES, strict=True):
        assert states.load(one.cid) == text
        assert states.document(one.cid) == DOCUMENT
        assert states.check(one.cid) == one
        data: list[bytes] = []
        blocks: list[Block] = []
        for piece, payloads in states.records(one.cid):
            data += piece
            blocks += payloads
        recorded = execution.records[: one.seq + 1]
        assert data == [record for record, _ in recorded]
        assert blocks == [payload for _, payload in recorded if payload is not None]
    good = states.newest_good(execution.chain, whole=True)
    assert (good.version, good.text, good.refused) == (saved[2], STATES[2], [])


def test_payloads_come_a_few_at_a_time(home: Home, execution: Execution) -> None:
    execution.facts(300)
    saved = home.states.commit(execution.checkpoint(b"state"))
    pieces = list(home.states.records(saved.cid))
    assert max(len(blocks) for _, blocks in pieces) == 32
    assert sum(len(piece) for piece, _ in pieces) == 301


def parts_of(home: Home, saved: Saved) -> dict[str, bytes]:
    """A block of each kind that a version needs and the one before it does not."""
    (data,) = home.blocks.load([saved.cid])
    version = Version.parse(data)
    (root, segment) = home.blocks.load([version.state, version.history])
    return {
        "version": saved.cid,
        "state": version.state,
        "part": _core.state_parts(root)[1][1],
        "segment": version.history,
        "payload": Segment.parse(segment).payloads[3],
    }


KINDS = ("version", "state", "part", "segment", "payload")
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flipped,
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
}


@pytest.mark.holds("S8", "S14")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_version_is_refused_by_name_and_the_one_before_is_offered(
    home: Home, execution: Execution, kind: str, change: str
) -> None:
    saved = filled(home, execution)
    cid = parts_of(home, saved[2])[kind]
    home.close()
    overwrite(home.path, cid, CHANGES[change])
    home.open()
    good = home.states.newest_good(execution.chain, whole=True)
    assert (good.version, good.text) == (saved[1], STATES[1])
    (refused,) = good.refused
    assert refused.cid == saved[2].cid
    assert str(_core.Cid(cid)) in refused.why
    if kind in ("version", "state", "part"):  # the state alone, as a node starts with its own log
        assert home.reopen().newest_good(execution.chain).version == saved[1]
    name, data = home.told[-1]
    assert name == "q.qflow.state.refused.v1"
    validate(CloudEvent(id="1", source=home.owner.did, type=name, data=data))


@pytest.mark.holds("S8")
@pytest.mark.parametrize("kind", KINDS)
def test_a_block_that_is_gone_is_named(home: Home, execution: Execution, kind: str) -> None:
    saved = filled(home, execution)
    cid = parts_of(home, saved[2])[kind]
    with closing(sqlite3.connect(home.path)) as db, db:
        db.execute("UPDATE block SET place = NULL WHERE cid = ?", (cid,))
    good = home.reopen().newest_good(execution.chain, whole=True)
    assert good.version == saved[1]
    assert str(_core.Cid(cid)) in good.refused[0].why


@pytest.mark.holds("S8")
def test_when_none_is_good_each_is_named_with_its_reason(home: Home, execution: Execution) -> None:
    saved = filled(home, execution)
    for one in saved:
        overwrite(home.path, one.cid, flipped)
    with pytest.raises(VerificationError) as refused:
        home.reopen().newest_good(execution.chain)
    assert all(str(_core.Cid(one.cid)) in str(refused.value) for one in saved)
    with pytest.raises(BlockNotFoundError, match="no version"):
        home.states.newest_good(bytes(16))


@pytest.mark.holds("S7")
def test_without_a_verifier_nothing_is_read(home: Home, execution: Execution) -> None:
    saved = filled(home, execution)
    states = home.reopen(signers=None)
    asked: list[Callable[[], object]] = [
        lambda: states.load(saved[0].cid),
        lambda: states.document(saved[0].cid),
        lambda: states.records(saved[0].cid),
        lambda: states.check(saved[0].cid),
        lambda: states.newest_good(execution.chain),
        lambda: states.version(saved[0].cid),
    ]
    for ask in asked:
        with pytest.raises(UnavailableError, match="signatures"):
            ask()
    taken = states.ingest([saved[0].cid])
    assert (taken.taken, len(taken.refused)) == ([], 1)
    assert len(states.verify().findings) >= 3


@pytest.mark.holds("S8")
def test_of_another_subnet_erased_or_without_its_key_is_refused(
    home: Home, execution: Execution
) -> None:
    saved = filled(home, execution)
    with pytest.raises(VerificationError, match="of subnet 'default'"):
        home.reopen(subnet="other").load(saved[2].cid)
    states = home.reopen()
    home.erased.add(execution.chain)
    with pytest.raises(ErasedError):
        states.load(saved[2].cid)
    with pytest.raises(ErasedError):
        states.newest_good(execution.chain)
    home.erased.clear()
    home.keys.erased.add(execution.chain)
    with pytest.raises(ErasedError):
        states.load(saved[2].cid)
    home.keys.erased.clear()
    home.keys.known.clear()
    with pytest.raises(UnavailableError):
        states.load(saved[2].cid)


@pytest.mark.holds("S8")
def test_the_state_of_another_execution_does_not_open(home: Home, keys: Keys) -> None:
    """Also not when its key is given away: where a state belongs is part of its seal."""
    one, two = Execution(1, node(), keys), Execution(2, node(), keys)
    (first,), (second,) = filled(home, one, [b"one"]), filled(home, two, [b"two"])
    keys.known[one.chain, 1] = _core.SealingKey(1, (2).to_bytes(2, "big") * 16)
    with pytest.raises(VerificationError):
        home.states.load(first.cid)
    assert home.states.load(second.cid) == b"two"


def test_what_is_no_version_is_refused(home: Home, execution: Execution) -> None:
    (saved,) = filled(home, execution, [b"x"])
    (data,) = home.blocks.load([saved.cid])
    version = Version.parse(data)
    for cid in (version.state, version.history, version.flow):
        with pytest.raises(VerificationError, match=str(_core.Cid(cid))):
            home.states.load(cid)
    with pytest.raises(BlockNotFoundError):
        home.states.load(bytes(_core.cid_of(b"\xf6")))
    with pytest.raises(QflowError):
        home.states.load(b"no CID")


@pytest.mark.parametrize("size", [0, 1, 16 << 10, 1 << 20])
def test_states_of_any_size_are_restored(home: Home, execution: Execution, size: int) -> None:
    text = bytes(at * 7 % 251 for at in range(size))
    (saved,) = filled(home, execution, [text])
    assert home.reopen().load(saved.cid) == text


def test_blocks_are_read_once_and_counted(home: Home, execution: Execution) -> None:
    saved = filled(home, execution)
    states = home.reopen()
    assert states.load(saved[0].cid) == STATES[0]
    cold = states.stats()
    assert cold["hits"] == 0
    assert cold["cached_blocks"] == cold["misses"] > 3
    assert states.load(saved[0].cid) == STATES[0]
    warm = states.stats()
    assert warm["misses"] == cold["misses"]
    assert warm["hits"] == cold["misses"]
    assert (warm["versions"], warm["chains"]) == (3, 1)
    states = home.reopen(cache_bytes_max=0)
    assert states.load(saved[0].cid) == states.load(saved[0].cid) == STATES[0]
    assert states.stats()["cached_bytes"] == 0
