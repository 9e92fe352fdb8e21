"""A question to the history: which records, in which order, how many."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from qflow import _core, model

TEXT_CHARS_MAX: Final = 1000
"""Of each field of a query."""
TIME_MS_MAX: Final = 2**63 - 1
PREFIX: Final = "q.qflow."

_VERSION: Final = re.compile(r"\.v[0-9]+$")
_NAMES: Final = ("flow", "type", "actor", "node", "subnet")


class Query(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The records that have all that is given; a field that is None asks for nothing.

    In `flow`, `type`, `actor`, `node` and `subnet` a `*` stands for any characters or none, and
    `[*]` for the character itself. All else is compared exactly. Raises ValueError or TypeError,
    which name the field, for what no record can be asked for.
    """

    execution: str | None = None
    """The id of an execution, or of another chain: 26 letters and digits."""
    flow: str | None = None
    """`namespace/name/version`, `namespace/name` or `name`. A `*` stays within its part."""
    type: str | None = None
    """`q.qflow.exec.completed.v1`, or `exec.completed` for short; `exec.*` for all of an area.
    What begins with neither `q.` nor `*` is short: `q.qflow.` is put before it, and `.v1` behind
    it unless it has a version or a `*`."""
    actor: str | None = None
    node: str | None = None
    subnet: str | None = None
    since: int | None = None
    """UTC ms, inclusive."""
    until: int | None = None
    """UTC ms, exclusive."""
    text: str | None = None
    """Words, each of which must stand in the record's flow, step, type, actor or node, or in a
    text of its `meta`. A word is a run of letters and digits; upper and lower case are the same.
    Payloads are not searched."""
    after: str | None = None
    """The cursor that an answer gave: go on behind it. For the same query only."""
    limit: int | None = None
    """At most so many records. None: all, page by page."""
    reverse: bool = False
    """The newest first."""

    def __post_init__(self) -> None:
        for name in (*_NAMES, "execution", "text", "after"):
            _check_text(name, getattr(self, name))
        for name in ("since", "until"):
            _check_range(name, getattr(self, name), 0, TIME_MS_MAX)
        _check_range("limit", self.limit, 1, 2**63 - 1)
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since is not before until")
        if self.execution is not None:
            model.id_bytes(self.execution.lower())
        if self.text is not None and not any(letter.isalnum() for letter in self.text):
            raise ValueError(f"text: {self.text!r} has no word to search for")
        self.position()

    @property
    def chain(self) -> bytes | None:
        """The chain of `execution`: 16 bytes."""
        return None if self.execution is None else model.id_bytes(self.execution.lower())

    def filter(self) -> _core.Filter:
        """The same question for Rust: it decides for each record, whatever the index said.

        `after`, `limit` and `reverse` are no part of it.
        """
        return _core.Filter(
            chain=self.chain,
            flow=self.flow,
            type=None if self.type is None else full_type(self.type),
            actor=self.actor,
            node=self.node,
            subnet=self.subnet,
            since=self.since,
            until=self.until,
            text=self.text,
        )

    def canonical(self) -> dict[str, Any]:
        """What is asked for, one spelling of it: for manifests and to compare. No cursor."""
        asked = {name: getattr(self, name) for name in (*_NAMES, "since", "until", "limit")}
        asked["execution"] = None if self.execution is None else self.execution.lower()
        asked["type"] = None if self.type is None else full_type(self.type)
        asked["text"] = None if self.text is None else " ".join(self.text.split())
        asked["reverse"] = self.reverse or None
        return {name: asked[name] for name in sorted(asked) if asked[name] is not None}

    def position(self) -> int | None:
        """What `after` says: the place of the last record that was looked at."""
        if self.after is None:
            return None
        place, _, digest = self.after.partition(".")
        if digest != self._digest() or not place.isdigit():
            raise ValueError(f"after: {self.after!r} is no cursor of this query")
        return int(place)

    def cursor(self, position: int) -> str:
        """The text for `after` that goes on behind a place: in the chain of a query by execution,
        in the log of any other. It stays good while the log grows."""
        return f"{position}.{self._digest()}"

    def _digest(self) -> str:
        asked = self.canonical()
        asked.pop("limit", None)
        return _core.record_hash(_core.encode(asked)).hex()[:12]


def full_type(text: str) -> str:
    """The type, or pattern of types, that a short name stands for."""
    if text.startswith(("q.", "*")):
        return text
    whole = PREFIX + text
    return whole if "*" in text or _VERSION.search(text) else whole + ".v1"


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name}: text is needed, not {type(value).__name__}")
    # Actors, nodes and subnets may be empty in a record; types and flows are not.
    if not value and name not in ("actor", "node", "subnet"):
        raise ValueError(f"{name} is empty")
    if len(value) > TEXT_CHARS_MAX:
        raise ValueError(f"{name} has {len(value)} characters, at most {TEXT_CHARS_MAX}")
    if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{name} is not Unicode text")


def _check_range(name: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: a whole number is needed, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name}: {value} is not from {least} to {most}")
