"""What is said of documents: the answers of their calls, as data."""

from __future__ import annotations

from typing import Any

import msgspec


class StoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a home. Times UTC ms."""

    name: str
    id: str
    """Of subnet and name: the same on every node."""
    state: str
    """alive; erasing or erased: it was deleted, and its name is not used again."""
    created: int
    blocks: int
    """Behind its newest snapshot."""
    bytes: int
    """Of these blocks, sealed."""
    operations: int
    """In these blocks."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is at a path of a document."""

    document: str
    path: str
    found: bool
    value: Any
    """As DAG-JSON has it; None where nothing is."""
    clock: bytes
    """Of what was read: `at` of a later reading gives the same."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change."""

    document: str
    clock: bytes
    """Of the document with it."""


class ShownSibling(msgspec.Struct, frozen=True, kw_only=True):
    """One of several values that were set at the same time."""

    value: Any
    node: str
    """The did of who set it."""


class ShownConflict(msgspec.Struct, frozen=True, kw_only=True):
    """What was written at one place by replicas that had not seen each other."""

    id: str
    """Equal on every node that has the same operations."""
    path: str
    kind: str
    """set, delete, increment, append or type."""
    operations: tuple[str, ...]
    """CIDs of the operations."""
    values: tuple[ShownSibling, ...] = ()
    """Of a `set`: all that were set, what the document shows first."""


class ShownOperation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a document."""

    path: str
    kind: str
    """set, set map, delete, increment, append or map."""
    value: Any
    node: str
    """The did of who made it."""
    seq: int
    """Its place among the operations of that node."""
    lamport: int
    """Logical time: greater than that of everything its maker had seen."""
    change: str
    """CID of the signed change that it is in."""


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did. Sizes in bytes."""

    document: str
    operations: int
    """That are in the snapshot now, and not in the log any more."""
    kept: int
    """That stay in the log: not all members have shown that they saw them."""
    bytes_before: int
    bytes_after: int
    took_ms: int
    snapshot: str | None
    """Its CID, equal on every node that makes it at this point; None: there is none."""
    waits_for: tuple[str, ...]
    """The dids of those that hold it back."""
