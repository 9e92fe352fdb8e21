"""A blockstore in memory, for tests of what stores blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from anyio.lowlevel import checkpoint

from qflow import _core
from qflow.errors import BlockNotFoundError, VerificationError
from qflow.storage import Block
from qflow.storage._blocks import check_blocks, check_name, fits, text_of


class MemoryBlocks:
    """A `qflow.storage.Blockstore` that forgets everything with the process. Nothing is durable."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        """What is stored: a test may change it behind the store's back."""
        self.pinned: dict[bytes, str] = {}

    async def put_many(self, blocks: Iterable[Block]) -> None:
        """See `Blockstore`; in memory."""
        await checkpoint()
        given = list(blocks)
        check_blocks(given)
        for cid, data in given:
            self.blocks.setdefault(cid, data)

    async def get(self, cid: bytes) -> bytes:
        """See `Blockstore`."""
        await checkpoint()
        data = self.blocks.get(cid)
        if data is None:
            raise BlockNotFoundError(f"block {text_of(cid)} is not here")
        if not fits([(cid, data)])[0]:
            del self.blocks[cid]
            raise VerificationError(f"block {text_of(cid)} is damaged in the store")
        return data

    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        """See `Blockstore`."""
        return [await self.get(cid) for cid in cids]

    async def has(self, cid: bytes) -> bool:
        """See `Blockstore`."""
        await checkpoint()
        return cid in self.blocks

    async def delete(self, cids: Iterable[bytes]) -> None:
        """See `Blockstore`."""
        await checkpoint()
        given, held = list(cids), self._reached(self.pinned)
        for cid in given:
            if cid in held:
                raise ValueError(f"block {text_of(cid)} is pinned, or beneath a pin")
        for cid in given:
            self.blocks.pop(cid, None)

    async def pin(self, cid: bytes, name: str = "") -> None:
        """See `Blockstore`."""
        await checkpoint()
        check_name(name)
        for one in self._reached([cid]):
            await self.get(one)
        self.pinned[cid] = name

    async def unpin(self, cid: bytes) -> None:
        """See `Blockstore`."""
        await checkpoint()
        self.pinned.pop(cid, None)

    async def pins(self) -> AsyncIterator[tuple[bytes, str]]:
        """See `Blockstore`."""
        for pin in sorted(self.pinned.items()):
            await checkpoint()
            yield pin

    def _reached(self, roots: Iterable[bytes]) -> set[bytes]:
        """These and all beneath them, as far as it is here."""
        due = list(roots)
        seen = set(due)
        while due:
            cid = due.pop()
            links = _core.block_links(cid, self.blocks[cid]) if cid in self.blocks else ()
            due += [link for link in links if link not in seen]
            seen.update(links)
        return seen
