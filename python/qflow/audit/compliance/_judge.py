"""What every kind of rule does with the records of a history, one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from qflow.audit._own import FLOW
from qflow.audit._patterns import is_flow, is_like
from qflow.audit._query import full_type
from qflow.audit.compliance._finding import Finding, Named, Record, name_record
from qflow.audit.compliance._rules import Rule

R = TypeVar("R", bound=Rule)
Tell = Callable[[Finding], bool]
"""Takes a finding; False: it is of a time that was not asked for."""


class Run:
    """What is remembered of a chain while it grows: an execution, or the node's own."""

    __slots__ = ("chain", "failed", "first", "flow", "inside", "notes", "parent", "seq", "settled")

    def __init__(self, record: Record) -> None:
        self.chain: bytes = record["chain"]
        self.flow: str = record["flow"]
        self.first = name_record(record)
        self.parent = "parent" in record["meta"]
        self.seq: int = record["seq"]
        self.inside = False
        """Whether a record of it is of the time that was asked for."""
        self.notes: dict[str, Any] = {}
        """By rule."""
        self.failed: set[str] = set()
        self.settled: set[str] = set()

    @property
    def is_execution(self) -> bool:
        return self.flow != FLOW

    @property
    def is_whole(self) -> bool:
        """Whether the log still has its beginning."""
        return self.first.seq == 0


class Judge(Generic[R]):
    """Holds one rule against a history. `see` gets each record in the order of the log.

    Each chain that the rule is about is settled once: as passed, failed, or not judged and why.
    """

    types: ClassVar[tuple[str, ...]] = ("*",)
    """Patterns of the types that `see` is to get."""
    executions_only: ClassVar[bool] = True
    reads_own: ClassVar[bool] = False
    """Whether it needs the node's own chain, also when that is not what is judged."""

    def __init__(self, rule: R, tell: Tell, now_ms: int) -> None:
        self.rule, self.now_ms = rule, now_ms
        self._tell = tell
        self.passed = self.failed = self.findings = self.unjudged = 0
        self.not_applicable: Counter[str] = Counter()

    def wants(self, flow: str, kind: str) -> bool:
        """Whether records of this type, of chains of this flow, are for it."""
        return self.is_about(flow) and any(is_like(full_type(t), kind) for t in self.types)

    def is_about(self, flow: str) -> bool:
        """Whether chains of this flow are judged."""
        if self.executions_only and flow == FLOW:
            return False
        return is_flow(self.rule.flow, flow)

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        """Take the next record. `inside`: it is of the time that was asked for."""

    def end(self, run: Run, *, over: bool) -> None:
        """A chain is complete (`over`), or as far as the log goes. Settles it."""
        self.settle(run)

    def close(self) -> None:
        """The log is read."""

    def find(
        self,
        run: Run,
        what: str,
        records: Sequence[Record | Named],
        *,
        count: int = 1,
        judged: bool = True,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """A finding about a chain; the record at fault first."""
        named = tuple(r if isinstance(r, Named) else name_record(r) for r in records)
        if self.say(run.flow, what, named, count=count, judged=judged, values=values):
            run.failed.add(self.rule.id)

    def say(
        self,
        flow: str,
        what: str,
        named: Sequence[Named],
        *,
        count: int = 1,
        judged: bool = True,
        values: Mapping[str, Any] | None = None,
    ) -> bool:
        """Tell a finding; False: it is of a time that was not asked for."""
        told = self._tell(
            Finding(
                rule=self.rule.id,
                severity=self.rule.severity,
                flow=flow,
                what=what,
                records=tuple(named),
                count=count,
                values=values or {},
                judged=judged,
            )
        )
        self.findings += told
        self.unjudged += told and not judged
        return told

    def settle(self, run: Run, why_not: str | None = None) -> None:
        """Count a chain: failed when there was a finding, not judged for a reason, or passed."""
        if self.rule.id not in run.settled:
            run.settled.add(self.rule.id)
            self.count(run.inside, failed=self.rule.id in run.failed, why_not=why_not)

    def count(self, inside: bool, *, failed: bool = False, why_not: str | None = None) -> None:
        """One chain more, when it is of the time that was asked for."""
        if not inside:
            return
        if failed:
            self.failed += 1
        elif why_not is not None:
            self.not_applicable[why_not] += 1
        else:
            self.passed += 1
