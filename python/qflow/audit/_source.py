"""Where the index and the readers get records and blocks from: the port to the log's files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qflow.errors import CorruptError


class Source(Protocol):
    """A log that can be read: `audit.Log`, `_core.Log` or `_core.LogReader`."""

    @property
    def size(self) -> int:
        """How many records are durable."""
        ...

    @property
    def first(self) -> int:
        """The index of the first record that it still has: of a log that was pruned not 0."""
        ...

    def scan(
        self, address: int, bytes_max: int
    ) -> tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]], int]:
        """Whole frames from a frame address (0: the beginning), only what is durable.

        Records as (index, address, bytes), blocks as (CID, address, length), and the address
        of the frame after them; the same address again when there is nothing more.
        Raises CorruptError when the files are not what was written.
        """
        ...

    def read(self, address: int) -> bytes:
        """The record or block at an address that `scan` gave. Raises CorruptError."""
        ...

    def read_many(self, addresses: Sequence[int]) -> list[bytes]:
        """The records at addresses that ascend. Raises CorruptError."""
        ...


def read_at(source: Source, address: int) -> bytes:
    """Read at an address that the index gave, which may be none. Raises CorruptError."""
    try:
        return source.read(address)
    except (ValueError, OverflowError) as error:
        raise CorruptError(f"{address} is no address of this log") from error


def read_all(source: Source, addresses: Sequence[int]) -> list[bytes]:
    """Read records at addresses that the index gave, which may be none. Raises CorruptError."""
    try:
        return source.read_many(addresses)
    except (ValueError, OverflowError) as error:
        raise CorruptError(f"{list(addresses)[:1]} is no address of this log") from error
