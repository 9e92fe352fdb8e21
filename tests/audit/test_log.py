"""The log under the event loop: callbacks in order, nothing acknowledged before it is durable."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest
from nacl.signing import SigningKey

from qflow import _core
from qflow.audit import History, Index, Log, Ticket, follow
from qflow.errors import BusyError, LockedError, PoisonedError
from qflow.trust import NodeKey
from tests.audit.chains import Chain, chain_id

pytestmark = pytest.mark.anyio

KEY = NodeKey(seed=bytes(range(32)), public=bytes(SigningKey(bytes(range(32))).verify_key))


def log_at(tmp_path: Path) -> Log:
    return Log(str(tmp_path / "log"), KEY, segment_bytes=1 << 20)


def frames(count: int, number: int = 1) -> list[tuple[list[bytes], list[tuple[bytes, bytes]]]]:
    chain = Chain(chain_id(number))
    first = chain.frame(("created", {}, {"n": number}))
    return [first, *(chain.frame(("step_completed", {}, n)) for n in range(count - 1))]


async def test_what_append_acknowledged_is_read_after_a_restart(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        for number, frame in enumerate(frames(5)):
            assert await log.append(*frame) == number
        head, root = log.head, log.root
    async with log_at(tmp_path) as log:
        assert (log.size, log.root) == (5, root)
        assert head.splitlines()[1:3] == log.head.splitlines()[1:3]
        records, blocks, _ = log.scan(0, 1 << 20)
        assert [index for index, _, _ in records] == list(range(5))
        assert all(log.read(address) == data for _, address, data in records)
        assert all(_core.cid_of(log.read(address)) == _core.Cid(cid) for cid, address, _ in blocks)


async def test_callbacks_come_in_order_and_after_the_record_is_durable(tmp_path: Path) -> None:
    told: list[tuple[int, int | None, bool]] = []
    async with log_at(tmp_path) as log:

        def done_of(number: int) -> Callable[[int | None, Exception | None], None]:
            def done(index: int | None, error: Exception | None) -> None:
                assert error is None
                assert index is not None
                told.append((number, index, log.size > index))

            return done

        tickets = [log.submit(*frame, done_of(number)) for number, frame in enumerate(frames(3000))]
        assert told == []
        assert {ticket.index for ticket in tickets} == {None}
    assert told == [(number, number, True) for number in range(3000)]
    assert [ticket.index for ticket in tickets] == list(range(3000))


@pytest.mark.holds("H7")
async def test_a_thousand_concurrent_appends_each_get_their_own_place(tmp_path: Path) -> None:
    found: dict[int, bytes] = {}
    async with log_at(tmp_path) as log:

        async def one(number: int) -> None:
            records, blocks = Chain(chain_id(number)).frame(("created", {}, number))
            found[await log.append(records, blocks)] = records[0]

        async with anyio.create_task_group() as group:
            for number in range(1, 1001):
                group.start_soon(one, number)
    assert sorted(found) == list(range(1000))
    records, _, _ = _core.LogReader(str(tmp_path / "log")).scan(0, 1 << 30)
    assert {index: data for index, _, data in records} == found
    report = _core.verify_log(str(tmp_path / "log"), KEY.vkey)
    assert (report["size"], report["findings"]) == (1000, [])


async def test_leaving_waits_for_what_was_submitted(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        tickets = [log.submit(*frame) for frame in frames(100)]
    assert [ticket.index for ticket in tickets] == list(range(100))
    assert _core.LogReader(str(tmp_path / "log")).size == 100


async def test_leaving_by_an_error_or_a_cancellation_loses_nothing(tmp_path: Path) -> None:
    many = frames(100)
    tickets: list[Ticket] = []

    async def fail() -> None:
        async with log_at(tmp_path) as log:
            tickets.extend(log.submit(*frame) for frame in many[:50])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with anyio.CancelScope() as scope:
        async with log_at(tmp_path) as log:
            tickets += [log.submit(*frame) for frame in many[50:]]
            scope.cancel()
            await anyio.sleep_forever()
    assert [ticket.index for ticket in tickets] == list(range(100))
    assert _core.LogReader(str(tmp_path / "log")).size == 100


async def test_a_second_log_on_the_same_files_is_refused(tmp_path: Path) -> None:
    async with log_at(tmp_path):
        with pytest.raises(LockedError):
            async with log_at(tmp_path):
                pass
    async with log_at(tmp_path) as log:
        assert log.size == 0


async def test_a_full_queue_refuses_and_takes_nothing(tmp_path: Path) -> None:
    chain, taken = Chain(chain_id(1)), []
    many = [chain.frame(("created", {}, 0))]
    many += [chain.frame(("step_completed", {}, bytes([n]) * 50_000)) for n in range(200)]
    log = Log(str(tmp_path / "log"), KEY, queue_bytes_max=100_000, segment_bytes=1 << 20)

    def fill() -> None:
        for frame in many:
            taken.append(log.submit(*frame))  # noqa: PERF401 - those before the refusal count

    async with log:
        with pytest.raises(BusyError):
            fill()
    assert [ticket.index for ticket in taken] == list(range(len(taken)))
    assert _core.LogReader(str(tmp_path / "log")).size == len(taken)


async def test_the_published_head_is_the_last_one(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        await log.append(*frames(1)[0])
        await log.publish()
        assert (tmp_path / "log" / "checkpoint").read_text() == log.head
        assert log.vkey == KEY.vkey


# -- failures ----------------------------------------------------------------------------------


class FailingCore:
    """A log whose disk fails at the third append: the same calls, on a real descriptor."""

    def __init__(self, *_: object, **__: object) -> None:
        self._ready, self._tell = os.pipe()
        self._taken = 0
        self._completed: list[tuple[int, int, str | None]] = []
        self.size, self.closed = 0, False

    def append(self, records: Sequence[bytes], _blocks: object = ()) -> int:
        self._taken += 1
        if self._taken < 3:
            self._completed.append((self._taken, self.size, None))
            self.size += len(records)
        elif self._taken == 3:
            self._completed.append((3, 0, "fdatasync: Input/output error"))
        elif self._taken > 5:
            raise PoisonedError("fdatasync: Input/output error")
        os.write(self._tell, b"x")
        return self._taken

    def fileno(self) -> int:
        return self._ready

    def drain(self, most: int = 1024) -> list[tuple[int, int, str | None]]:
        found, self._completed = self._completed[:most], self._completed[most:]
        if found:
            os.read(self._ready, 1024)
        return found

    def close(self) -> None:
        os.close(self._ready)
        os.close(self._tell)
        self.closed = True


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qflow.audit._log._core.Log", FailingCore)


@pytest.mark.holds("H8")
async def test_a_failed_write_is_an_error_to_it_and_to_all_behind_it(
    tmp_path: Path, failing: None
) -> None:
    told: list[tuple[int | None, type[Exception] | None]] = []

    def done(index: int | None, error: Exception | None) -> None:
        told.append((index, type(error) if error else None))

    async with log_at(tmp_path) as log:
        assert log.poisoned is None
        for _ in range(5):
            log.submit([b"r"], (), done)
    assert told == [(0, None), (1, None), *[(None, PoisonedError)] * 3]
    assert log.poisoned == "fdatasync: Input/output error"


@pytest.mark.holds("H8")
async def test_append_raises_what_the_disk_said(tmp_path: Path, failing: None) -> None:
    async with log_at(tmp_path) as log:
        assert await log.append([b"r"]) == 0
        assert await log.append([b"r"]) == 1
        with pytest.raises(PoisonedError, match="Input/output error"):
            await log.append([b"r"])


async def test_a_callback_that_raises_stops_the_log_and_leaves_nobody_waiting(
    tmp_path: Path,
) -> None:
    outcomes: list[object] = []

    def broken(_index: int | None, _error: Exception | None) -> None:
        raise ZeroDivisionError

    many = frames(2)

    async def use() -> None:
        async with log_at(tmp_path) as log:
            log.submit(*many[0], broken)
            log.submit(*many[1], lambda index, error: outcomes.append(index or type(error)))
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(ZeroDivisionError)
    assert outcomes in ([1], [PoisonedError])
    async with log_at(tmp_path) as log:
        assert log.size == 2


# -- the index behind it -----------------------------------------------------------------------


async def test_the_index_follows_the_log(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    async with log_at(tmp_path) as log, anyio.create_task_group() as group:
        group.start_soon(lambda: follow(index, log, coalesce_s=0))
        for frame in frames(200):
            await log.append(*frame)
        with anyio.fail_after(10):
            while index.size < 200:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    index.close()


async def test_an_index_that_cannot_be_written_does_not_stop_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.audit._follow.RETRY_S", 0)
    index = Index(tmp_path / "index.db")
    (pages,) = index._db.execute("PRAGMA page_count").fetchone()
    index._db.execute(f"PRAGMA max_page_count = {pages}")
    async with log_at(tmp_path) as log, anyio.create_task_group() as group:
        group.start_soon(lambda: follow(index, log, coalesce_s=0))
        for frame in frames(400):
            await log.append(*frame)
        assert index.size < 400
        index._db.execute("PRAGMA max_page_count = 1000000")
        with anyio.fail_after(10):
            while index.size < 400:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    index.close()


async def test_history_reads_what_the_node_just_wrote(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    async with log_at(tmp_path) as log:
        history = History(index, log)
        for number, frame in enumerate(frames(20)):
            await log.append(*frame)
            assert len(history.records(chain_id(1))) == number + 1
        assert [entry.value for entry in history.replay_source(chain_id(1))][1:] == list(range(19))
        beside = History(index, _core.LogReader(str(tmp_path / "log")))
        assert len(beside.records(chain_id(1))) == 20
    index.close()


async def test_an_index_of_real_files_survives_whatever_happens_to_it(tmp_path: Path) -> None:
    """Several segments, appends larger than a batch, a reader that was there before them."""
    path = tmp_path / "index.db"
    async with log_at(tmp_path) as log:
        reader = _core.LogReader(str(tmp_path / "log"))
        many = [Chain(chain_id(number)) for number in range(1, 13)]
        for chain in many:
            big = [bytes([chain.id[5], n]) * 150_000 for n in range(2)]
            await log.append(
                *chain.frame(("created", {}, 0), *(("timer_fired", {}, b) for b in big))
            )
        assert reader.size == log.size == 36
        index = Index(path)
        assert index.catch_up(reader) == 36
        assert index.catch_up(log) == 0
        index.close()
        path.write_bytes(b"nothing")
        index = Index(path)
        assert index.catch_up(log) == 36
        assert index.catch_up(reader) == 0
        for source in (log, reader):
            history = History(index, source)
            for chain in many:
                values = [entry.value for entry in history.replay_source(chain.id)]
                assert values == [0, *(bytes([chain.id[5], n]) * 150_000 for n in range(2))]
        index.close()
    assert len(list((tmp_path / "log" / "journal").iterdir())) > 3
