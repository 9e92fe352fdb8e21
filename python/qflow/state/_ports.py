"""What the room needs of the rooms around it, and what it tells them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

from qflow import _core


class Signer(Protocol):
    """Whose name versions are written in: `trust.NodeKey`."""

    @property
    def seed(self) -> bytes:
        """The private half, 32 bytes."""
        ...

    @property
    def did(self) -> str:
        """The did:key of the public half."""
        ...


class Signers(Protocol):
    """Whose versions are believed: `trust.Signers`."""

    def verify(self, did: str, message: bytes, signature: bytes) -> None:
        """Return when a node that is trusted here has signed the message.

        Raises VerificationError: a stranger, or another signature."""
        ...


class Keys(Protocol):
    """Whoever has the data keys of executions: `trust.Keyring`."""

    def key_of(self, chain: bytes, number: int) -> _core.SealingKey:
        """The data key of an execution. Raises ErasedError when it was destroyed, and
        UnavailableError when it is not here."""
        ...


class Pins(Protocol):
    """What other stores are still to be told: `storage.Outbox`. Within the caller's transaction."""

    def want_pin(self, db: sqlite3.Connection, cid: bytes, name: str) -> None:
        """A block and all beneath it is to be pinned at every endpoint."""
        ...

    def want_unpin(self, db: sqlite3.Connection, cid: bytes) -> None:
        """A pin is to be released at every endpoint."""
        ...

    def is_erased(self, db: sqlite3.Connection, chain: bytes) -> bool:
        """Whether the execution of a chain was erased: nothing of it is kept any more."""
        ...


Erasures = Callable[[bytes], bool]
"""Answers whether the execution of a chain was erased: nothing of it is taken in again."""

Tell = Callable[[str, dict[str, Any]], None]
"""Told of what happened, after it is durable: the type of an event and its data."""

Progress = Callable[[int, int], None]
"""Called with (versions done, versions in all)."""
