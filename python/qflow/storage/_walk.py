"""What an endpoint lacks of some roots, read from the embedded store in parts that fit in a CAR."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import Final

from qflow import _core
from qflow.errors import BlockNotFoundError, QflowError, VerificationError
from qflow.storage._blocks import Block, is_raw
from qflow.storage._sqlite import SqliteBlocks

GROUP_MAX: Final = 8
"""Roots with links that are walked together."""


class BrokenRootError(QflowError):
    """Something of one root is missing or damaged here, so the root cannot be sent."""

    def __init__(self, root: bytes, why: str) -> None:
        super().__init__(why)
        self.root = root


class Walk:
    """The blocks of roots and of all beneath, each once, roots in their order, a parent first.

    What is beneath a block in `held` is left out: the endpoint has all of it. Roots are walked a
    group at a time, so that whatever a root shares with those before it was given before it
    counts as complete.
    """

    def __init__(
        self, blocks: SqliteBlocks, roots: Sequence[bytes], held: Container[bytes]
    ) -> None:
        self._blocks, self._roots, self._held = blocks, roots, held
        self._seen: dict[bytes, None] = {}
        self._due: list[bytes] = []
        self._begin = self._end = self._told = 0
        """The roots of the group, and how many of the blocks seen `complete` has told."""

    @property
    def complete(self) -> int:
        """Of how many roots, from the first, `take` has given everything."""
        return self._begin if self._due else self._end

    def told(self) -> list[bytes]:
        """The blocks of the complete roots that this has not told yet, but what is held."""
        if self._due:
            return []
        told = list(islice(self._seen, self._told, None))
        self._told = len(self._seen)
        return told

    def take(self, bytes_max: int) -> list[Block]:
        """The next blocks: of `bytes_max` bytes, and at most WALK_BYTES more; hashed; blocks.

        Raises BrokenRootError; then start anew without that root.
        """
        taken: list[Block] = []
        size = 0
        while size < bytes_max and (self._due or self._next_group()):
            cids = self._blocks.take_some(self._due)
            links: dict[bytes, None] = {}
            for cid, data in zip(cids, self._load(cids), strict=True):
                taken.append((cid, data))
                size += len(data)
                if cid not in self._held:
                    links |= dict.fromkeys(self._links(cid, data))
            self._add(link for link in links if link not in self._held)
        return taken

    def _next_group(self) -> bool:
        """Begin with the next roots; False when there are none, or all were sent with others."""
        self._begin = self._end
        linked = 0
        while self._end < len(self._roots) and linked < GROUP_MAX:
            linked += not is_raw(self._roots[self._end])
            self._end += 1
        self._add(self._roots[self._begin : self._end])
        return bool(self._due) or (self._end < len(self._roots) and self._next_group())

    def _add(self, cids: Iterable[bytes]) -> None:
        new = [cid for cid in cids if cid not in self._seen]
        self._seen.update(dict.fromkeys(new))
        self._due += new[::-1]

    def _load(self, cids: Sequence[bytes]) -> list[bytes]:
        try:
            return self._blocks.load(cids)
        except (BlockNotFoundError, VerificationError) as error:
            raise BrokenRootError(self._broken(), str(error)) from error

    def _links(self, cid: bytes, data: bytes) -> list[bytes]:
        try:
            return _core.block_links(cid, data)
        except ValueError as error:
            raise BrokenRootError(self._broken(), str(error)) from error

    def _broken(self) -> bytes:
        """The root of the group to which the fault belongs."""
        group = self._roots[self._begin : self._end]
        for root in group:
            try:
                for _ in self._blocks.walk([root]):
                    pass
            except (BlockNotFoundError, VerificationError, ValueError):
                return root
        return group[0]
