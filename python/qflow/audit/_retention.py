"""What of the history may go: retention rules, and legal holds above them. Pure.

Holds are facts of the node's own chain; folding its records gives those that stand. A rule never
wins over a hold, and what no rule names is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from qflow.audit._patterns import is_flow, is_like
from qflow.config import RetentionRule

HELD: Final = "q.qflow.history.held.v1"
RELEASED: Final = "q.qflow.history.released.v1"
DAY_MS: Final = 86_400_000
TEXT_CHARS_MAX: Final = 500
"""Of a reason or a selector: it stands in a record."""
_FINAL: Final = frozenset({"completed", "faulted", "aborted"})
_SELECTORS: Final = ("execution", "flow", "actor", "since", "until")


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as far as rules and holds look at it. Times: UTC ms."""

    execution: str
    flow: str
    actor: str
    """On whose behalf it began."""
    status: str
    started_at: int
    ended_at: int
    """Of its last record, while it runs."""


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A legal hold: nothing of what it covers is erased or pruned, now or later.

    It covers the executions that have all that it names, also those that begin after it.
    """

    id: str
    reason: str
    by: str
    at: int
    execution: str | None = None
    flow: str | None = None
    """As in a retention rule."""
    actor: str | None = None
    """On whose behalf they began; `*` stands for any characters."""
    since: int | None = None
    """UTC ms: executions that were not over before it."""
    until: int | None = None
    """UTC ms: executions that began before it."""

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in _SELECTORS):
            raise ValueError("a hold says what it covers: an execution, a flow, an actor or a time")
        for name in ("reason", "execution", "flow", "actor"):
            if len(getattr(self, name) or "") > TEXT_CHARS_MAX:
                raise ValueError(f"{name} has more than {TEXT_CHARS_MAX} characters")
        if not self.reason.strip():
            raise ValueError("a hold needs a reason")

    def covers(self, subject: Subject) -> bool:
        """Whether nothing of this execution may go."""
        return (
            self.execution in (None, subject.execution)
            and (self.flow is None or is_flow(self.flow, subject.flow))
            and (self.actor is None or is_like(self.actor, subject.actor))
            and (self.since is None or subject.ended_at >= self.since)
            and (self.until is None or subject.started_at < self.until)
        )

    def meta(self) -> dict[str, Any]:
        """What its record says; all of it, since a pruning says it again in another record."""
        named = {name: getattr(self, name) for name in ("id", "reason", "by", "at", *_SELECTORS)}
        return {name: value for name, value in named.items() if value is not None}


class Holds:
    """The holds that stand, folded from the records of the node's own chain."""

    def __init__(self) -> None:
        self._standing: dict[str, Hold] = {}

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._standing.values())

    def apply(self, record: Mapping[str, Any]) -> None:
        """The next record of the chain, of whatever type. Raises ValueError: not as written."""
        kind, meta = record["type"], record["meta"]
        if kind == HELD:
            hold = msgspec.convert(meta, Hold)
            self._standing.setdefault(hold.id, hold)
        elif kind == RELEASED:
            self._standing.pop(meta["id"], None)

    def find(self, text: str) -> Hold | None:
        """A hold by its id or a unique beginning of it."""
        found = [hold for hold in self if text and hold.id.startswith(text.lower())]
        return found[0] if len(found) == 1 else None

    def over(self, subject: Subject) -> Hold | None:
        """The oldest hold that covers an execution."""
        return next((hold for hold in self if hold.covers(subject)), None)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What may become of one execution."""

    rule: int | None = None
    """The number of the rule that fits, from 1."""
    erase: bool = False
    """The rule's time is over for its payloads."""
    prune: bool = False
    """The rule's time is over for its records."""
    hold: Hold | None = None
    """What keeps it although the time is over."""


def judge(rules: Sequence[RetentionRule], holds: Holds, subject: Subject, now_ms: int) -> Verdict:
    """Apply the first rule that fits, and the holds above it."""
    for number, rule in enumerate(rules, 1):
        if not _fits(rule, subject):
            continue
        age_days = (now_ms - subject.ended_at) / DAY_MS
        prune = rule.records_days is not None and age_days >= rule.records_days
        # Payloads do not outlive their records, also where the rest of a segment keeps those.
        erase = prune or (rule.payloads_days is not None and age_days >= rule.payloads_days)
        hold = holds.over(subject) if erase or prune else None
        due = hold is None
        return Verdict(rule=number, erase=erase and due, prune=prune and due, hold=hold)
    return Verdict()


def describe(rule: RetentionRule) -> str:
    """A rule as one line."""
    kept = [("payloads", rule.payloads_days), ("records", rule.records_days)]
    days = [f"{what} {length:g} days" for what, length in kept if length is not None]
    return f"{rule.flow} {'/'.join(rule.status) or 'ended'}: {', '.join(days)}"


def _fits(rule: RetentionRule, subject: Subject) -> bool:
    if subject.status not in (rule.status or _FINAL):
        return False
    return subject.status in _FINAL and is_flow(rule.flow, subject.flow)


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that applying the rules found or did. Only what `what` names is given."""

    what: str
    """erase, held, awaited, plain, prune, kept, progress or summary."""
    execution: str | None = None
    flow: str | None = None
    why: str = ""
    """The rule, hold or parent, for people."""
    done: int | None = None
    """Executions looked at; of a summary, those erased; of a pruning, records."""
    whole: int | None = None
    minimum: int | None = None
    """Of a pruning: the index of the first record that stays."""
