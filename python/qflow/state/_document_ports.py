"""What documents need of the rooms around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from qflow import _core
from qflow.state._ports import Keys


class DocumentKeys(Keys, Protocol):
    """Whoever has the data keys of documents: `trust.Keyring`. A document's chain is its id."""

    def take(self) -> _core.SealingKey:
        """A key that nothing was ever sealed with, durable. Raises UnavailableError."""
        ...

    def has(self, number: int) -> bool:
        """Whether a key is here: something that `shred` overwrites."""
        ...

    def shred(self, numbers: Iterable[int]) -> None:
        """Destroy keys. Durable on return; again is no harm."""
        ...


Members = Callable[[str], Iterable[bytes]]
"""Gives the replicas of a document by its name: Ed25519 public keys, 32 bytes each. Changes of
others are refused, and what all of these have seen may be compacted. Asked each time."""

Forget = Callable[[bytes, int], None]
"""Told that a document is erased, by its id and the number of its key, before that is destroyed:
what other places have of the key has to go. Blocks; told again when it was cut short."""
