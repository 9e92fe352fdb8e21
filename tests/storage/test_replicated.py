"""Several stores as one: a quorum, failover, and endpoints that lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

from qflow.errors import BlockNotFoundError, ConfigError, UnavailableError, VerificationError
from qflow.storage import Replicated
from qflow.storage._endpoint import BAD_S, BAD_S_MAX
from qflow.testing import ManualClock, check_blockstore
from tests.kubo.daemon import Daemon
from tests.storage import bad_kubo as bad
from tests.storage.outboxes import Home, home, node, raw, text

pytestmark = pytest.mark.anyio

LEAF = raw(b"a leaf")
ROOT = node(LEAF)
CID = LEAF[0]


@contextmanager
def replicated(
    folder: Path, *urls: str, quorum: int = 1, timeout_s: float = 20.0
) -> Iterator[tuple[Replicated, Home, ManualClock]]:
    clock = ManualClock()
    with home(folder, *urls, clock=clock, timeout_s=timeout_s) as here:
        yield Replicated(here.blocks, here.outbox, quorum=quorum, clock=clock), here, clock


def forget(here: Home, cid: bytes = CID) -> None:
    """The block is missing here, though it is beneath a pin."""
    query = "UPDATE block SET place = NULL WHERE cid = ?"
    here.database.write(lambda db: db.execute(query, (cid,)))


@pytest.mark.parametrize("quorum", [1, 3])
async def test_it_keeps_the_promise_of_a_blockstore(
    quorum: int, tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Replicated]:
        with replicated(tmp_path, *(kubo.url for kubo in kubos), quorum=quorum) as (store, _, _):
            yield store

    await check_blockstore(opened)


async def test_a_quorum_is_met_or_refused_and_nothing_is_lost(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    with replicated(tmp_path, first.url, second.url, quorum=2) as (store, here, _):
        first.kill()
        await store.put_many([ROOT, LEAF])
        await store.pin(ROOT[0])
        assert second.pins().keys() == {text(ROOT)}
        second.kill()
        other = node(LEAF, text="other")
        with pytest.raises(UnavailableError, match="durable here"):
            await store.put_many([other])
        with pytest.raises(UnavailableError, match="durable here"):
            await store.pin(other[0])
        assert await here.blocks.get(other[0]) == other[1]
        first.start()
        second.start()
        await here.outbox.catch_up()
        assert first.pins().keys() == second.pins().keys() == {text(ROOT), text(other)}


async def test_with_a_quorum_of_one_nothing_waits_for_an_endpoint(
    tmp_path: Path, kubo: Daemon
) -> None:
    kubo.pause()
    with replicated(tmp_path, kubo.url) as (store, here, _), anyio.fail_after(5):
        await store.put_many([ROOT, LEAF])
        await store.pin(ROOT[0])
        assert await store.get(CID) == LEAF[1]
        assert here.owed == [1]


@pytest.mark.holds("S11")
async def test_what_is_damaged_here_is_read_from_an_endpoint_and_mended(
    tmp_path: Path, kubo: Daemon
) -> None:
    with replicated(tmp_path, kubo.url, quorum=2) as (store, here, _):
        await store.put_many([ROOT, LEAF])
        await store.pin(ROOT[0])
        damage = "UPDATE block_data SET data = x'00' WHERE data = ?"
        here.database.write(lambda db: db.execute(damage, (LEAF[1],)))
        assert await store.get_many([ROOT[0], CID]) == [ROOT[1], LEAF[1]]
        assert await here.blocks.get(CID) == LEAF[1]


@pytest.mark.holds("S11")
async def test_an_endpoint_that_lies_is_marked_and_another_is_asked(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    liar = bad.bad_kubo(bad.other_bytes, upstream=first.url, on=("block/get",))
    with (
        liar as server,
        replicated(tmp_path, server.url, second.url, quorum=3) as (store, here, clock),
    ):
        await store.put_many([ROOT, LEAF])
        await store.pin(ROOT[0])
        forget(here)
        assert await store.get(CID) == LEAF[1]
        lying, honest = here.outbox.status()
        assert lying.bad_until_ms == clock.now_ms() + round(1000 * BAD_S)
        assert "other bytes" in str(lying.problem)
        assert honest.bad_until_ms == 0
        assert here.events()[-1] == "lost"

        asked = len(server.requests)
        forget(here)
        assert await store.get(CID) == LEAF[1]
        here.keep(node(LEAF, text="more"))
        await here.outbox.catch_up()
        assert len(server.requests) == asked, "it is not used for anything"
        assert here.owed == [1, 0]

        await clock.advance(round(1000 * BAD_S))
        await here.outbox.catch_up()
        assert here.owed == [0, 0], "then it is tried again"


@pytest.mark.holds("S11")
async def test_a_mark_outlives_the_process_and_doubles_until_the_truth_is_told(
    tmp_path: Path, kubo: Daemon
) -> None:
    lies = 9
    on = ("block/get",)
    with bad.bad_kubo(bad.other_bytes, upstream=kubo.url, on=on, times=lies) as server:
        with replicated(tmp_path, server.url, quorum=2) as (store, here, clock):
            await store.put_many([ROOT, LEAF])
            await store.pin(ROOT[0])
            for number in range(lies):
                forget(here)
                with pytest.raises(VerificationError):
                    await store.get(CID)
                with pytest.raises(BlockNotFoundError):
                    await store.get(CID)
                (status,) = here.outbox.status()
                wait_ms = status.bad_until_ms - clock.now_ms()
                assert wait_ms == 1000 * min(BAD_S * 2**number, BAD_S_MAX)
                await clock.advance(wait_ms)
            now_ms = clock.now_ms()
            assert await store.get(CID) == LEAF[1]
        with home(tmp_path, server.url, clock=ManualClock(now_ms)) as here:
            (status,) = here.outbox.status()
            assert status.bad_until_ms == 0


@pytest.mark.parametrize("name", ["hang_after_headers", "refuse", "reset", "drip", "endless"])
async def test_a_store_that_fails_is_passed_over(name: str, tmp_path: Path, kubo: Daemon) -> None:
    with (
        bad.bad_kubo(bad.ACTORS[name]) as server,
        replicated(tmp_path, server.url, kubo.url, timeout_s=2.0) as (store, here, _),
    ):
        here.keep(ROOT, parts=[LEAF])
        await here.outbox.catch_up()
        forget(here)
        with anyio.fail_after(30):
            assert await store.get(CID) == LEAF[1]


async def test_the_next_store_is_asked_while_the_first_is_silent(
    tmp_path: Path, kubo: Daemon
) -> None:
    with (
        bad.bad_kubo(bad.hang_after_request) as server,
        replicated(tmp_path, server.url, kubo.url, timeout_s=60.0) as (store, here, _),
    ):
        here.keep(ROOT, parts=[LEAF])
        await here.outbox.endpoints[1].kubo.__aenter__()
        try:
            await here.outbox.endpoints[1].kubo.put_many([LEAF])
        finally:
            await here.outbox.endpoints[1].kubo.__aexit__(None, None, None)
        forget(here)
        with anyio.fail_after(20):
            assert await store.get(CID) == LEAF[1]
        assert server.calls == ["block/get"]


async def test_what_nobody_has_is_said_and_who_may_have_it(tmp_path: Path, kubo: Daemon) -> None:
    with replicated(tmp_path, kubo.url, timeout_s=1.0) as (store, _, _):
        with pytest.raises(BlockNotFoundError, match="not at an endpoint"):
            await store.get(CID)
        assert not await store.has(CID)
        kubo.kill()
        with pytest.raises(UnavailableError):
            await store.get(CID)
        assert not await store.has(CID)


@pytest.mark.holds("S12")
async def test_deleting_removes_blocks_everywhere(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    with replicated(tmp_path, first.url, second.url, quorum=3) as (store, here, _):
        await store.put_many([ROOT, LEAF])
        await store.pin(ROOT[0])
        second.stop()
        await store.unpin(ROOT[0])
        await store.delete([ROOT[0], CID])
        assert first.pins() == {}
        second.start()
        assert second.pins().keys() == {text(ROOT)}
        await here.outbox.catch_up()
        assert second.pins() == {}
        assert here.owed == [0, 2], "what is released behind a failure is released once more"
        for kubo in kubos:
            assert kubo.try_ipfs("block", "get", "--offline", text(LEAF)).returncode


def test_a_quorum_that_can_never_be_met_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"storage\.quorum is 3"),
        replicated(tmp_path, "http://127.0.0.1:1", quorum=3),
    ):
        pass
