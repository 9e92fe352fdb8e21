"""Pruning by a node: the record on its own chain, and what the log is afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from qflow import _core
from qflow.audit import History, Index, Log, find_cut, prune, verify
from qflow.audit._own import OPENED, OwnChain, own_chain
from qflow.audit._prune import PRUNED
from qflow.events import record_event, validate
from qflow.testing import ManualClock
from qflow.trust import NodeKey
from tests.audit.chains import Chain, chain_id

pytestmark = pytest.mark.anyio

KEY = NodeKey(seed=bytes(range(32)), public=bytes(SigningKey(bytes(range(32))).verify_key))


class Identity:
    node, subnet, epoch = "node", "default", 0


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[Log, OwnChain]]:
    """A node's log with its own chain, which says that it was opened."""
    index = Index(path / "index.db")
    async with Log(str(path / "log"), KEY, segment_bytes=64 << 10) as log:
        history = History(index, log)
        own = OwnChain(
            log, index, history, ManualClock(), public_key=KEY.public, identity=Identity()
        )
        await own.append([(OPENED, None, None, None, {})], "node")
        yield log, own
    index.close()


async def add(log: Log, count: int, number: int = 1) -> None:
    """A chain of `count` records that does not end, a commit each."""
    chain = Chain(chain_id(number))
    await log.append(*chain.frame(("created", {}, {"n": number})))
    for turn in range(count - 1):
        await log.append(*chain.frame(("step_completed", {"pad": "x" * 2000}, turn)))


def records_of(path: Path) -> list[tuple[int, dict[str, object]]]:
    """Index and fields of each record that the log keeps."""
    log, found, address = _core.LogReader(str(path / "log")), [], 0
    while (page := log.scan(address, 1 << 20))[2] != address:
        found += [(index, _core.decode_record(data)) for index, _, data in page[0]]
        address = page[2]
    return found


@pytest.mark.holds("H21")
async def test_a_pruning_leaves_a_record_that_says_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, own):
        await add(log, 60)
        cut = find_cut(log, 40)
        assert cut is not None
        assert 0 < cut.minimum <= 40
        head = log.head
        done = await prune(log, own, 40, reason="older than 10 years", actor="ann")
        assert done is not None
        assert (done.cut, done.record, done.chains) == (cut, 61, 2)
        assert log.first == cut.minimum == cut.records
        assert [chain for chain, _, _ in log.carried] == sorted(
            [own_chain(KEY.public), chain_id(1)]
        )
    report = verify(tmp_path / "log", KEY.vkey)
    assert (report.ok, report.first, report.size) == (True, cut.minimum, 62)
    assert report.chains == 2, "both began before the cut"
    index, record = records_of(tmp_path)[-1]
    assert (index, record["type"], record["chain"]) == (61, PRUNED, own_chain(KEY.public))
    assert (record["actor"], record["flow"]) == ("ann", "qflow/node")
    assert record["meta"] == {
        "minimum": cut.minimum,
        "segment": cut.segment,
        "chains": 2,
        "reason": "older than 10 years",
    }
    assert head.splitlines()[1] == "61"


@pytest.mark.holds("H21")
async def test_nothing_from_the_bound_on_goes(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, own):
        await add(log, 60)
        firsts = [first for _, first, _ in log.segments]
        assert len(firsts) >= 4
        assert find_cut(log, firsts[1] - 1) is None
        assert await prune(log, own, firsts[1] - 1, reason="", actor="ann") is None
        assert (log.size, log.first) == (61, 0)
        await prune(log, own, firsts[2] - 1, reason="", actor="ann")
        assert log.first == firsts[1]
        await prune(log, own, 10**9, reason="", actor="ann")
        assert log.first <= 61
    assert verify(tmp_path / "log", KEY.vkey).ok
    kept = [index for index, _ in records_of(tmp_path)]
    assert kept == list(range(log_first(tmp_path), 63))


def log_first(path: Path) -> int:
    return _core.LogReader(str(path / "log")).first


async def test_the_own_chain_goes_on_although_its_beginning_went(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, own):
        await add(log, 60)
        await prune(log, own, 50, reason="", actor="ann")
    for _ in range(2):
        async with opened(tmp_path) as (log, own):
            await add(log, 3, number=10 + log.size)
    (tmp_path / "index.db").unlink()
    async with opened(tmp_path) as (log, own):
        await prune(log, own, 10**9, reason="", actor="ann")
    report = verify(tmp_path / "log", KEY.vkey)
    assert report.ok, str(report)


async def test_the_record_fits_its_schema(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, own):
        await add(log, 60)
        await prune(log, own, 50, reason="age", actor="ann")
    _, record = records_of(tmp_path)[-1]
    event = record_event(record, source="did:key:node")
    assert event.type == PRUNED
    validate(event)
