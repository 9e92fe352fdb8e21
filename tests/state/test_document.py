"""One document on one node: written, read, kept, found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow.errors import (
    DocumentNotFoundError,
    ErasedError,
    TypeMismatchError,
    UnavailableError,
)
from qflow.state import CompactionLimits, Document, _document_live
from tests.state.documents import NAME, NEVER, Place

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_what_is_written_is_there_after_a_restart(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.set("/owner", {"name": "Ann", "tags": [1, None, "x"]})
        await cart.increment("/items/apple", 3)
        await cart.increment(("items", "apple"))
        await cart.append("/log", "one", 2)
        await cart.merge("", {"total": 5, "deep": {"a": True}})
        await cart.set("/gone", 1)
        await cart.delete("/gone")
        seen = cart.get()
    assert seen == {
        "owner": {"name": "Ann", "tags": [1, None, "x"]},
        "items": {"apple": 4},
        "log": ["one", 2],
        "total": 5,
        "deep": {"a": True},
    }
    async with place.opened() as documents:
        cart = await documents.open(NAME, create=False)
        assert cart.get() == seen
        assert cart.get("/items/apple") == 4
        assert cart.get("/nothing", "default") == "default"
        assert cart.get("/nothing") is None
        await cart.increment("/items/apple")
        assert cart.get("/items/apple") == 5


@pytest.mark.holds("C11")
async def test_a_write_that_cannot_be_sealed_leaves_nothing_for_the_next_to_build_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object) -> None:
        raise ValueError("a state has at most so many bytes")

    async with place.opened() as documents:
        cart = await documents.open(NAME)
        with monkeypatch.context() as patched:
            patched.setattr(_document_live, "added_blocks", too_long)
            with pytest.raises(ValueError, match="at most"):
                await cart.set("/lost", 1)
        await cart.set("/kept", 2, op="later")
        assert cart.get() == {"kept": 2}
    async with place.opened() as documents:
        assert (await documents.open(NAME)).get() == {"kept": 2}


@pytest.mark.holds("C11")
async def test_a_transaction_is_there_as_a_whole_or_not_at_all(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        async with cart.transaction() as t:
            t.set("/a", 1)
            t.increment("/n", 2)
            assert t.get("/n") == 2
            assert cart.get() == {}
        assert cart.get() == {"a": 1, "n": 2}
        clock = cart.clock

        async def fail() -> None:
            async with cart.transaction() as t:
                t.set("/a", 2)
                raise KeyError("something else")

        with pytest.raises(KeyError):
            await fail()
        assert (cart.get(), cart.clock) == ({"a": 1, "n": 2}, clock)
    async with place.opened() as documents:
        assert (await documents.open(NAME)).get() == {"a": 1, "n": 2}


@pytest.mark.holds("C11")
async def test_the_same_operation_again_is_a_no_op_also_after_a_restart(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        for _ in range(3):
            await cart.increment("/n", 5, op="order-17")
        async with cart.transaction(op=b"order-17") as t:
            t.increment("/n", 5)
        await cart.delete("/nothing", op="empty")
        assert cart.get("/n") == 5
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.increment("/n", 5, op="order-17")
        await cart.set("/nothing", 1)
        await cart.delete("/nothing", op="empty")
        assert cart.get() == {"n": 5, "nothing": 1}
        await cart.increment("/n", 5, op="order-18")
        assert cart.get("/n") == 10


@pytest.mark.holds("C11", "C3")
async def test_the_same_operation_is_known_after_a_compaction(place: Place) -> None:
    async with place.opened(limits=NEVER) as documents:
        cart = await documents.open(NAME)
        await cart.increment("/n", 5, op="order-17")
        done = await cart.compact()
        assert (done.operations, done.kept) == (1, 0)
        await cart.increment("/n", 5, op="order-17")
        assert cart.get("/n") == 5
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.increment("/n", 5, op="order-17")
        assert cart.get("/n") == 5


@pytest.mark.parametrize("op", ["", b"", "x" * 65, b"x" * 65], ids=[*"abcd"])
async def test_operation_ids_are_bounded(place: Place, op: Any) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        with pytest.raises(ValueError, match="operation id"):
            await cart.set("/a", 1, op=op)
        assert cart.get() == {}


@pytest.mark.holds("C1")
async def test_reads_are_pure(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.set("/a", {"list": [1, 2], "n": 1})
        before = (cart.clock, cart.delta(), await documents.list())
        for _ in range(2):
            read = cart.get()
            read["a"]["list"].append(3)
            read["a"]["more"] = 1
            cart.get("/a", strategy="keep-all")
            cart.conflicts()
            cart.siblings("/a/n")
            cart.history("/a")
            cart.at(cart.clock)
            cart.get("/none", "default")
            cart.stats()
        assert cart.get() == {"a": {"list": [1, 2], "n": 1}}
        assert (cart.clock, cart.delta(), await documents.list()) == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/", 1),
        ("/a//b", 1),
        ("/..", 1),
        ("/$x", 1),
        ("/e\u0301", 1),
        ("a", 1),
        ("/a", float("nan")),
        ("/a", float("inf")),
        ("/a", 2**63),
        ("/a", object()),
    ],
)
@pytest.mark.holds("C8", "C9")
async def test_bad_paths_and_values_are_refused_and_nothing_is_written(
    place: Place, path: str, value: Any
) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        with pytest.raises((ValueError, TypeError)):
            await cart.set(path, value)
        assert cart.get() == {}
        assert cart.stats()["log_blocks"] == 0


@pytest.mark.holds("C9")
async def test_increments_are_exact(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.increment("/n", 0)
        assert cart.get("/n") == 0
        for _ in range(3):
            await cart.increment("/n", 2**63 - 1)
        assert cart.get("/n") == 3 * (2**63 - 1)
        for by in (True, 1.0, 2**63):
            with pytest.raises((TypeError, ValueError)):
                await cart.increment("/n", by)  # type: ignore[arg-type]


async def test_misuse_of_a_type_is_told_to_who_writes(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.set("/a", "text")
        for write in (cart.increment("/a"), cart.append("/a", 1), cart.set("/a/b", 1)):
            with pytest.raises(TypeMismatchError):
                await write
        assert cart.get() == {"a": "text"}


async def test_one_task_cannot_write_beside_its_own_transaction(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        async with cart.transaction() as t:
            t.set("/a", 1)
            with pytest.raises(RuntimeError):
                await cart.set("/b", 1)
        assert cart.get() == {"a": 1}


async def test_many_tasks_write_at_once_and_nothing_is_lost(place: Place) -> None:
    async with place.opened() as documents:
        names = [f"shop/cart-{number}" for number in range(4)]
        carts = [await documents.open(name) for name in names]

        async def write(cart: Document, number: int) -> None:
            await cart.increment("/n")
            await cart.set(f"/of/{number}", number)

        async with anyio.create_task_group() as tasks:
            for number in range(25):
                for cart in carts:
                    tasks.start_soon(write, cart, number)
        assert all(cart.get("/n") == 25 for cart in carts)
    async with place.opened() as documents:
        for name in names:
            cart = await documents.open(name)
            assert cart.get("/of") == {str(number): number for number in range(25)}
            assert cart.conflicts() == []


async def test_a_long_transaction_is_durable_as_one(place: Place) -> None:
    async with place.opened(limits=NEVER) as documents:
        cart = await documents.open(NAME)
        async with cart.transaction() as t:
            for number in range(20_000):
                t.set(f"/keys/{number}", f"value {number} " + "x" * 60)
        assert cart.stats()["log_operations"] == 20_000
    async with place.opened(limits=NEVER) as documents:
        cart = await documents.open(NAME)
        assert len(cart.get("/keys")) == 20_000
        assert cart.get("/keys/19999") == "value 19999 " + "x" * 60


async def test_documents_are_listed_by_name(place: Place) -> None:
    async with place.opened() as documents:
        for name in ("b", "a/x", "a"):
            await documents.open(name)
        await (await documents.open("b")).set("/x", 1)
        listed = await documents.list()
        assert [(one.name, one.blocks, one.operations) for one in listed] == [
            ("a", 0, 0),
            ("a/x", 0, 0),
            ("b", 1, 1),
        ]
        assert [one["name"] for one in place.events("document.created")] == ["b", "a/x", "a"]
        assert await documents.open("a") is await documents.open("a")


async def test_what_is_not_there_is_not_made_unless_wanted(place: Place) -> None:
    async with place.opened() as documents:
        with pytest.raises(DocumentNotFoundError):
            await documents.open(NAME, create=False)
        assert await documents.list() == []


async def test_without_a_signer_documents_are_read_only(place: Place) -> None:
    async with place.opened() as documents:
        await (await documents.open(NAME)).set("/a", 1)
    async with place.opened(signer=None) as documents:
        cart = await documents.open(NAME)
        assert cart.get() == {"a": 1}
        with pytest.raises(UnavailableError, match="sign"):
            await cart.set("/a", 2)
        with pytest.raises(UnavailableError, match="sign"):
            await documents.open("another")
        assert cart.get() == {"a": 1}


async def test_deleting_erases(place: Place) -> None:
    async with place.opened() as documents:
        cart, other = await documents.open(NAME), await documents.open("other")
        await cart.set("/secret", "x" * 10_000)
        await other.set("/a", 1)
        number = documents.key_number(cart.id)
        await documents.publish()
        assert len(place.pins.wanted) == 2
        assert await documents.delete(NAME)
        await documents.settle()
        assert cart.closed
        with pytest.raises(UnavailableError):
            cart.get()
        with pytest.raises(ErasedError):
            await documents.open(NAME)
        assert not await documents.delete(NAME)
        assert documents.key_number(cart.id) is None
        assert place.keys.shredded == {number}
        assert place.forgotten == [(cart.id, number)]
        assert len(place.pins.unwanted) == 1
        assert other.get() == {"a": 1}
        pinned = place.database.read(lambda db: db.execute("SELECT count(*) FROM pin").fetchone())
        assert pinned == (1,)
        blocks = place.database.read(lambda db: db.execute("SELECT cid FROM block").fetchall())
        assert len(blocks) == 2
        assert place.database.write(place.blocks.recount) == 0
        assert [one["name"] for one in place.events("document.deleted")] == [NAME]
        assert await documents.verify() == []


async def test_an_erasure_that_was_cut_short_is_finished(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        await cart.set("/secret", 1)

        def fail(_: object) -> None:
            raise OSError("the disk")

        place.keys.shred, shred = fail, place.keys.shred  # type: ignore[method-assign, assignment]
        with pytest.raises(OSError, match="the disk"):
            await documents.delete(NAME)
        place.keys.shred = shred  # type: ignore[method-assign]
        with pytest.raises(ErasedError):
            await documents.open(NAME)
        assert not place.keys.shredded
    async with place.opened():
        assert place.keys.shredded == {1}
    place.keys.shredded.clear()  # a copy of the keyring was put back
    async with place.opened() as documents:
        assert place.keys.shredded == {1}
        assert (await documents.list())[0].state == "erased"


@pytest.mark.holds("C13")
async def test_nothing_runs_or_is_unsaved_after_closing(place: Place) -> None:
    limits = CompactionLimits(operations=50, blocks=20)
    async with place.opened(limits=limits) as documents:
        cart = await documents.open(NAME)

        async def write() -> None:
            for _ in range(100):
                await cart.increment("/n")

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(write)
    assert cart.closed
    with pytest.raises(UnavailableError):
        await cart.set("/a", 1)
    with pytest.raises(UnavailableError):
        await documents.open(NAME)
    async with place.opened() as documents:
        assert (await documents.open(NAME)).get("/n") == 300
        assert await documents.verify() == []


@pytest.mark.holds("C13", "C11")
async def test_a_cancelled_write_is_either_there_or_not_and_memory_agrees(place: Place) -> None:
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        for number in range(40):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cart.set, f"/of/{number}", number)
                    for _ in range(number % 5):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
        await cart.increment("/n")
        seen, clock = cart.get(), cart.clock
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        assert (cart.get(), cart.clock) == (seen, clock)
        await cart.increment("/n")
        assert await documents.verify() == []
        assert len({one.id for one in cart.conflicts()}) == 0
