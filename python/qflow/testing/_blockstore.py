"""The promise of a blockstore, as a suite that any form of one can be held to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import anyio

from qflow import _core
from qflow.clock import random_bytes
from qflow.errors import BlockNotFoundError, VerificationError
from qflow.storage import BLOCK_BYTES_MAX, Block, Blockstore
from qflow.storage._blocks import NAME_BYTES_MAX

Make = Callable[[], AbstractAsyncContextManager[Blockstore]]
Damage = Callable[[bytes], Awaitable[object]]

_WRITERS: Final = 12
_DEPTH: Final = 40


async def check_blockstore(make: Make, *, damage: Damage | None = None) -> None:
    """Hold a blockstore to all that `qflow.storage.Blockstore` promises.

    `make()` opens the store as an async context manager. It is opened many times, one after the
    other, and has to be the same store each time: what was put into one is there in the next. It
    may hold other blocks and pins, of others too: the suite makes blocks that nobody else has, and
    removes them again unless it fails.
    `damage(cid)`, where a store can be damaged by a test, changes the bytes that are stored as
    this block behind the back of the store, while it is open.
    Raises AssertionError, which says what was promised, or lets the store's own error through.
    Takes some MiB and a few hundred calls of the store. Runs on asyncio and on trio.
    """
    for check in (
        _bytes_come_back,
        _what_does_not_fit_is_refused,
        _what_is_missing_is_said,
        _a_pin_holds_all_beneath,
        _shared_parts_are_held_by_each,
        _a_pin_needs_all_beneath,
        _pins_are_listed,
        _delete_is_all_or_nothing,
        _many_write_at_once,
    ):
        async with _opened(make) as (store, made):
            await check(store, made)
    await _it_outlives_the_store(make)
    if damage is not None:
        async with _opened(make) as (store, made):
            await _damage_is_caught(store, made, damage)


class _Made:
    """Blocks that nobody else has, and what is to be removed in the end."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}

    def raw(self, size_bytes: int = 100) -> Block:
        """A block without links."""
        head = random_bytes(min(size_bytes, 32))
        data = head + b"." * (size_bytes - len(head))
        return self._kept(_core.cid_of(data, "raw"), data)

    def node(self, *parts: Block, **more: Any) -> Block:
        """A block that links to others."""
        links = [_core.Cid(cid) for cid, _ in parts]
        data = _core.encode({"by": random_bytes(16), "links": links, **more})
        return self._kept(_core.cid_of(data), data)

    def _kept(self, cid: _core.Cid, data: bytes) -> Block:
        self.blocks[bytes(cid)] = data
        return bytes(cid), data


@asynccontextmanager
async def _opened(make: Make) -> AsyncIterator[tuple[Blockstore, _Made]]:
    made = _Made()
    async with make() as store:
        yield store, made
        await _remove(store, made.blocks)


async def _remove(store: Blockstore, cids: Iterable[bytes]) -> None:
    given = list(cids)
    for cid in given:
        await store.unpin(cid)
    await store.delete(given)
    for cid in given:
        _must(not await store.has(cid), "what was deleted is not here")


def _must(holds: bool, promise: str) -> None:
    if not holds:
        raise AssertionError(f"the store breaks its promise: {promise}")


async def _raises(kind: type[Exception], call: Awaitable[object], promise: str) -> None:
    try:
        await call
    except kind:
        return
    _must(False, f"{promise} ({kind.__name__})")


async def _pinned(store: Blockstore, made: _Made) -> dict[bytes, str]:
    """The pins of blocks that we made."""
    ours = [(cid, name) async for cid, name in store.pins() if cid in made.blocks]
    _must(len(ours) == len(dict(ours)), "each pin is listed once")
    return dict(ours)


async def _bytes_come_back(store: Blockstore, made: _Made) -> None:
    one, small, large = made.raw(1), made.raw(), made.raw(BLOCK_BYTES_MAX)
    node = made.node(one, small, text="höchst")
    blocks = [one, small, large, node]
    await store.put_many([])
    _must(not await store.has(one[0]), "a block that was not put is not here")
    await store.put_many(iter(blocks))
    await store.put_many([small, node, small])
    for cid, data in blocks:
        _must(await store.has(cid), "what was put is here")
        _must(await store.get(cid) == data, "get gives the bytes that were put")
    order = [node, one, large, one]
    _must(await store.get_many([]) == [], "get_many of none gives none")
    found = await store.get_many([cid for cid, _ in order])
    _must(found == [data for _, data in order], "get_many keeps the order, also of one twice")


async def _what_does_not_fit_is_refused(store: Blockstore, made: _Made) -> None:
    good, other = made.raw(), made.raw()
    data = b"\xa2\x61b\x00\x61a\x00" + b""  # its keys are out of order
    uncanonical = bytes(_core.cid_of(data)), data
    for block in (
        (other[0], good[1]),
        (other[0], other[1] + b"."),
        (other[0], b""),
        (other[0][:-1], other[1]),
        (b"", other[1]),
        made.raw(BLOCK_BYTES_MAX + 1),
        uncanonical,
    ):
        promise = "a block that is not what its CID says, or too large, is refused"
        await _raises(ValueError, store.put_many([good, block]), promise)
        _must(not await store.has(good[0]), "of a refused put nothing is stored")
        _must(not await store.has(other[0]), "a block that was refused is not here")


async def _what_is_missing_is_said(store: Blockstore, made: _Made) -> None:
    here, missing = made.raw(), made.raw()
    await store.put_many([here])
    await _raises(BlockNotFoundError, store.get(missing[0]), "get of a missing block")
    both = store.get_many([here[0], missing[0]])
    await _raises(BlockNotFoundError, both, "get_many of a missing block")
    await _raises(BlockNotFoundError, store.pin(missing[0]), "pin of a missing block")
    await store.unpin(missing[0])
    await store.unpin(here[0])
    await store.delete([missing[0]])


async def _a_pin_holds_all_beneath(store: Blockstore, made: _Made) -> None:
    chain = [made.raw()]
    for _ in range(_DEPTH):
        chain.append(made.node(chain[-1], nested={"deeper": [1, {"still": None}]}))
    await store.put_many(chain)
    root = chain[-1][0]
    await store.pin(root)
    await store.pin(root)
    for cid, _ in chain:
        await _raises(ValueError, store.delete([cid]), "a pin is recursive: what is beneath stays")
    for cid, data in chain:
        _must(await store.get(cid) == data, "a refused delete removes nothing")
    await store.unpin(root)
    _must(not await _pinned(store, made), "what was unpinned, however often pinned, has no pin")
    await store.unpin(root)
    await store.delete([cid for cid, _ in chain])
    for cid, _ in chain:
        _must(not await store.has(cid), "once unpinned, everything can be deleted")


async def _shared_parts_are_held_by_each(store: Blockstore, made: _Made) -> None:
    leaf = made.raw()
    middle = made.node(leaf, leaf)
    first, second = made.node(middle, leaf, middle), made.node(middle)
    await store.put_many([leaf, middle, first, second])
    for cid, _ in (first, second, middle):
        await store.pin(cid)
    for root in (first, second):
        await store.unpin(root[0])
        promise = "a part stays as long as one pin reaches it"
        for cid, _ in (middle, leaf):
            await _raises(ValueError, store.delete([cid]), promise)
        await store.delete([root[0]])
        _must(not await store.has(root[0]), "a root that was unpinned can be deleted")
    await store.unpin(middle[0])
    await store.delete([middle[0], leaf[0]])
    _must(not await store.has(leaf[0]), "without a pin the parts can be deleted")


async def _a_pin_needs_all_beneath(store: Blockstore, made: _Made) -> None:
    leaf, kept = made.raw(), made.raw()
    middle = made.node(kept, leaf)
    root = made.node(kept, middle)
    await store.put_many([kept, middle, root])
    await _raises(BlockNotFoundError, store.pin(root[0]), "a pin needs all that is beneath it")
    _must(not await _pinned(store, made), "a refused pin is not there")
    await store.delete([kept[0]])
    _must(not await store.has(kept[0]), "a refused pin holds nothing")
    await store.put_many([kept, leaf])
    await store.pin(root[0])
    promise = "a pin holds all that is beneath it, though it was refused before"
    await _raises(ValueError, store.delete([leaf[0]]), promise)


async def _pins_are_listed(store: Blockstore, made: _Made) -> None:
    leaf = made.raw()
    root = made.node(leaf)
    await store.put_many([leaf, root])
    await store.pin(root[0], "first")
    _must(await _pinned(store, made) == {root[0]: "first"}, "pins lists roots and their names")
    await store.pin(root[0], "sécond")
    await store.pin(leaf[0])
    wanted = {root[0]: "sécond", leaf[0]: ""}
    _must(await _pinned(store, made) == wanted, "a pin that is set again has the new name")
    long = store.pin(leaf[0], "ü" * (NAME_BYTES_MAX // 2 + 1))
    await _raises(ValueError, long, "a name that is too long is refused")
    await store.unpin(leaf[0])
    _must(await _pinned(store, made) == {root[0]: "sécond"}, "an unpinned block is not listed")


async def _delete_is_all_or_nothing(store: Blockstore, made: _Made) -> None:
    loose, leaf = made.raw(), made.raw()
    root = made.node(leaf)
    await store.put_many([loose, leaf, root])
    await store.pin(root[0])
    for held in (root, leaf):
        both = store.delete([loose[0], held[0]])
        await _raises(ValueError, both, "what is pinned is not deleted")
        _must(await store.has(loose[0]), "a refused delete removes nothing")
    await store.delete([loose[0], loose[0]])
    await _raises(BlockNotFoundError, store.get(loose[0]), "what was deleted is not served")
    await store.put_many([loose])
    _must(await store.get(loose[0]) == loose[1], "what was deleted can be stored again")


async def _many_write_at_once(store: Blockstore, made: _Made) -> None:
    shared = made.raw()

    async def write(root: Block, leaf: Block) -> None:
        await store.put_many([shared, leaf, root])
        await store.pin(root[0], "many")

    leaves = [made.raw() for _ in range(_WRITERS)]
    roots = [made.node(leaf, shared) for leaf in leaves]
    async with anyio.create_task_group() as tasks:
        for root, leaf in zip(roots, leaves, strict=True):
            tasks.start_soon(write, root, leaf)
    pins = dict.fromkeys((cid for cid, _ in roots), "many")
    _must(await _pinned(store, made) == pins, "whoever writes at the same time, each is stored")
    found = await store.get_many([cid for cid, _ in leaves])
    _must(found == [data for _, data in leaves], "whoever writes at the same time, each is stored")


async def _it_outlives_the_store(make: Make) -> None:
    made = _Made()
    leaf = made.raw()
    root = made.node(leaf)
    async with make() as store:
        await store.put_many([leaf, root])
        await store.pin(root[0], "kept")
    async with make() as store:
        _must(await store.get(leaf[0]) == leaf[1], "what was put is there when opened again")
        _must(await _pinned(store, made) == {root[0]: "kept"}, "a pin is there when opened again")
        await _raises(ValueError, store.delete([leaf[0]]), "a pin holds when opened again")
        await store.unpin(root[0])
    async with make() as store:
        _must(not await _pinned(store, made), "what was unpinned stays so when opened again")
        await _remove(store, made.blocks)


async def _damage_is_caught(store: Blockstore, made: _Made, damage: Damage) -> None:
    leaf, loose = made.raw(), made.raw()
    root = made.node(leaf)
    await store.put_many([leaf, loose, root])
    await store.pin(root[0])
    for cid, data in (leaf, loose, root):
        await damage(cid)
        await _raises(VerificationError, store.get(cid), "other bytes are not served")
        _must(not await store.has(cid), "a block that was found damaged is not here")
        await _raises(BlockNotFoundError, store.get(cid), "a damaged block is not served later")
        await store.put_many([(cid, data)])
        _must(await store.get(cid) == data, "a damaged block can be stored again")
    await _raises(ValueError, store.delete([leaf[0]]), "a pin holds what was damaged and stored")
    await damage(leaf[0])
    both = store.get_many([root[0], leaf[0]])
    await _raises(VerificationError, both, "other bytes are not served among others")
    await store.put_many([leaf])
