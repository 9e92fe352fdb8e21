"""Compaction: a snapshot in the place of the log, made from the disk while writers go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from qflow.errors import StaleError, VerificationError
from qflow.state import CompactionLimits
from qflow.state._document_exchange import Exported
from qflow.storage._blocks import text_of
from tests.state.documents import NAME, NEVER, Place, exchange
from tests.state.documents import opened as opened_at
from tests.state.executions import node

pytestmark = pytest.mark.anyio

TWO = (1, 2)
opened = partial(opened_at, limits=NEVER)


def blocks_in(place: Place) -> int:
    (count,) = place.database.read(lambda db: db.execute("SELECT count(*) FROM block").fetchone())
    return int(count)


@pytest.mark.holds("C3")
async def test_compaction_changes_no_value(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with opened([place]) as [cart]:
        for number in range(60):
            await cart.set(f"/of/{number % 7}", {"n": number, "t": f"text {number}"})
            await cart.increment("/n", number)
            await cart.append("/log", number)
        await cart.delete("/of/3")
        seen, clock = cart.get(), cart.clock
        done = await cart.compact()
        assert (cart.get(), cart.clock) == (seen, clock)
        assert (done.operations, done.kept, done.waits_for) == (sum_of(clock), 0, ())
        assert done.blocks == 182
        assert done.bytes_after < done.bytes_before
        assert cart.stats()["log_blocks"] == 0
        await cart.increment("/n")
        assert place.database.write(place.blocks.recount) == 0
        (told,) = place.events("compacted")
        assert told["operations"] == done.operations
    async with opened([place]) as [cart]:
        assert cart.get() == seen | {"n": seen["n"] + 1}
        await cart.compact()
        assert cart.get() == seen | {"n": seen["n"] + 1}
        # The base, the parts of its snapshot and their root; nothing of before.
        assert blocks_in(place) == 3


def sum_of(clock: bytes) -> int:
    from qflow import _core

    return sum(seq for _, seq, _ in _core.decode(clock))


@pytest.mark.holds("C3", "C12")
async def test_what_a_member_has_not_shown_to_have_seen_stays_in_the_log(tmp_path: Path) -> None:
    places = [Place(tmp_path / str(number), number, members=TWO) for number in TWO]
    async with opened(places, quorum=1) as [one, two]:
        for number in range(20):
            await one.set(f"/{number}", number)
        done = await one.compact()
        assert (done.operations, done.kept) == (0, 20)
        assert done.waits_for == (node(2).did,)
        assert done.snapshot is None
        assert one.stats()["log_blocks"] == 1, "many packs became one"
        await exchange([one, two])
        await two.set("/seen", True)
        await exchange([one, two])
        done = await one.compact()
        assert (done.operations, done.kept) == (20, 1)
        seen = one.get()
        await exchange([one, two])
        assert two.get() == seen
    async with opened(places, quorum=1) as [one, two]:
        assert one.get() == two.get() == seen
        await two.set("/more", 1)
        await one.delete("/3")
        await exchange([one, two])
        assert one.get() == two.get()
        assert one.get("/3") is None


@pytest.mark.holds("C12", "C3")
async def test_members_attest_the_same_snapshot_before_the_log_goes(tmp_path: Path) -> None:
    places = [Place(tmp_path / str(number), number, members=TWO) for number in TWO]
    async with opened(places) as [one, two]:
        for cart in (one, two, one, two):
            await cart.increment("/n")
            await exchange([one, two])
        done = await one.compact()
        assert done.operations == 0
        assert done.snapshot is None
        assert done.waits_for == (node(2).did,)
        (said,) = await one.attestations()
        done = await two.attest(said)
        assert done.operations > 0
        again = done
        for said in await two.attestations():
            again = await one.attest(said)
        assert again.snapshot == done.snapshot
        assert one.get() == two.get() == {"n": 4}
        bad = bytearray(said)
        bad[-1] ^= 1
        with pytest.raises(VerificationError):
            await one.attest(bytes(bad))
    stranger = Place(tmp_path / "stranger", 9)
    async with opened([stranger]) as [other], opened(places) as [one, _]:
        await other.set("/a", 1)
        from qflow.state._document_attestation import Attestation

        forged = Attestation.made(one.id, one.clock, b"\x01\x55\x12\x20" + bytes(32),
                                  node(9).public, node(9).seed)  # fmt: skip
        with pytest.raises(VerificationError, match="no member"):
            await one.attest(forged.encode())


@pytest.mark.holds("C12")
async def test_a_peer_back_from_beyond_the_cut_catches_up_and_a_delete_stays(
    tmp_path: Path,
) -> None:
    places = [Place(tmp_path / str(number), number, members=TWO) for number in TWO]
    async with opened(places) as [one, two]:
        await one.set("/old", 1)
        await one.set("/kept", 1)
        await exchange([one, two])
        lagging = two.clock
    # While the second is away it is no member: the first cuts without it.
    places[0].members = [node(1).public]
    async with opened(places) as [one, two]:
        await two.set("/unsent", "of two")
        await two.increment("/n", 7)
        await one.delete("/old")
        for number in range(10):
            await one.set("/kept", number)
        await one.compact()
        places[0].members = places[1].members
        with pytest.raises(StaleError):
            one.delta(lagging)
        await two.import_(await one.export())
        assert two.get() == {"kept": 9, "unsent": "of two", "n": 7}
        await one.apply(two.delta(one.clock))
        assert one.get() == two.get()
        assert one.clock == two.clock
    async with opened(places) as [one, two]:
        assert one.get() == two.get() == {"kept": 9, "unsent": "of two", "n": 7}


async def test_an_export_is_a_whole_document_elsewhere(tmp_path: Path) -> None:
    places = [Place(tmp_path / str(number), number, members=TWO) for number in TWO]
    async with opened(places, quorum=1) as [one, two]:
        await one.set("/a", {"b": [1, 2]})
        data = await one.export()
        await two.import_(data)
        assert two.get() == one.get()
        assert (await two.import_(data)).applied == 0
        for bad in (b"", b"\xa0", data[:-1], data + b"\x00"):
            with pytest.raises(ValueError, match=r"."):
                await two.import_(bad)
    async with Place(tmp_path / "x", 1, members=TWO).opened() as documents:
        other = await documents.open("another")
        with pytest.raises(VerificationError, match="another document"):
            await other.import_(data)


@pytest.mark.holds("C12", "C10")
async def test_a_snapshot_that_no_member_attests_is_refused(tmp_path: Path) -> None:
    places = [Place(tmp_path / str(number), number, members=TWO) for number in TWO]
    places[0].members = [node(1).public]
    stranger = Place(tmp_path / "stranger", 9)
    async with opened([*places, stranger]) as [one, two, other]:
        for cart in (one, other):
            await cart.set("/a", cart.replica)
            await cart.compact()
        with pytest.raises(VerificationError, match="attest"):
            await two.import_(await other.export())
        assert two.get() == {}
        await two.import_(await one.export())
        assert two.get() == one.get()


@pytest.mark.holds("C10")
async def test_a_strangers_change_behind_a_snapshot_that_is_attested_is_refused(
    tmp_path: Path,
) -> None:
    places = [Place(tmp_path / str(number), number, members=TWO) for number in TWO]
    places[0].members = [node(1).public]
    stranger = Place(tmp_path / "stranger", 9)
    async with opened([*places, stranger]) as [one, two, other]:
        await one.set("/a", "own")
        await one.compact()
        await other.set("/a", "foreign")
        sent = Exported.parse(await one.export())
        sent = sent._replace(packs=[*sent.packs, other.delta()])
        taken = await two.import_(sent.encode())
        assert [why for _, why in taken.refused] == ["its replica is no member"]
        assert two.get() == one.get() == {"a": "own"}
    async with opened(places) as [one, two]:
        assert two.get() == {"a": "own"}


async def test_it_begins_by_itself_at_its_bounds(tmp_path: Path) -> None:
    place = Place(tmp_path)
    limits = CompactionLimits(operations=1000, blocks=10, pause_ms=0)
    async with place.opened(limits=limits) as documents:
        cart, other = await documents.open(NAME), await documents.open("other")
        for number in range(10):
            await cart.set(f"/{number}", number)
            await other.increment("/n", 1)
        await documents.settle()
        assert cart.stats()["log_blocks"] < 10
        assert other.stats()["log_blocks"] < 10
        assert {one["name"] for one in place.events("compacted")} == {NAME, "other"}
        assert cart.get() == {str(number): number for number in range(10)}
        async with cart.transaction() as t:
            for number in range(1000):
                t.set(f"/k/{number}", number)
        await documents.settle()
        assert cart.stats()["log_operations"] == 0
    async with place.opened() as documents:
        assert len((await documents.open(NAME)).get("/k")) == 1000


@pytest.mark.holds("C3", "C11")
async def test_what_is_written_meanwhile_is_kept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with opened([place]) as [cart]:
        async with cart.transaction() as t:
            for number in range(5000):
                t.set(f"/k/{number}", number)
        done = anyio.Event()
        count = 0

        async def write() -> None:
            nonlocal count
            while not done.is_set():
                await cart.increment("/n")
                count += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for _ in range(3):
                await cart.compact()
            done.set()
        assert cart.get("/n") == count
        assert count
        assert place.database.write(place.blocks.recount) == 0
    async with opened([place]) as [cart]:
        assert cart.get("/n") == count
        assert len(cart.get("/k")) == 5000


@pytest.mark.holds("C3")
async def test_a_damaged_block_stops_a_compaction_and_nothing_changes(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with opened([place]) as [cart]:
        for number in range(5):
            await cart.set(f"/{number}", number)
        query = "SELECT cid, place FROM block WHERE cid ="
        query += " (SELECT cid FROM document_block WHERE number = 3)"
        cid, at = place.database.read(lambda db: db.execute(query).fetchone())
        place.database.write(
            lambda db: db.execute(
                "UPDATE block_data SET data = zeroblob(length(data)) WHERE place = ?", (at,)
            )
        )
        with pytest.raises(VerificationError, match=text_of(cid)):
            await cart.compact()
        await cart.set("/more", 1)
        assert len(cart.get()) == 6


async def test_what_a_compaction_leaves_is_let_go_after_a_crash_too(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.opened(limits=NEVER) as documents:
        cart = await documents.open(NAME)
        for number in range(200):
            await cart.set(f"/{number}", number)
        care = documents._care
        release = care._store.release
        care._store.release = lambda pause: True  # type: ignore[method-assign]
        await cart.compact()
        assert blocks_in(place) > 200
        care._store.release = release  # type: ignore[method-assign]
        calls = iter([False, True])
        release(lambda: next(calls, True))
        assert 3 < blocks_in(place) < 200
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        assert len(cart.get()) == 200
        await cart.compact()
        assert blocks_in(place) <= 4
        assert place.database.write(place.blocks.recount) == 0
        assert place.blocks.collect() == (0, 0)
