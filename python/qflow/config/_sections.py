"""The sections of the settings: what each holds, its bounds and its defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from qflow.config._section import Section


@dataclass(frozen=True, kw_only=True)
class LogSettings(Section):
    """The node's log of records."""

    segment_bytes: Annotated[int, Meta(ge=16 << 20, le=1 << 31)] = 64 << 20
    """Of one journal file, laid out ahead."""
    queue_bytes_max: Annotated[int, Meta(ge=16 << 20)] = 64 << 20
    """Taken and not yet durable; beyond it an append is refused as busy."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings(Section):
    """What executions may use."""

    attempts_in_flight_max: Annotated[int, Meta(ge=1)] = 256
    """Attempts that run at once; those beyond it wait their turn."""
    executions_resident_max: Annotated[int, Meta(ge=1)] = 1000
    """Executions in memory; those that only wait are put away first, and come back by replay."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings(Section):
    """When executions are checkpointed, and how long the checkpoints stay."""

    every_facts: Annotated[int, Meta(ge=10)] = 500
    """After so many facts of an execution; also bounds its replay."""
    every_s: Annotated[float, Meta(ge=0)] = 60.0
    """At least so often while it has new facts; 0: never for that reason."""
    keep: Annotated[int, Meta(ge=1)] = 3
    """The newest of each execution; older ones go. Those with a label stay, and are not counted."""
    ended_days: Annotated[float, Meta(ge=0)] = 7.0
    """Then those of an execution that is over go, too."""


@dataclass(frozen=True, kw_only=True)
class StorageSettings(Section):
    """Where blocks go besides this home."""

    kubo: tuple[str, ...] = ()
    """Base URLs of the RPC of Kubo nodes. In the environment separated by blanks."""
    quorum: Annotated[int, Meta(ge=1)] = 1
    """Stores, this home's among them, that have a block before it counts as stored."""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """For a store to answer, and between two parts of an answer."""
    cache_bytes_max: Annotated[int, Meta(ge=0)] = 64 << 20
    """Of verified blocks in memory."""


@dataclass(frozen=True, kw_only=True)
class KeySettings(Section):
    """How the keys at rest are protected."""

    passphrase_file: Path | None = None
    """The passphrase of a protected node key, on one line."""


@dataclass(frozen=True, kw_only=True)
class HttpSettings(Section):
    """Calls that flows make."""

    connections_max: Annotated[int, Meta(ge=1)] = 100
    """Open connections of all calls together."""
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    """For TCP and TLS."""
    call_timeout_s: Annotated[float, Meta(gt=0)] = 300.0
    """For a whole call of a task that names no timeout."""
    response_bytes_max: Annotated[int, Meta(ge=1024)] = 10 << 20
    """Of an answer's content, decompressed."""
    routes: dict[str, str] = field(default_factory=dict)
    """Host (`name` or `name:port`) to the base URL that is called in its stead."""
    proxy: str | None = None
    """The URL of an HTTP proxy for all calls."""


@dataclass(frozen=True, kw_only=True)
class DocumentSettings(Section):
    """The documents that executions share."""

    compact_operations: Annotated[int, Meta(ge=1000)] = 200_000
    """In the log of a document, behind its snapshot; with more it is compacted."""
    compact_bytes: Annotated[int, Meta(ge=64 << 10)] = 8 << 20
    """The same for the size of that log."""


@dataclass(frozen=True, kw_only=True)
class EventSettings(Section):
    """The bus inside the node."""

    subscriber_events_max: Annotated[int, Meta(ge=1)] = 1000
    """Kept for one slow subscriber; then it loses the oldest, and is told how many."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Section):
    """What others can reach of the node over HTTP."""

    listen: str | None = None
    """`host:port`; port 0 takes a free one. Nothing listens when it is not set."""
    serve_log: bool = False
    """Whether the log itself is served there: anyone who can reach the address can read it."""
    connections_max: Annotated[int, Meta(ge=1)] = 128
    """Open at once; one more is refused."""


@dataclass(frozen=True, kw_only=True)
class WitnessSettings(Section):
    """The witnesses that are asked about this log, and the logs that this node is a witness of."""

    policy: Path | None = None
    """A file (C2SP tlog-policy) with the witnesses of this log, their URLs, and the quorum."""
    every_s: Annotated[float, Meta(ge=0, le=86_400)] = 3.0
    """At least so long between two heads that witnesses are asked about."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """For a witness to answer."""
    logs: tuple[str, ...] = ()
    """Verifier keys of the logs to cosign, besides those of `qflow witness add`. In the environment
    separated by blanks."""
    logs_file: Path | None = None
    """A file with such keys, one a line, or with `log` lines as a policy has them."""


def can_name_flows(pattern: str) -> bool:
    """Whether a pattern of flows has a form that some flow can fit: one to three parts."""
    parts = pattern.split("/")
    return len(parts) <= 3 and all(parts)


class RetentionRule(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How long what executions leave is kept, counted from their end."""

    flow: str = "*"
    """`namespace/name/version`, `namespace/name` or `name`; `*` stands for any characters of a
    part."""
    status: tuple[Literal["completed", "faulted", "aborted"], ...] = ()
    """None: however they ended."""
    payloads_days: Annotated[float, Meta(ge=0)] | None = None
    """Then their payloads may be erased."""
    records_days: Annotated[float, Meta(ge=0)] | None = None
    """Then their records may be pruned."""

    def __post_init__(self) -> None:
        if self.payloads_days is None and self.records_days is None:
            raise ValueError("A rule needs payloads_days or records_days")
        if not can_name_flows(self.flow):
            raise ValueError(f"No flow can be {self.flow!r}: namespace/name/version, or less of it")


@dataclass(frozen=True, kw_only=True)
class RetentionSettings(Section):
    """What of the history may go, and when."""

    rules: tuple[RetentionRule, ...] = ()
    """The first that fits an execution counts; what none fits is kept. In the environment JSON."""
    every_hours: Annotated[float, Meta(ge=0, le=87_600)] = 0
    """The node applies the rules by itself; 0: only when asked."""
