"""Documents as they are shown: what each is, what in it conflicts, what has changed in it."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from qflow.model import pointer_token

CONFLICTS_MAX: Final = 10_000
"""Conflicts of a document that are shown or told at once."""

ALIVE: Final = "alive"
ERASING: Final = "erasing"
ERASED: Final = "erased"
"""The states of a document's row. What is being erased is finished at the next opening."""

Path = str | tuple[str, ...]
"""RFC 6901 JSON Pointer ("" is the root, "/a/b"), or its parts."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A document of this home, by its row; nothing was verified."""

    id: bytes
    """16 bytes, of subnet and name."""
    name: str
    state: str
    """`alive`, `erasing`, `erased`."""
    created_ms: int
    """UTC ms, when this home began to have it."""
    blocks: int
    """Behind the base, the newest snapshot."""
    size_bytes: int
    """Of these blocks, sealed."""
    operations: int
    """In these blocks."""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was written at the same time by replicas that did not see each other.

    The same on every replica that has the same operations.
    """

    id: str
    """32 hex digits: of path, kind and operations."""
    path: str
    kind: Literal["set", "delete", "increment", "append", "type"]
    operations: tuple[bytes, ...]
    """CIDs of the operations, sorted."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Something of a document is another than before, and that is durable."""

    paths: tuple[str, ...]
    """Where, at most PATHS_MAX; what is beneath them may have changed too."""
    local: bool
    """Written by this replica."""
    operations: int = 0
    lost: int = 0
    """A gap: so many of these were lost before this one, for the reader was too slow. Read the
    document again. `paths` is then the path of the subscription."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of changes that were brought in."""

    applied: int
    """Changes that were new and are part of the document now, those that had waited too."""
    known: int
    waiting: int
    """Until the changes that they build on arrive."""
    refused: tuple[tuple[bytes, str], ...]
    """CIDs of changes that were not taken, each with the reason."""
    operations: int
    """Of the applied ones."""


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did. Times in ms, sizes in bytes."""

    operations: int
    """That are in the snapshot and not in the log any more."""
    kept: int
    """Operations that stay in the log: not all members have shown to have seen them."""
    blocks: int
    """That were replaced."""
    bytes_before: int
    bytes_after: int
    took_ms: int
    snapshot: str | None
    """CID of the snapshot, equal on every replica that makes it at this cut; None: there is none
    yet."""
    waits_for: tuple[str, ...]
    """did:key of the members that hold the cut back, at most WAITS_MAX, the furthest behind first;
    or of those whose attestation is still missing."""


class CompactionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When the log of a document is compacted in the background, and how much at a time."""

    operations: int = 200_000
    """Operations behind the base with which it begins, ..."""
    size_bytes: int = 8 << 20
    """... or bytes, ..."""
    blocks: int = 4096
    """... or blocks, of which each commit makes one."""
    pause_ms: int = 1000
    """Between two compactions; one runs at a time in a home."""
    batch_bytes: int = 1 << 20
    """Written in one transaction: writers wait for no more than that."""


def is_under(path: str, ancestor: str) -> bool:
    """Whether a pointer is at or beneath another."""
    return not ancestor or path == ancestor or path.startswith(ancestor + "/")


def pointer_of(path: Any) -> str:
    """A path as its pointer."""
    if isinstance(path, str):
        return path
    return "".join("/" + pointer_token(part) for part in path)
