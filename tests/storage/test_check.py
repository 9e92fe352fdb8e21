"""The public suite holds the stores to their promise, and finds each way of breaking it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from qflow.errors import BlockNotFoundError, VerificationError
from qflow.storage import Block, Blockstore, Database, SqliteBlocks
from qflow.testing import MemoryBlocks, check_blockstore
from qflow.testing._blockstore import Make

pytestmark = pytest.mark.anyio


def changed(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def always(store: Blockstore) -> Make:
    @asynccontextmanager
    async def make() -> AsyncIterator[Blockstore]:
        yield store

    return make


@pytest.mark.holds("S11")
async def test_the_embedded_store_keeps_its_promise(tmp_path: Path) -> None:
    opened: list[Database] = []

    @asynccontextmanager
    async def make() -> AsyncIterator[Blockstore]:
        with Database(tmp_path / "state.db") as database:
            opened.append(database)
            yield SqliteBlocks(database)

    def change(db: sqlite3.Connection, cid: bytes) -> None:
        (place,) = db.execute("SELECT place FROM block WHERE cid = ?", (cid,)).fetchone()
        with db.blobopen("block_data", "data", place) as blob:
            blob[0] ^= 1

    async def damage(cid: bytes) -> None:
        opened[-1].write(partial(change, cid=cid))

    await check_blockstore(make, damage=damage)
    assert len(opened) > 10


async def test_the_store_in_memory_keeps_its_promise() -> None:
    store = MemoryBlocks()

    async def damage(cid: bytes) -> None:
        store.blocks[cid] = changed(store.blocks[cid])

    await check_blockstore(always(store), damage=damage)
    assert not store.blocks
    assert not store.pinned


class OtherBytes(MemoryBlocks):
    async def get(self, cid: bytes) -> bytes:
        return changed(await super().get(cid))


class OtherOrder(MemoryBlocks):
    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        found = {cid: await self.get(cid) for cid in cids}
        return [data for _, data in sorted(found.items())]


class Believes(MemoryBlocks):
    """Stores what it is given without a look at it."""

    async def put_many(self, blocks: Iterable[Block]) -> None:
        self.blocks.update(blocks)


class StoresHalf(MemoryBlocks):
    """Finds what does not fit, having stored what came before."""

    async def put_many(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            await super().put_many([block])


class Invents(MemoryBlocks):
    async def get(self, cid: bytes) -> bytes:
        return await super().get(cid) if cid in self.blocks else b""


class ForgetsPins(MemoryBlocks):
    async def pin(self, cid: bytes, name: str = "") -> None:
        await super().pin(cid, name)
        self.pinned.popitem()


class KeepsPins(MemoryBlocks):
    async def unpin(self, cid: bytes) -> None:
        """Does nothing."""


class CountsPins(MemoryBlocks):
    """Wants as many unpins as there were pins."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[bytes, int] = {}

    async def pin(self, cid: bytes, name: str = "") -> None:
        await super().pin(cid, name)
        self.counts[cid] = self.counts.get(cid, 0) + 1

    async def unpin(self, cid: bytes) -> None:
        self.counts[cid] = self.counts.get(cid, 1) - 1
        if not self.counts[cid]:
            await super().unpin(cid)


class NamesOnce(MemoryBlocks):
    async def pin(self, cid: bytes, name: str = "") -> None:
        await super().pin(cid, self.pinned.get(cid, name))


class DeletesPinned(MemoryBlocks):
    async def delete(self, cids: Iterable[bytes]) -> None:
        for cid in cids:
            self.blocks.pop(cid, None)


class DeletesSome(MemoryBlocks):
    async def delete(self, cids: Iterable[bytes]) -> None:
        for cid in cids:
            await super().delete([cid])


class IsShallow(MemoryBlocks):
    """A pin holds its root alone."""

    async def delete(self, cids: Iterable[bytes]) -> None:
        given = list(cids)
        if self.pinned.keys() & set(given):
            raise ValueError
        for cid in given:
            self.blocks.pop(cid, None)


class PinsAnything(MemoryBlocks):
    async def pin(self, cid: bytes, name: str = "") -> None:
        await self.get(cid)
        self.pinned[cid] = name


class ServesDamage(MemoryBlocks):
    async def get(self, cid: bytes) -> bytes:
        if cid not in self.blocks:
            await super().get(cid)
        return self.blocks[cid]


class KeepsDamage(MemoryBlocks):
    async def get(self, cid: bytes) -> bytes:
        damaged = self.blocks.get(cid)
        try:
            return await super().get(cid)
        except VerificationError:
            assert damaged is not None
            self.blocks[cid] = damaged
            raise


BROKEN = [
    *(OtherBytes, OtherOrder, Believes, StoresHalf, Invents, ForgetsPins, KeepsPins, CountsPins),
    *(NamesOnce, DeletesPinned, DeletesSome, IsShallow, PinsAnything, ServesDamage, KeepsDamage),
]


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_a_store_that_breaks_its_promise_is_found(kind: type[MemoryBlocks]) -> None:
    store = kind()

    async def damage(cid: bytes) -> None:
        store.blocks[cid] = changed(store.blocks[cid])

    with pytest.raises(AssertionError, match="breaks its promise"):
        await check_blockstore(always(store), damage=damage)


async def test_a_store_that_forgets_when_it_is_closed_is_found() -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[Blockstore]:
        yield MemoryBlocks()

    with pytest.raises(BlockNotFoundError):
        await check_blockstore(make)
