"""What is found: named records, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qflow import model

Record = Mapping[str, Any]
"""As `_core.decode_record` gives it, with its `index` in the log."""


class Named(msgspec.Struct, frozen=True):
    """A record that a finding is about: enough to find it, and to ask for its receipt."""

    execution: str
    """Id of the chain: the execution, or the node's own."""
    seq: int
    index: int
    """Its place in the log."""
    type: str
    at: int
    """UTC ms."""
    actor: str
    node: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a rule does not allow, or that it cannot judge."""

    rule: str
    severity: str
    flow: str
    what: str
    """A sentence, made of the fields below."""
    records: tuple[Named, ...]
    """The record at fault first; then those that it is held against."""
    count: int = 1
    """Records of the execution that are at fault in this way; the first of them is named."""
    values: Mapping[str, Any] = {}
    """What was compared, by name."""
    judged: bool = True
    """False: a field that the rule needs is missing or malformed, which is a finding too."""

    @property
    def at(self) -> int:
        """The time of the record at fault. UTC ms."""
        return self.records[0].at


def name_record(record: Record) -> Named:
    """The name of a record."""
    return Named(
        execution=model.id_text(record["chain"]),
        seq=record["seq"],
        index=record["index"],
        type=record["type"],
        at=record["at"],
        actor=record["actor"],
        node=record["node"],
    )


def short_type(kind: str) -> str:
    """`exec.created` for `q.qflow.exec.created.v1`."""
    return kind.removeprefix("q.qflow.").removesuffix(".v1")
