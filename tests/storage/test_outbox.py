"""What endpoints are owed: nothing is lost by any failure, and nothing stays there that is not
wanted any more."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest

from qflow.clock import random_bytes
from qflow.errors import ConfigError, PoisonedError
from qflow.storage import _catch_up
from qflow.storage._catch_up import DOUBT_MS, STUCK_S_MAX, CatchUp
from qflow.storage._endpoint import BACKOFF_S_MAX, Endpoint
from qflow.testing import ManualClock
from tests.kubo.daemon import Daemon
from tests.nodes import until
from tests.storage import bad_kubo as bad
from tests.storage.outboxes import Home, home, node, raw, text

pytestmark = pytest.mark.anyio

LEAF = raw(b"a leaf")
ONE, TWO = node(LEAF, text="one"), node(LEAF, text="two")
CHAIN = bytes(range(16))
BACKOFF_MS = round(1000 * BACKOFF_S_MAX)


@pytest.mark.holds("S2")
async def test_what_was_kept_while_it_was_away_is_pinned_when_it_is_back(
    tmp_path: Path, kubo: Daemon
) -> None:
    kubo.stop()
    with home(tmp_path, kubo.url) as here:
        here.keep(ONE, TWO, parts=[LEAF])
        (status,) = await here.outbox.catch_up()
        assert (status.pins, status.problem) != (0, None)
        assert here.events() == ["lost"]
    kubo.start()
    with home(tmp_path, kubo.url) as here:
        (status,) = await here.outbox.catch_up()
        assert (status.pins, status.problem, status.owed_since_ms) == (0, None, None)
        assert here.events() == ["back", "pinned"]
    assert kubo.pins() == {text(ONE): "", text(TWO): ""}
    assert kubo.ipfs("block", "get", "--offline", text(LEAF)) == LEAF[1]


@pytest.mark.holds("S12")
async def test_deleting_releases_every_pin_also_where_it_was_away(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    with home(tmp_path, first.url, second.url) as here:
        here.keep(ONE, TWO, parts=[LEAF])
        await here.outbox.catch_up()
        second.stop()
        here.drop(ONE)
        here.drop(TWO)
        await here.outbox.catch_up()
        assert first.pins() == {}
        assert here.owed == [0, 2]
    second.start()
    assert second.pins().keys() == {text(ONE), text(TWO)}
    with home(tmp_path, first.url, second.url) as here:
        await here.outbox.catch_up()
        assert here.owed == [0, 0]
    assert second.pins() == {}


async def test_the_running_outbox_does_at_once_what_is_wanted(tmp_path: Path, kubo: Daemon) -> None:
    clock = ManualClock()
    with home(tmp_path, kubo.url, clock=clock) as here:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.outbox.run)
            here.keep(ONE, parts=[LEAF])
            await until(lambda: not any(here.owed))
            await anyio.to_thread.run_sync(lambda: here.keep(TWO))
            await until(lambda: not any(here.owed))
            here.drop(ONE)
            await until(lambda: not any(here.owed))
            tasks.cancel_scope.cancel()
    assert kubo.pins().keys() == {text(TWO)}


async def test_the_running_outbox_sees_what_another_process_wants(
    tmp_path: Path, kubo: Daemon
) -> None:
    clock = ManualClock()
    with home(tmp_path, kubo.url, clock=clock) as here, home(tmp_path, kubo.url) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.outbox.run)
            await until(lambda: here.outbox.status()[0].version)
            other.keep(ONE, parts=[LEAF])

            async def moved() -> None:
                while any(here.owed):
                    await clock.advance(1000)

            with anyio.fail_after(20):
                await moved()
            tasks.cancel_scope.cancel()
    assert kubo.pins().keys() == {text(ONE)}


@pytest.mark.holds("S2")
async def test_the_running_outbox_waits_longer_and_longer_and_is_there_when_it_is_back(
    tmp_path: Path, kubo: Daemon
) -> None:
    clock = ManualClock()
    kubo.stop()
    with home(tmp_path, kubo.url, clock=clock) as here:
        (endpoint,) = here.outbox.endpoints
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.outbox.run)
            here.keep(ONE, parts=[LEAF])
            for failures in range(1, 9):
                await until(partial(_has_failed, endpoint, failures))
                wait_ms = endpoint.due_ms - clock.now_ms()
                longest_ms = min(BACKOFF_MS, 1000 * 2**failures)
                assert longest_ms / 2 <= wait_ms <= longest_ms
                here.keep(TWO)
                await clock.advance(wait_ms)
            kubo.start()
            with anyio.fail_after(30):
                while any(here.owed):
                    await clock.advance(1000)
            tasks.cancel_scope.cancel()
        assert here.events()[0] == "lost"
        assert here.events().count("lost") == 1
    assert kubo.pins().keys() == {text(ONE), text(TWO)}


async def test_the_running_outbox_outlives_a_store_that_fails(
    tmp_path: Path, kubo: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    with home(tmp_path, kubo.url, clock=clock) as here:
        (endpoint,) = here.outbox.endpoints

        async def fail(_: object) -> list[object]:
            raise PoisonedError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(here.database, "write_async", fail)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(here.outbox._attend, *_attended(here))
                await until(partial(_has_failed, endpoint, 1))
                patch.undo()
                here.keep(ONE, parts=[LEAF])
                await clock.advance(endpoint.due_ms - clock.now_ms())
                await until(lambda: not any(here.owed))
                tasks.cancel_scope.cancel()
    assert kubo.pins().keys() == {text(ONE)}


def _attended(here: Home) -> tuple[CatchUp, list[anyio.Event], int]:
    (task,) = here.outbox._tasks.values()
    return task, [anyio.Event()], 0


def _has_failed(endpoint: Endpoint, failures: int) -> bool:
    return endpoint.failures >= failures


async def test_a_new_endpoint_gets_everything_and_one_that_left_is_forgotten(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    with home(tmp_path, first.url) as here:
        here.keep(ONE, TWO, parts=[LEAF])
        envelope = here.want_key(CHAIN)
        await here.outbox.catch_up()
    with home(tmp_path, second.url) as here:
        here.envelopes.epochs[CHAIN] = 0
        await here.outbox.catch_up()
        assert second.pins().keys() == {text(ONE), text(TWO), text(envelope)}
        assert len(here.owed) == 2, "only the node forgets an endpoint"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.outbox.run)
            await until(lambda: len(here.owed) == 1)
            tasks.cancel_scope.cancel()


async def test_a_kubo_that_was_made_anew_gets_everything_again(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    passing = bad.bad_kubo(bad.refuse, upstream=first.url, on=())
    with passing as server, home(tmp_path, server.url) as here:
        here.keep(ONE, parts=[LEAF])
        await here.outbox.catch_up()
    with bad.bad_kubo(bad.refuse, upstream=second.url, on=()) as other:
        with home(tmp_path, server.url) as here:
            # The same place in the settings, another Kubo behind it.
            await _move(here, server.url, other.url)
        with home(tmp_path, other.url) as here:
            await here.outbox.catch_up()
    assert second.pins().keys() == first.pins().keys() == {text(ONE)}


async def _move(here: Home, url: str, to: str) -> None:
    query = "UPDATE outbox_endpoint SET url = ? WHERE url = ?"
    await here.database.write_async(lambda db: db.execute(query, (to, url)))


async def test_no_unpin_is_lost_to_a_pin_that_was_given_up(tmp_path: Path, kubo: Daemon) -> None:
    """What a paused Kubo was told it may do when it wakes, behind what it was told later."""
    clock = ManualClock()
    with home(tmp_path, kubo.url, clock=clock, timeout_s=0.5) as here:
        here.keep(ONE, parts=[LEAF])
        kubo.pause()
        await here.outbox.catch_up()
        kubo.resume()
        here.drop(ONE)
        await here.outbox.catch_up()
        assert here.owed == [1], "it is released once more"
        await clock.advance(DOUBT_MS)
        await here.outbox.catch_up()
        assert here.owed == [0]
        assert kubo.pins() == {}


# -- keys -------------------------------------------------------------------------------------


async def test_the_envelope_of_a_key_is_pinned_and_replaced_and_removed(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url) as here:
        first = here.want_key(CHAIN)
        await here.outbox.catch_up()
        assert kubo.pins().keys() == {text(first)}
        second = here.want_key(CHAIN, epoch=1)
        await here.outbox.catch_up()
        assert kubo.pins().keys() == {text(second)}
        assert not _has(kubo, text(first))
        here.erase(CHAIN)
        await here.outbox.catch_up()
        assert kubo.pins() == {}
        assert not _has(kubo, text(second))
        here.database.write(lambda db: here.outbox.want_key(db, CHAIN))
        assert here.owed == [0], "a key that was given up is not sent again"


def _has(kubo: Daemon, cid: str) -> bool:
    return kubo.try_ipfs("block", "get", "--offline", cid).returncode == 0


async def test_a_key_that_was_erased_before_it_was_sent_is_not_sent(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url) as here:
        envelope = here.want_key(CHAIN)
        here.envelopes.erased.add(CHAIN)
        await here.outbox.catch_up()
        assert here.owed == [0]
        assert not _has(kubo, text(envelope))


@pytest.mark.holds("S12")
async def test_a_key_that_is_damaged_does_not_hold_up_the_others(
    tmp_path: Path, kubo: Daemon
) -> None:
    clock, other = ManualClock(), bytes(15) + b"\x09"
    with home(tmp_path, kubo.url, clock=clock) as here:
        hurt, good, root = here.want_key(CHAIN), here.want_key(other), raw(b"a state")
        here.keep(root)
        here.envelopes.damaged.add(CHAIN)
        (status,) = await here.outbox.catch_up()
        assert kubo.pins().keys() == {text(good), text(root)}
        assert "damaged" in str(status.stuck)
        here.envelopes.damaged.clear()
        await clock.advance(round(1000 * STUCK_S_MAX))
        await here.outbox.catch_up()
        assert kubo.pins().keys() == {text(good), text(root), text(hurt)}


@pytest.mark.holds("S12")
async def test_an_endpoint_that_was_away_removes_an_erased_key_when_it_is_back(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url) as here:
        envelope = here.want_key(CHAIN)
        await here.outbox.catch_up()
        kubo.stop()
        here.erase(CHAIN)
        await here.outbox.catch_up()
        assert here.owed == [1]
    kubo.start()
    with home(tmp_path, kubo.url) as here:
        await here.outbox.catch_up()
        assert here.owed == [0]
    assert kubo.pins() == {}
    assert not _has(kubo, text(envelope))


async def test_a_key_that_is_released_and_wanted_again_is_there(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url) as here:
        envelope = here.want_key(CHAIN)
        await here.outbox.catch_up()
        here.database.write(lambda db: here.outbox.release_key(db, CHAIN))
        here.want_key(CHAIN)
        await here.outbox.catch_up()
        assert kubo.pins().keys() == {text(envelope)}
        here.database.write(lambda db: here.outbox.release_key(db, CHAIN))
        await here.outbox.catch_up()
        assert kubo.pins() == {}


async def test_a_chain_without_a_key_of_its_own_is_owed_nothing(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url) as here:
        here.database.write(lambda db: here.outbox.want_key(db, CHAIN))
        await here.outbox.catch_up()
        assert here.owed == [0]


# -- what is sent -----------------------------------------------------------------------------


async def test_what_it_has_already_is_not_sent_again(tmp_path: Path, kubo: Daemon) -> None:
    with bad.bad_kubo(bad.refuse, upstream=kubo.url, on=()) as server:
        with home(tmp_path, server.url) as here:
            large = raw(random_bytes(100_000))
            part = node(large)
            here.keep(node(part, text="one"), parts=[part, large])
            await here.outbox.catch_up()
            here.keep(node(part, text="two"))
            await here.outbox.catch_up()
        sent = [len(one.body) for one in server.requests if one.call == "dag/import"]
        assert sent[0] > 100_000
        assert sent[1] < 1000
    assert len(kubo.pins()) == 2


async def test_what_it_was_wrongly_believed_to_have_is_sent_after_all(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url, clock=ManualClock()) as here:
        here.keep(ONE, parts=[LEAF])
        await here.outbox.catch_up()
        kubo.clear()
        here.keep(TWO)
        await here.outbox.settle([TWO[0]], 1)
        assert here.owed == [0]
    assert kubo.pins().keys() == {text(TWO)}


async def test_a_root_larger_than_a_car_goes_in_several(
    tmp_path: Path, kubo: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_catch_up, "CAR_BYTES", 1 << 20)
    parts = [raw(random_bytes(1 << 20)) for _ in range(12)]
    with bad.bad_kubo(bad.refuse, upstream=kubo.url, on=()) as server:
        with home(tmp_path, server.url) as here:
            here.keep(ONE, node(*parts), TWO, parts=[LEAF, *parts])
            await here.outbox.catch_up()
            assert here.owed == [0]
        sizes = [len(one.body) for one in server.requests if one.call == "dag/import"]
        assert len(sizes) > 2
        assert max(sizes) < 7 << 20
    assert len(kubo.pins()) == 3


async def test_a_root_that_is_damaged_here_does_not_hold_up_the_others(
    tmp_path: Path, kubo: Daemon
) -> None:
    clock = ManualClock()
    good, hurt = raw(b"good"), raw(b"hurt")
    with home(tmp_path, kubo.url, clock=clock) as here:
        roots = [node(good if number % 3 else hurt, text=str(number)) for number in range(30)]
        here.keep(*roots, parts=[good, hurt])
        here.database.write(
            lambda db: db.execute("UPDATE block_data SET data = x'00' WHERE data = ?", (hurt[1],))
        )
        (status,) = await here.outbox.catch_up()
        assert status.pins == 10
        assert text(hurt) in str(status.stuck)
        assert len(kubo.pins()) == 20
        await here.blocks.put_many([hurt])
        await clock.advance(round(1000 * STUCK_S_MAX))
        await here.outbox.catch_up()
        assert here.owed == [0]
    assert len(kubo.pins()) == 30


async def test_a_slow_endpoint_is_sent_less_at_a_time(tmp_path: Path, kubo: Daemon) -> None:
    roots = [raw(bytes([number]) * 100_000) for number in range(100)]
    on = ("dag/import",)
    with bad.bad_kubo(bad.hang_up, upstream=kubo.url, on=on, times=3) as server:
        with home(tmp_path, server.url) as here:
            here.keep(*roots)
            while any(here.owed):
                await here.outbox.catch_up()
        sizes = [len(one.body) for one in server.requests if one.call == "dag/import"]
        assert sizes[:4] == sorted(sizes[:4], reverse=True)
        assert sizes[3] < sizes[0] / 2
    assert len(kubo.pins()) == 100


# -- endpoints that misbehave -----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(bad.ACTORS))
async def test_whatever_an_endpoint_does_nothing_is_lost_and_the_others_get_it(
    name: str, tmp_path: Path, kubo: Daemon
) -> None:
    with (
        bad.bad_kubo(bad.ACTORS[name]) as server,
        home(tmp_path, server.url, kubo.url, timeout_s=0.3) as here,
    ):
        here.outbox.endpoints[1].kubo._rpc.timeout_s = 20.0
        here.keep(ONE, parts=[LEAF])
        here.want_key(CHAIN)
        with anyio.fail_after(30):
            first, second = await here.outbox.catch_up()
        assert (first.pins, second.pins) == (2, 0)
        assert first.problem
        assert "lost" in here.events()
    assert len(kubo.pins()) == 2


@pytest.mark.parametrize("name", ["other_cid", "no_bytes", "cut", "refuse", "fail_in_the_trailer"])
async def test_an_import_that_is_not_confirmed_is_owed_still(
    name: str, tmp_path: Path, kubo: Daemon
) -> None:
    on = ("dag/import",)
    with (
        bad.bad_kubo(bad.ACTORS[name], upstream=kubo.url, on=on, times=1) as server,
        home(tmp_path, server.url, timeout_s=5.0) as here,
    ):
        here.keep(ONE, parts=[LEAF])
        await here.outbox.catch_up()
        assert here.owed == [1]
        await here.outbox.catch_up()
        assert here.owed == [0]
    assert kubo.pins().keys() == {text(ONE)}


@pytest.mark.holds("S12")
async def test_what_is_wanted_otherwise_while_it_is_being_done_is_owed_still(
    tmp_path: Path, kubo: Daemon
) -> None:
    counted = {"BlockCount": 2, "BlockBytesCount": len(ONE[1]) + len(LEAF[1])}
    root = {"Cid": {"/": text(ONE)}, "PinErrorMsg": ""}
    lines = [{"Root": root}, {"Stats": counted}]

    def drop_meanwhile(wire: bad.Wire, _: bad.Request) -> None:
        here.drop(ONE)
        wire.answer(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    with (
        bad.bad_kubo(drop_meanwhile, upstream=kubo.url, on=("dag/import",)) as server,
        home(tmp_path, server.url) as here,
    ):
        here.keep(ONE, parts=[LEAF])
        (status,) = await here.outbox.catch_up()
        assert (status.pins, status.releases) == (0, 1)
        await here.outbox.catch_up()
        assert here.owed == [0]


def test_an_endpoint_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="twice"), home(tmp_path, "http://a:1", "http://a:1/"):
        pass


def test_without_endpoints_nothing_is_owed(tmp_path: Path) -> None:
    with home(tmp_path) as here:
        here.keep(ONE, parts=[LEAF])
        here.drop(ONE)
        assert here.outbox.status() == []
        assert here.outbox.pins_of(ONE[0]) == []
        assert here.outbox.owed([ONE[0]]) == 0


def test_where_a_root_is_pinned_is_told(tmp_path: Path) -> None:
    with home(tmp_path, "http://127.0.0.1:1") as here:
        here.keep(ONE, parts=[LEAF])
        (pin,) = here.outbox.pins_of(ONE[0])
        assert (pin.endpoint, pin.is_owed) == ("http://127.0.0.1:1", True)
        assert not here.outbox.pins_of(TWO[0])[0].is_owed
        assert here.outbox.owed([ONE[0], TWO[0]]) == 1


def test_names_of_pins_stay_here(tmp_path: Path) -> None:
    with home(tmp_path, "http://127.0.0.1:1") as here:
        here.keep(ONE, parts=[LEAF])
        rows = here.database.read(lambda db: db.execute("SELECT * FROM outbox").fetchall())
        assert "stays here" not in repr(rows)
