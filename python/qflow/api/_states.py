"""What is said of checkpoints and stored states: the answers of their calls, as data."""

from __future__ import annotations

from typing import Any, Final

import msgspec

PINNED: Final = "pinned"
OWED: Final = "owed"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an execution's state. CIDs as text, hashes in hex, times UTC ms."""

    cid: str
    """Of the version: the name of this checkpoint."""
    execution: str
    number: int
    """Its place among the versions of the execution, from 0."""
    epoch: int
    previous: str | None
    """The CID of the version before it."""
    at: int
    node: str
    """The did of who signed it."""
    seq: int
    """The number of the record that binds it to the execution's chain."""
    head: str
    """The hash of that record."""
    state: str
    """The CID of the sealed state."""
    flow: str | None = None
    status: str | None = None
    label: str | None = None
    description: str | None = None
    why: str | None = None
    size: int | None = None
    """Bytes of the state before it was sealed."""
    frames: int | None = None
    payloads: str | None = None
    """Why its sealed part is not shown: `erased`, or `sealed` where the key is not."""


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a checkpoint is kept besides this home."""

    endpoint: str
    status: str
    """PINNED, or OWED: the endpoint still has to set it."""
    error: str | None = None
    """What the endpoint answered last, when it did not take it."""


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint with what it takes and where it is."""

    checkpoint: Checkpoint
    blocks: int
    """All that is beneath it: state, flow, history."""
    bytes: int
    shared_blocks: int
    """Those that other versions here need as well."""
    shared_bytes: int
    trusted: bool
    """Whether this home knows and trusts its signer."""
    in_log: str
    """matches, differs or absent: its record in the log of this home."""
    pins: tuple[Pin, ...] = ()


class StoredState(msgspec.Struct, frozen=True, kw_only=True):
    """The stored state of one execution."""

    newest: Checkpoint
    versions: int
    blocks: int
    bytes: int
    pins_owed: int
    in_log: bool
    """Whether the log of this home has the execution, too."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One place where two states differ."""

    path: str
    """A JSON pointer (RFC 6901) into the state."""
    what: str
    """added, removed or changed."""
    old: Any = None
    new: Any = None
    cut: bool = False
    """Whether the values were too long to be given."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a state between two checkpoints of one execution."""

    older: Checkpoint
    newer: Checkpoint
    changes: tuple[Change, ...]
    more: int
    """Further changes that are not listed."""
    entered: tuple[str, ...]
    """Steps that are under way in the newer one only."""
    left: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not believed, and why."""

    cid: str
    why: str
    execution: str | None = None
    number: int | None = None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore took, and what it did not."""

    asked: str
    """The CID of the checkpoint that was named; of an execution, of its newest."""
    taken: str
    """The CID of the one that was good."""
    checkpoint: Checkpoint
    verified: tuple[str, ...]
    """What was checked of it, in words."""
    refused: tuple[Refused, ...]
    """Newer ones that were not good."""
    records: int
    """How many records went to the log of this home, or would."""
    present: int
    """How many of its chain were there before."""
    status: str
    """Where the execution stands now."""
    dry_run: bool
    children: tuple[Restored, ...] = ()
    """Executions that it waits for, at any depth, which were restored with it."""
    anew: tuple[str, ...] = ()
    """Those of which there is no checkpoint, and that begin anew because it was asked for."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoints that went, or would."""

    deleted: tuple[Checkpoint, ...]
    blocks: int
    bytes: int
    dry_run: bool


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """A stored state that went."""

    execution: str
    versions: int
    blocks: int
    bytes: int
    pins_owed: int
    """Pins that endpoints are still to release."""


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks in the store that nothing names."""

    blocks: int
    bytes: int
    collected: bool
    """Whether they are gone now."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the store that is not what it must be."""

    where: str
    """The block or version that is meant."""
    what: str
    execution: str | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying stored states found."""

    ok: bool
    executions: int
    versions: int
    blocks: int
    bytes: int
    records: int
    findings: tuple[Fault, ...]
    more: int
    """Findings that are not listed."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What went into a CAR file."""

    path: str
    checkpoints: tuple[Checkpoint, ...]
    blocks: int
    bytes: int
    """Of the whole file."""
    keys: int
    """Of executions, wrapped for the subnet."""
    refused: tuple[Refused, ...]
    """What could not be exported, and why."""
    children: int = 0
    """How many of the checkpoints are there because other executions wait for theirs."""
    missing: tuple[str, ...] = ()
    """Executions that others wait for, and that have no checkpoint."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint answered."""

    endpoint: str
    found: int = 0
    """Pins of this subnet's checkpoints and keys that it has."""
    pinned: int = 0
    """What it took in now."""
    released: int = 0
    owed: int = 0
    """What it is still to be told."""
    error: str | None = None


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken from a file or from endpoints."""

    taken: tuple[Checkpoint, ...]
    """New here, verified, oldest first."""
    known: int
    """So many were here already."""
    keys: int
    """Of executions, that were taken."""
    refused: tuple[Refused, ...]
    diverged: tuple[Refused, ...]
    """Of two owners that went on from one place: those that are not the newest."""
    blocks: int
    bytes: int
    endpoints: tuple[Endpoint, ...] = ()


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What endpoints were told."""

    endpoints: tuple[Endpoint, ...]


class StateStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far long work is; the last one has the result."""

    done: int = 0
    whole: int = 0
    result: Any = None
