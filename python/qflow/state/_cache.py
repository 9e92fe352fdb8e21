"""Blocks that were verified, in memory: the ones used last, up to a bound in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Final

from qflow.state._draft import Block

ENTRY_BYTES: Final = 200
"""What an entry costs beside its block."""


class Cache:
    """Verified blocks by CID. Safe to call from several threads. A block that is larger than the
    bound is not kept; at the bound the one that was not used for longest goes."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._blocks: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()
        self.size_bytes = self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, cid: bytes) -> bytes | None:
        """A block, if it is here; counted as hit or miss."""
        with self._lock:
            data = self._blocks.get(cid)
            if data is None:
                self.misses += 1
                return None
            self.hits += 1
            self._blocks.move_to_end(cid)
            return data

    def put(self, blocks: Iterable[Block]) -> None:
        """Keep blocks that the caller has verified."""
        with self._lock:
            for cid, data in blocks:
                cost = len(data) + ENTRY_BYTES
                if cost > self.bytes_max or cid in self._blocks:
                    continue
                self._blocks[cid] = data
                self.size_bytes += cost
            while self.size_bytes > self.bytes_max:
                _, data = self._blocks.popitem(last=False)
                self.size_bytes -= len(data) + ENTRY_BYTES

    def clear(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._blocks.clear()
            self.size_bytes = 0

    def drop(self, cids: Iterable[bytes]) -> None:
        """Forget blocks: what was deleted or erased is not to be had from here either."""
        with self._lock:
            for cid in cids:
                data = self._blocks.pop(cid, None)
                if data is not None:
                    self.size_bytes -= len(data) + ENTRY_BYTES
