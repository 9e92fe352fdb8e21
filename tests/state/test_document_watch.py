"""Who follows a document hears what is durable, and hears of what was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow.errors import UnavailableError
from qflow.state import Changed
from qflow.state._document_watch import PATHS_MAX, READERS_MAX, Watchers
from tests.state.documents import NAME, Place

pytestmark = pytest.mark.anyio


async def test_changes_are_heard_when_they_are_durable(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.opened() as documents:
        cart = await documents.open(NAME)
        async with cart.subscribe("/items") as changes, cart.subscribe() as all_changes:
            await cart.set("/items/apple", 1)
            await cart.set("/other", 1)
            await cart.set("/items/pear", 2)
            heard = [await anext(changes) for _ in range(2)]
            assert [one.paths for one in heard] == [("/items/apple",), ("/items/pear",)]
            assert all(one.local and not one.lost for one in heard)
            assert (await anext(all_changes)).paths == ("/items/apple",)
            assert (await anext(all_changes)).paths == ("/other",)
            await cart.close()
            assert (await anext(all_changes)).paths == ("/items/pear",)
            with pytest.raises(StopAsyncIteration):
                await anext(all_changes)
            with pytest.raises(StopAsyncIteration):
                await anext(changes)
        with pytest.raises(UnavailableError):
            async with cart.subscribe():
                pass


async def test_a_failed_write_is_not_heard(tmp_path: Path) -> None:
    async with Place(tmp_path).opened() as documents:
        cart = await documents.open(NAME)
        async with cart.subscribe() as changes:
            with pytest.raises(ValueError, match=r"."):
                await cart.set("/..", 1)
            await cart.set("/a", 1)
            assert (await anext(changes)).paths == ("/a",)


async def test_a_slow_reader_gets_a_gap() -> None:
    watchers = Watchers(queue_max=3)
    async with watchers.reading("/a") as changes:
        for number in range(5):
            watchers.tell([f"/a/{number}", "/b"], local=False, operations=1)
        assert await anext(changes) == Changed(paths=("/a",), local=False, lost=2)
        assert [(await anext(changes)).paths for _ in range(3)] == [
            ("/a/2",),
            ("/a/3",),
            ("/a/4",),
        ]
    assert not watchers


async def test_a_change_above_is_heard_beneath() -> None:
    watchers = Watchers()
    async with watchers.reading("/a/b") as changes:
        watchers.tell(["/ab"], local=True, operations=1)
        watchers.tell(["/a"], local=True, operations=1)
        watchers.tell(["/a/b/c"], local=True, operations=1)
        watchers.tell([f"/x/{at}" for at in range(PATHS_MAX + 1)], local=True, operations=1)
        heard = [(await anext(changes)).paths for _ in range(3)]
        assert heard == [("/a",), ("/a/b/c",), ("",)]


async def test_readers_are_bounded() -> None:
    watchers = Watchers()
    watchers._readers = {object() for _ in range(READERS_MAX)}  # type: ignore[misc]
    with pytest.raises(UnavailableError, match="readers"):
        async with watchers.reading(""):
            pass
