"""The embedded store: what its counts say is what a walk from the pins would find."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow.errors import BlockNotFoundError, PoisonedError, VerificationError
from qflow.storage import Block, Database, SqliteBlocks
from qflow.storage import _sqlite as sqlite_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteBlocks]:
    with Database(tmp_path / "state.db") as database:
        yield SqliteBlocks(database)


def raw(data: bytes) -> Block:
    return bytes(_core.cid_of(data, "raw")), data


def node(*parts: Block, **more: object) -> Block:
    data = _core.encode({"links": [_core.Cid(cid) for cid, _ in parts], **more})
    return bytes(_core.cid_of(data)), data


def put(store: SqliteBlocks, *blocks: Block, pin: Block | None = None) -> None:
    def job(db: sqlite3.Connection) -> None:
        store.put_blocks(db, blocks)
        if pin is not None:
            store.pin_block(db, pin[0])

    store.database.write(job)


def damage(store: SqliteBlocks, cid: bytes) -> None:
    statement = "UPDATE block_data SET data = x'00' WHERE place = (SELECT place FROM block"
    store.database.write(lambda db: db.execute(f"{statement} WHERE cid = ?)", (cid,)).rowcount)


def garbage(store: SqliteBlocks) -> set[bytes]:
    return {cid for cid, _ in store.database.read(store.garbage)}


def bad(store: SqliteBlocks) -> list[tuple[bytes, bytes]]:
    return store.database.read(
        lambda db: db.execute("SELECT cid, data FROM bad_block ORDER BY number").fetchall()
    )


LEAVES = [raw(b"%d" % number) for number in range(4)]
MIDDLES = [node(*LEAVES[at : at + 2], LEAVES[at], by=at) for at in range(3)]
UPPERS = [node(*MIDDLES[:2], LEAVES[3], by=3), node(MIDDLES[1], MIDDLES[1], by=4)]
ROOTS = [node(*UPPERS, MIDDLES[2], by=5), node(UPPERS[0], by=6)]
GRAPH = dict([*LEAVES, *MIDDLES, *UPPERS, *ROOTS])
CIDS = sorted(GRAPH)


def reached(pins: set[bytes]) -> set[bytes]:
    due, seen = list(pins), set(pins)
    while due:
        links = set(_core.block_links(cid := due.pop(), GRAPH[cid])) - seen
        seen |= links
        due += links
    return seen


def reset(db: sqlite3.Connection) -> None:
    for table in ("pin", "block", "block_data"):
        db.execute(f"DELETE FROM {table}")


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteBlocks]:
    with Database(tmp_path_factory.mktemp("counts") / "state.db") as database:
        yield SqliteBlocks(database)


@given(st.lists(st.tuples(st.sampled_from(["pin", "unpin", "delete", "put"]), st.integers(0, 99))))
def test_the_counts_are_what_a_walk_finds(
    shared_store: SqliteBlocks, steps: list[tuple[str, int]]
) -> None:
    """Pins, unpins, deletes and puts in any order, beside a model that walks."""

    def job(db: sqlite3.Connection) -> None:
        reset(db)
        store, here, pins = shared_store, dict(GRAPH), set[bytes]()
        store.put_blocks(db, GRAPH.items())
        for verb, number in steps:
            cid = CIDS[number % len(CIDS)]
            db.execute("SAVEPOINT step")
            try:
                if verb == "put":
                    store.put_blocks(db, [(cid, GRAPH[cid])])
                    here[cid] = GRAPH[cid]
                elif verb == "pin":
                    store.pin_block(db, cid)
                    assert reached({cid}) <= here.keys()
                    pins.add(cid)
                elif verb == "unpin":
                    assert store.unpin_block(db, cid) == (cid in pins)
                    pins.discard(cid)
                else:
                    store.delete_blocks(db, [cid])
                    assert cid not in reached(pins)
                    here.pop(cid, None)
            except BlockNotFoundError:
                assert verb == "pin"
                assert not reached({cid}) <= here.keys()
                db.execute("ROLLBACK TO step")
            except ValueError:
                assert verb == "delete"
                assert cid in reached(pins)
                db.execute("ROLLBACK TO step")
            db.execute("RELEASE step")
            held = reached(pins)
            loose = {cid for cid, _ in store.garbage(db)}
            assert loose == here.keys() - held
        assert store.recount(db) == 0

    shared_store.database.write(job)


def test_blocks_and_pin_are_there_together_or_not_at_all(store: SqliteBlocks) -> None:
    missing = raw(b"missing")
    root = node(LEAVES[0], missing)
    with pytest.raises(BlockNotFoundError):
        put(store, LEAVES[0], root, pin=root)
    assert garbage(store) == set()
    with pytest.raises(BlockNotFoundError):
        store.load([LEAVES[0][0]])


@pytest.mark.holds("S12")
def test_what_no_pin_reaches_is_named_and_collected(store: SqliteBlocks) -> None:
    put(store, *GRAPH.items(), pin=ROOTS[0])
    put(store, pin=ROOTS[1])
    assert garbage(store) == set()
    store.database.write(lambda db: store.unpin_block(db, ROOTS[0][0]))
    loose = GRAPH.keys() - reached({ROOTS[1][0]})
    assert garbage(store) == loose
    sizes = sum(len(GRAPH[cid]) for cid in loose)
    assert store.collect() == (len(loose), sizes)
    assert store.collect() == (0, 0)
    for cid, data in GRAPH.items():
        if cid not in loose:
            assert store.load([cid]) == [data]
    store.database.write(lambda db: store.unpin_block(db, ROOTS[1][0]))
    assert store.collect()[0] == len(GRAPH) - len(loose)
    rows = store.database.read(
        lambda db: [
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("block", "block_data", "pin", "bad_block")
        ]
    )
    assert rows == [0, 0, 0, 0]


def test_collecting_goes_by_turns(store: SqliteBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_of, "BATCH_BLOCKS", 2)
    put(store, *GRAPH.items(), pin=ROOTS[1])
    loose = GRAPH.keys() - reached({ROOTS[1][0]})
    assert store.collect()[0] == len(loose)
    monkeypatch.setattr(sqlite_of, "BATCH_BYTES", 1)
    store.database.write(lambda db: store.unpin_block(db, ROOTS[1][0]))
    assert store.collect()[0] == len(GRAPH) - len(loose)


@pytest.mark.holds("S11")
def test_a_block_that_changed_is_put_aside(store: SqliteBlocks) -> None:
    root = node(*LEAVES)
    put(store, *LEAVES, root, pin=root)
    cid, data = LEAVES[1]
    damage(store, cid)
    with pytest.raises(VerificationError, match="damaged"):
        store.load([LEAVES[0][0], cid])
    with pytest.raises(BlockNotFoundError):
        store.load([cid])
    assert bad(store) == [(cid, b"\x00")]
    # Its pin still holds it: it cannot be deleted, and is held again when it is back.
    with pytest.raises(ValueError, match="pin"):
        store.database.write(lambda db: store.delete_blocks(db, [cid]))
    with pytest.raises(BlockNotFoundError):
        store.database.write(store.recount)
    put(store, (cid, data))
    assert store.load([cid]) == [data]
    assert store.database.write(store.recount) == 0
    store.database.write(lambda db: store.unpin_block(db, root[0]))
    assert garbage(store) == {root[0], *dict(LEAVES)}


@pytest.mark.holds("S11")
@pytest.mark.anyio
async def test_a_pin_over_a_block_that_changed_is_refused(store: SqliteBlocks) -> None:
    await store.put_many([*LEAVES[:2], MIDDLES[0]])
    damage(store, MIDDLES[0][0])
    with pytest.raises(VerificationError):
        await store.pin(MIDDLES[0][0])
    assert not await store.has(MIDDLES[0][0])
    assert [pin async for pin in store.pins()] == []
    await store.put_many([MIDDLES[0]])
    await store.pin(MIDDLES[0][0])


def test_what_a_lost_block_held_stays_until_it_is_counted_anew(store: SqliteBlocks) -> None:
    root = node(*LEAVES)
    put(store, *LEAVES, root, pin=root)
    damage(store, root[0])
    with pytest.raises(VerificationError):
        store.load([root[0]])
    store.database.write(lambda db: store.unpin_block(db, root[0]))
    with pytest.raises(ValueError, match="pin"):
        store.database.write(lambda db: store.delete_blocks(db, [LEAVES[0][0]]))
    assert garbage(store) == dict(LEAVES).keys()
    assert store.database.write(store.recount) == len(LEAVES)
    assert garbage(store) == dict(LEAVES).keys()


@pytest.mark.holds("S12")
@pytest.mark.parametrize("noticed", [True, False])
def test_what_a_lost_block_held_is_collected(store: SqliteBlocks, noticed: bool) -> None:
    lost, kept = node(*LEAVES), node(LEAVES[0])
    put(store, *LEAVES, lost, pin=lost)
    put(store, kept, pin=kept)
    damage(store, lost[0])
    if noticed:
        with pytest.raises(VerificationError):
            store.load([lost[0]])
    store.database.write(lambda db: store.unpin_block(db, lost[0]))
    loose = garbage(store)
    assert loose == {*dict(LEAVES[1:]), *(() if noticed else [lost[0]])}
    assert store.collect()[0] == len(loose)
    assert garbage(store) == set()
    assert store.load([kept[0], LEAVES[0][0]]) == [kept[1], LEAVES[0][1]]
    assert store.database.write(store.recount) == 0


def test_nothing_that_a_damaged_pin_may_hold_is_collected(store: SqliteBlocks) -> None:
    lost, hurt = node(LEAVES[0]), node(LEAVES[1])
    put(store, *LEAVES[:2], lost, pin=lost)
    put(store, hurt, pin=hurt)
    for cid in (lost[0], hurt[0]):
        damage(store, cid)
        with pytest.raises(VerificationError):
            store.load([cid])
    store.database.write(lambda db: store.unpin_block(db, lost[0]))
    assert garbage(store) == set()
    assert store.collect() == (0, 0)
    put(store, hurt)
    assert garbage(store) == {LEAVES[0][0]}
    assert store.collect()[0] == 1
    assert store.load([LEAVES[1][0]]) == [LEAVES[1][1]]


@pytest.mark.holds("S11")
def test_a_place_that_changed_costs_no_other_block(store: SqliteBlocks) -> None:
    put(store, *LEAVES[:2])
    (one, data), (other, good) = LEAVES[:2]
    query = "UPDATE block SET place = (SELECT place FROM block WHERE cid = ?) WHERE cid = ?"
    store.database.write(lambda db: db.execute(query, (other, one)).rowcount)
    with pytest.raises(VerificationError):
        store.load([one])
    assert store.load([other]) == [good]
    put(store, (one, data))
    assert store.load([one, other]) == [data, good]


def test_few_bad_blocks_are_kept(store: SqliteBlocks) -> None:
    blocks = [raw(b"block %d" % number) for number in range(sqlite_of.BAD_BLOCKS_MAX + 5)]
    put(store, *blocks)
    for cid, _ in blocks:
        damage(store, cid)
    for cid, _ in blocks:
        with pytest.raises(VerificationError):
            store.load([cid])
    assert [cid for cid, _ in bad(store)] == [cid for cid, _ in blocks[5:]]


def test_a_walk_gives_each_block_once_and_parents_first(
    store: SqliteBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_of, "WALK_BYTES", 100)
    put(store, *GRAPH.items())
    found = list(store.walk([ROOTS[0][0], MIDDLES[0][0], ROOTS[0][0]]))
    order = [cid for cid, _ in found]
    assert dict(found) == {cid: GRAPH[cid] for cid in reached({ROOTS[0][0]})}
    assert len(order) == len(set(order))
    assert order[0] == ROOTS[0][0]
    store.database.write(lambda db: store.delete_blocks(db, [LEAVES[0][0]]))
    with pytest.raises(BlockNotFoundError):
        list(store.walk([ROOTS[0][0]]))


@pytest.mark.anyio
async def test_an_empty_block_is_a_block(store: SqliteBlocks) -> None:
    empty = raw(b"")
    await store.put_many([empty])
    await store.pin(empty[0])
    assert await store.get(empty[0]) == b""
    assert await store.has(empty[0])


@pytest.mark.anyio
async def test_links_of_an_unknown_codec_are_refused(store: SqliteBlocks) -> None:
    cid, data = raw(b"\n\x02\x08\x01")
    other = cid[:1] + b"\x70" + cid[2:]  # dag-pb
    await store.put_many([(other, data)])
    with pytest.raises(ValueError, match="codec"):
        await store.pin(other)


@pytest.mark.anyio
async def test_many_pins_come_in_pages(
    store: SqliteBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_of, "PAGE", 7)
    blocks = [raw(b"%d" % number) for number in range(30)]
    put(store, *blocks)
    for number, (cid, _) in enumerate(blocks):
        await store.pin(cid, str(number))
    found = [pin async for pin in store.pins()]
    assert found == sorted((cid, str(at)) for at, (cid, _) in enumerate(blocks))


def test_pinning_on_top_of_what_is_held_does_not_walk_it(
    store: SqliteBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = [node(raw(b""), by=0)]
    put(store, raw(b""), chain[0], pin=chain[0])
    for by in range(1, 200):
        chain.append(node(chain[-1], by=by))
        put(store, chain[-1], pin=chain[-1])
    read: list[bytes] = []
    links = sqlite_of._links

    def counted(db: sqlite3.Connection, cid: bytes) -> list[bytes]:
        read.append(cid)
        return links(db, cid)

    monkeypatch.setattr(sqlite_of, "_links", counted)
    top = node(chain[-1], by=200)
    put(store, top, pin=top)
    assert read == [top[0]]


def test_ingest_stores_by_turns(store: SqliteBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_of, "BATCH_BYTES", 100)
    blocks = [raw(bytes([number]) * 30) for number in range(20)]
    assert store.ingest(iter([*blocks, *blocks[:3]])) == 20
    assert store.ingest(blocks) == 0
    assert store.ingest([]) == 0
    assert store.load([cid for cid, _ in blocks]) == [data for _, data in blocks]


def test_a_bad_block_is_refused_also_when_it_cannot_be_marked(store: SqliteBlocks) -> None:
    put(store, LEAVES[0])
    damage(store, LEAVES[0][0])
    with pytest.raises(PoisonedError):
        store.database.write(lambda db: db.execute("COMMIT"))
    for _ in range(2):
        with pytest.raises(VerificationError):
            store.load([LEAVES[0][0]])


@pytest.mark.holds("S14")
def test_a_damaged_block_is_found_among_others_and_mended(store: SqliteBlocks) -> None:
    """Also one that nobody has read since, and one whose place has nothing any more."""
    put(store, *GRAPH.items(), pin=ROOTS[0])
    hurt, lost, other = LEAVES[0], MIDDLES[1], raw(b"not here")
    damage(store, hurt[0])
    store.database.write(
        lambda db: (
            db.execute(
                "DELETE FROM block_data WHERE place = (SELECT place FROM block WHERE cid = ?)",
                (lost[0],),
            ).rowcount
        )
    )
    put(store, hurt, lost)
    assert set(store.lacking([*CIDS, other[0]])) == {hurt[0], lost[0], other[0]}
    damage(store, UPPERS[0][0])
    mend = [hurt, lost, UPPERS[0], LEAVES[1]]
    assert store.database.write(lambda db: store.mend_blocks(db, mend)) == 3
    assert store.lacking(CIDS) == []
    assert store.database.write(store.recount) == 0
    assert [cid for cid, _ in bad(store)] == [hurt[0], lost[0], UPPERS[0][0]]
