"""Versions as they are shown and found: what the index has of each."""

from __future__ import annotations

import msgspec


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an execution's state that this home keeps. Times: UTC ms."""

    cid: bytes
    """Of the version block: it names the version everywhere."""
    chain: bytes
    """The execution, 16 bytes."""
    flow: str
    """namespace/name/version; empty when the key is not here to tell."""
    number: int
    """Of the version in its chain of versions, from 0."""
    epoch: int
    at: int
    seq: int
    """Number of the checkpoint's record in the execution's chain."""
    head: bytes
    """Hash of that record, 32 bytes."""
    state: bytes
    """CID of the sealed state's root."""
    size: int
    """Bytes of the state in plain."""
    frames: int
    status: str
    why: str
    """Why it was made: `facts`, `time`, `asked`, `step`, ..."""
    node: str
    """did:key of who wrote and signed it."""
    previous: bytes | None
    """CID of the version before; it may be gone."""
    label: str | None = None
    description: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Part of a list of versions."""

    versions: list[Saved]
    next: str | None
    """What to give as `after` to go on; None: there are no more."""


class Refused(msgspec.Struct, frozen=True):
    """A version that was not taken, and why."""

    cid: bytes
    why: str
    chain: bytes = bytes(16)
    """Zeros when the block could not be read as a version."""
    seq: int = 0


class Good(msgspec.Struct, frozen=True):
    """The newest version of a chain that is good, and the newer ones that are not."""

    version: Saved
    text: bytes
    """The state: canonical DAG-CBOR of what the engine froze."""
    refused: list[Refused]
    """Newest first."""


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it must be."""

    where: str
    """The block or version that is meant."""
    what: str
    chain: bytes | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What `States.verify` found."""

    findings: list[Finding]
    """At most FINDINGS_MAX; `more` says how many there are beyond."""
    more: int = 0
    chains: int = 0
    versions: int = 0
    blocks: int = 0
    """Different blocks that were read and hashed again."""
    size_bytes: int = 0
    """Of these blocks."""
    records: int = 0
    """Of all chains, each once."""
    begins: list[tuple[bytes, int]]
    """Chains whose oldest kept version names one before it that is gone, with its number: they
    were pruned, which is no finding."""


class Taken(msgspec.Struct, frozen=True):
    """What became of versions that were brought in."""

    taken: list[Saved]
    """New here, oldest first."""
    known: int
    """So many were here already."""
    refused: list[Refused]
    diverged: list[Refused]
    """Versions whose records are not those of the newest version here, nor of its past: two owners
    went on from one place. The one of the later epoch is the newest from now on."""


class Garbage(msgspec.Struct, frozen=True):
    """Blocks that nothing names."""

    blocks: int
    size_bytes: int


class Removed(msgspec.Struct, frozen=True):
    """What a deletion or pruning did."""

    versions: int
    blocks: int
    size_bytes: int
    """Bytes of the blocks that went."""
