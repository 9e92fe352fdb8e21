"""What is read back is what was written, or an error that says what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from qflow import _core, model
from qflow.audit import History, Index, Query
from qflow.errors import CorruptError, VerificationError
from tests.audit.chains import FLOW, Chain, MemorySource, chain_id, put

CHECKPOINT = "q.qflow.checkpoint.created.v1"


def life(source: MemorySource, number: int = 1) -> Chain:
    """Six records in three commits, with others between them."""
    chain, other = Chain(chain_id(number)), Chain(chain_id(number + 100))
    put(source, chain, ("created", {}, {"n": number}))
    put(source, other, ("created", {}, "other"))
    put(source, chain, ("step_completed", {}, [1, 2]), "timer_fired", (CHECKPOINT, {}, {"s": 1}))
    put(source, other, ("completed", {}, None))
    put(source, chain, ("step_completed", {}, None), ("completed", {}, {"out": number}))
    return chain


def test_replay_gives_every_record_in_order_with_its_payload(
    history: History, source: MemorySource
) -> None:
    chain = life(source)
    entries = list(history.replay_source(chain.id))
    assert [entry.seq for entry in entries] == list(range(6))
    assert [entry.index for entry in entries] == [0, 2, 3, 4, 6, 7]
    assert [entry.value for entry in entries] == [
        {"n": 1},
        [1, 2],
        msgspec.UNSET,
        {"s": 1},
        None,
        {"out": 1},
    ]
    assert {entry.record["flow"] for entry in entries} == {FLOW}
    assert entries[-1].hash == chain.prev


def test_replay_may_begin_anywhere(history: History, source: MemorySource) -> None:
    chain = life(source)
    assert [entry.seq for entry in history.replay_source(chain.id, 4)] == [4, 5]
    assert list(history.replay_source(chain.id, 6)) == []
    with pytest.raises(CorruptError, match="has no record 6"):
        list(history.replay_source(chain.id, 7))


def test_pages_join_without_a_seam(
    history: History, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.audit._read.PAGE", 2)
    chain = life(source)
    assert [entry.seq for entry in history.replay_source(chain.id)] == list(range(6))
    assert [entry.seq for entry in history.records(chain.id, after=1, limit=3)] == [2, 3, 4]
    assert [entry.seq for entry in history.records(chain.id, after=4, limit=3)] == [5]
    assert history.records(chain.id, limit=0) == []
    assert history.records(chain.id, limit=1)[0].value is msgspec.UNSET


def test_the_newest_snapshot_and_the_last_record_are_found(
    history: History, source: MemorySource
) -> None:
    chain = life(source)
    snapshot, last = history.snapshot(chain.id), history.last(chain.id)
    assert snapshot is not None
    assert (snapshot.seq, snapshot.value) == (3, {"s": 1})
    assert last is not None
    assert (last.record["type"], last.value) == ("q.qflow.exec.completed.v1", {"out": 1})
    assert history.snapshot(chain_id(101)) is None
    assert history.last(chain_id(77)) is None


def test_a_reader_sees_what_was_written_a_moment_ago(
    history: History, source: MemorySource
) -> None:
    chain = Chain(chain_id(1))
    put(source, chain, ("created", {}, 0))
    assert len(history.records(chain.id)) == 1
    put(source, chain, "continued")
    assert len(history.records(chain.id)) == 2


def test_a_payload_is_found_although_its_block_came_with_another_record(
    history: History, source: MemorySource
) -> None:
    first, second = Chain(chain_id(1)), Chain(chain_id(2))
    put(source, first, ("created", {}, {"same": 1}))
    history.records(first.id)
    records, _ = second.frame(("created", {}, {"same": 1}))
    source.append(records)
    assert history.records(second.id, values=True)[0].value == {"same": 1}


def test_a_block_that_is_nowhere_is_refused(history: History, source: MemorySource) -> None:
    chain = Chain(chain_id(1))
    source.append(chain.frame(("created", {}, 1))[0])
    with pytest.raises(CorruptError, match="the log has no block"):
        history.records(chain.id, values=True)


def test_a_raw_block_is_given_as_its_bytes(history: History, source: MemorySource) -> None:
    cid = _core.cid_of(b"bytes", "raw")
    source.append([], [(bytes(cid), b"bytes")])
    assert history.block(cid) == b"bytes"


# -- what is not as it was written -------------------------------------------------------------


def swap(source: MemorySource, seq: int, make: Callable[[bytes], bytes]) -> None:
    """Put other bytes where the record `seq` of the first chain is."""
    address = next(
        address
        for records, _ in source.frames
        for _, address, data in records
        if (found := _core.decode_record(data))["chain"] == chain_id(1) and found["seq"] == seq
    )
    data = make(source.bytes[address])
    source.bytes[address] = data
    source.frames = [
        ([(i, a, data if a == address else old) for i, a, old in records], blocks)
        for records, blocks in source.frames
    ]


def remade(data: bytes, **changed: Any) -> bytes:
    """The record with some fields changed: canonical, only not what was signed."""
    fields = _core.decode(data)
    return _core.encode({**fields, **changed})


@pytest.mark.holds("H2")
@pytest.mark.parametrize("seq", [0, 1, 3, 4])
def test_a_replaced_record_breaks_the_chain_behind_it(
    history: History, source: MemorySource, seq: int
) -> None:
    chain = life(source)
    swap(source, seq, lambda data: remade(data, actor="eve"))
    with pytest.raises(VerificationError, match=f"record {seq + 1} .* does not follow"):
        list(history.replay_source(chain.id))
    # Also for a reader that begins behind it.
    with pytest.raises(VerificationError, match=f"record {seq + 1} .* does not follow"):
        list(history.replay_source(chain.id, seq + 1))


@pytest.mark.holds("H17")
def test_a_record_of_another_chain_is_refused(history: History, source: MemorySource) -> None:
    chain = life(source)
    history.records(chain.id)
    swap(source, 1, lambda data: remade(data, chain=chain_id(101)))
    with pytest.raises(CorruptError):
        list(history.replay_source(chain.id))


def test_a_record_at_another_number_is_refused(history: History, source: MemorySource) -> None:
    chain = life(source)
    history.records(chain.id)
    swap(source, 1, lambda data: remade(data, seq=7))
    with pytest.raises(CorruptError):
        list(history.replay_source(chain.id))


def test_bytes_that_are_no_record_are_refused(history: History, source: MemorySource) -> None:
    chain = life(source)
    history.records(chain.id)
    swap(source, 2, lambda data: data[:-1])
    with pytest.raises(CorruptError):
        list(history.replay_source(chain.id))


def test_a_changed_payload_is_refused(history: History, source: MemorySource) -> None:
    chain = life(source)
    address = source.frames[0][1][0][1]
    source.bytes[address] = _core.encode({"n": 2})
    with pytest.raises(VerificationError, match="is not bafy"):
        list(history.replay_source(chain.id))


# -- an index that lies ------------------------------------------------------------------------


Run = list[tuple[int, int, int, int | None]]


def retell(index: Index, change: Callable[[Run], Run]) -> None:
    """Rewrite what the index says of the first chain, with good checksums."""
    chain, run = chain_id(1), Run()
    query = "SELECT first, places FROM runs WHERE chain = ? ORDER BY first"
    for first, places in index._db.execute(query, (chain,)).fetchall():
        run += _core.unpack_run(chain, first, places)
    index._db.execute("DELETE FROM runs WHERE chain = ?", (chain,))
    for seq, *place in change(run):
        row = _core.pack_run(chain, seq, [(place[0] or 0, place[1] or 0, place[2])])
        index._db.execute("INSERT INTO runs VALUES (?, ?, ?)", (chain, seq, row))


LIES: dict[str, Callable[[Run], Run]] = {
    "one address": lambda run: [(seq, at, run[-1][2], pay) for seq, at, _, pay in run],
    "one payload": lambda run: [(seq, at, where, run[0][3]) for seq, at, where, _ in run],
    "a hole": lambda run: run[:2] + run[3:],
    "no tail": lambda run: run[:4],
    "no head": lambda run: run[1:],
    "other numbers": lambda run: [(place[0] + 10 * (place[0] > 3), *place[1:]) for place in run],
    "nowhere": lambda run: [(seq, at, 999_999, pay) for seq, at, _, pay in run],
}


@pytest.mark.holds("H20")
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_index_that_points_wrong_is_made_anew_and_the_reader_notices_nothing(
    index: Index, source: MemorySource, lie: Callable[[Run], Run]
) -> None:
    chain = life(source)
    want = list(History(index, source).replay_source(chain.id))
    retell(index, lie)
    assert list(History(index, source).replay_source(chain.id)) == want
    retell(index, lie)
    asked = Query(execution=model.id_text(chain.id))
    page = History(index, source).query(asked)
    assert [entry.hash for entry in page.records] == [entry.hash for entry in want]
    assert page.ended


def test_the_log_is_at_fault_when_a_new_index_says_the_same(
    history: History, source: MemorySource
) -> None:
    chain = life(source)
    history.records(chain.id)
    swap(source, 1, lambda data: remade(data, actor="eve"))
    for _ in range(2):
        with pytest.raises(VerificationError):
            list(history.replay_source(chain.id))
