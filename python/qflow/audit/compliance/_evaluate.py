"""Holds rules against a whole history, in one pass, and says how much of it that was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._own import FLOW
from qflow.audit._patterns import is_flow
from qflow.audit._source import Source
from qflow.audit.compliance import _admission, _kinds, _retention, _rules
from qflow.audit.compliance._finding import Finding
from qflow.audit.compliance._judge import Judge, Run
from qflow.audit.compliance._rules import AnyRule
from qflow.errors import CorruptError, VerificationError

SCAN_BYTES_MAX: Final = 4 << 20
FINAL: Final = frozenset(_retention.ENDS)

_JUDGES: Final[Mapping[type[_rules.Rule], type[Judge[Any]]]] = {
    _rules.SeparationOfDuties: _kinds.SeparationOfDuties,
    _rules.ConsentPresent: _admission.ConsentPresent,
    _rules.ApprovedNodes: _kinds.ApprovedNodes,
    _rules.Retention: _retention.Retention,
    _rules.RiskAdmitted: _admission.RiskAdmitted,
    _rules.ActorMissing: _kinds.ActorMissing,
    _rules.ClockRegression: _kinds.ClockRegression,
    _rules.ForbiddenFlow: _kinds.ForbiddenFlow,
    _rules.RequiredStep: _kinds.RequiredStep,
}


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is judged: chains of some flows, findings of some time. The whole log is read anyway."""

    flow: str | None = None
    """As in a rule."""
    since: int | None = None
    """UTC ms, inclusive: of the record at fault."""
    until: int | None = None
    """UTC ms, exclusive."""

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since is not before until")

    def is_about(self, flow: str) -> bool:
        """Whether chains of a flow are judged."""
        return self.flow is None or is_flow(self.flow, flow)

    def is_within(self, at: int) -> bool:
        """Whether a time is one that was asked for."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one rule. Every chain that it is about is in one of the three counts."""

    rule: AnyRule
    passed: int
    failed: int
    not_applicable: dict[str, int]
    """Chains that were not judged, by the reason."""
    findings: int
    unjudged: int
    """Of the findings, those that say that a record could not be judged."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was read and what came of it."""

    first: int
    """Index of the first record that the log still holds; all from there on were read."""
    size: int
    """Records under the head that this is about."""
    chains: int
    """Of the scope."""
    executions: int
    over: int
    """Executions of the scope that have ended."""
    results: tuple[Result, ...]


def evaluating(
    source: Source,
    rules: Sequence[AnyRule],
    *,
    head: tuple[int, bytes],
    scope: Scope,
    now_ms: int,
    tell: Callable[[Finding], None],
) -> Generator[tuple[int, int], None, Outcome]:
    """Judge the records under a head, (size, root), part by part: yields (done, in all).

    Each finding goes to `tell`, none is left out. What was read must have the root of the head: a
    record that is missing, changed or moved is an error, not a clean report. Memory grows with the
    executions that run, the findings, and for retention with the executions that are not erased.
    Raises CorruptError and VerificationError.
    """
    reading = _Reading(rules, scope, now_ms, tell)
    tree, first, done = _core.Tree(), None, 0
    for records in _frames(source, head[0]):
        if first is None:
            first = done = records[0][0]
        for index, _, data in records:
            if index != done:
                raise CorruptError(f"after record {done - 1} the log has record {index}")
            reading.take(index, data, is_whole=first == 0)
            done += 1
        if first == 0:
            tree.extend([data for _, _, data in records])
        yield done, head[0]
    if done != head[0]:
        raise CorruptError(f"the log ends at record {done}; its head is of {head[0]}")
    # Of a pruned log the root cannot be made from what is left: `qflow audit verify` can.
    if not first and tree.root != head[1]:
        raise VerificationError("the records that were read are not those of the signed head")
    return reading.close(first or 0, head[0])


def _frames(source: Source, size: int) -> Iterator[list[tuple[int, int, bytes]]]:
    """The records below an index, some frames at a time."""
    address, after, done = -1, 0, False
    while after != address and not done:
        address = after
        records, _, after = source.scan(address, SCAN_BYTES_MAX)
        done = bool(records) and records[-1][0] >= size - 1
        if kept := [record for record in records if record[0] < size]:
            yield kept


class _Reading:
    """The state of one pass: a run for each chain that grows, and who is to see what."""

    def __init__(
        self,
        rules: Sequence[AnyRule],
        scope: Scope,
        now_ms: int,
        tell: Callable[[Finding], None],
    ) -> None:
        self._scope, self._sink = scope, tell
        self._judges = [_JUDGES[type(rule)](rule, self._tell, now_ms) for rule in rules]
        self._reads_own = any(judge.reads_own for judge in self._judges)
        self._runs: dict[bytes, Run] = {}
        self._seen: dict[tuple[str, str], tuple[Judge[Any], ...]] = {}
        self._about: dict[str, tuple[Judge[Any], ...]] = {}
        self._counts = {"chains": 0, "executions": 0, "over": 0}

    def take(self, index: int, data: bytes, *, is_whole: bool) -> None:
        try:
            record = _core.decode_record(data)
        except ValueError as error:
            raise CorruptError(f"record {index}: {error}") from error
        flow, kind, chain = record["flow"], record["type"], record["chain"]
        judges = self._seen.get((flow, kind))
        if judges is None:
            judges = self._seen[flow, kind] = self._who_sees(flow, kind)
        if flow not in self._about:
            self._about[flow] = self._who_judges(flow)
        # Of a chain that is followed, also the records that nobody looks at have their numbers.
        if not judges and not self._about[flow] and not (flow == FLOW and self._reads_own):
            return
        record["index"] = index
        run = self._runs.get(chain)
        if run is None:
            run = self._runs[chain] = Run(record)
            if not run.is_whole and is_whole:
                raise VerificationError(f"record {index}: its chain has no beginning")
        elif record["seq"] != run.seq + 1:
            raise VerificationError(f"record {index}: it does not follow in its chain")
        run.seq = record["seq"]
        inside = self._scope.is_within(record["at"])
        run.inside = run.inside or inside
        for judge in judges:
            judge.see(record, run, inside=inside)
        if kind in FINAL:
            self._end(self._runs.pop(chain), over=True)

    def close(self, first: int, size: int) -> Outcome:
        for run in self._runs.values():
            self._end(run, over=False)
        self._runs.clear()
        for judge in self._judges:
            judge.close()
        return Outcome(
            first=first, size=size, results=tuple(map(_result, self._judges)), **self._counts
        )

    def _end(self, run: Run, *, over: bool) -> None:
        if run.inside and self._scope.is_about(run.flow):
            self._counts["chains"] += 1
            self._counts["executions"] += run.is_execution
            self._counts["over"] += over
        for judge in self._about[run.flow]:
            judge.end(run, over=over)

    def _who_sees(self, flow: str, kind: str) -> tuple[Judge[Any], ...]:
        about = self._scope.is_about(flow)
        return tuple(
            judge
            for judge in self._judges
            if (about or (judge.reads_own and flow == FLOW)) and judge.wants(flow, kind)
        )

    def _who_judges(self, flow: str) -> tuple[Judge[Any], ...]:
        if not self._scope.is_about(flow):
            return ()
        return tuple(judge for judge in self._judges if judge.is_about(flow))

    def _tell(self, finding: Finding) -> bool:
        told = self._scope.is_within(finding.at)
        if told:
            self._sink(finding)
        return told


def _result(judge: Judge[Any]) -> Result:
    return Result(
        rule=judge.rule,
        passed=judge.passed,
        failed=judge.failed,
        not_applicable=dict(sorted(judge.not_applicable.items())),
        findings=judge.findings,
        unjudged=judge.unjudged,
    )
