"""The kinds of rules that look at who did what, where, and by which clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from qflow.audit._clocks import CLOCK
from qflow.audit._patterns import is_like, is_one_of
from qflow.audit._query import full_type
from qflow.audit.compliance import _rules
from qflow.audit.compliance._finding import Named, Record, name_record, short_type
from qflow.audit.compliance._judge import Judge, R, Run

COMPLETED: Final = "q.qflow.exec.completed.v1"
CUT: Final = "its beginning was pruned from the log"
NOT_OVER: Final = "it is not over"
NOT_COMPLETED: Final = "it did not complete"


class SeparationOfDuties(Judge[_rules.SeparationOfDuties]):
    """Remembers, for each execution, the first record of each actor on either side."""

    def wants(self, flow: str, kind: str) -> bool:
        both = (*self.rule.first, *self.rule.second)
        return self.is_about(flow) and any(is_like(full_type(t), kind) for t in both)

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        sides, told = self._notes(run)
        actor = record["actor"]
        if not actor and "" not in told:
            told.add("")
            self.find(run, "the record names no actor: duties cannot be told", [record],
                      judged=False)  # fmt: skip
        if not actor or is_one_of(self.rule.exempt, actor):
            return
        duties = [
            any(is_like(full_type(t), record["type"]) for t in types)
            for types in (self.rule.first, self.rule.second)
        ]
        for side, has in enumerate(duties):
            other = sides[1 - side].get(actor)
            if has and other is not None and actor not in told:
                told.add(actor)
                self._clash(run, record, other, actor)
        for side, has in enumerate(duties):
            if has:
                sides[side].setdefault(actor, name_record(record))

    def _notes(self, run: Run) -> tuple[list[dict[str, Named]], set[str]]:
        """By actor the first record on either side, and the actors that were told."""
        notes: tuple[list[dict[str, Named]], set[str]]
        notes = run.notes.setdefault(self.rule.id, ([{}, {}], set()))
        return notes

    def _clash(self, run: Run, record: Record, other: Named, actor: str) -> None:
        both = f"{short_type(other.type)} and {short_type(record['type'])}"
        self.find(run, f"{actor!r} is the actor of both {both}", [record, other],
                  values={"actor": actor})  # fmt: skip

    def end(self, run: Run, *, over: bool) -> None:
        sides, _ = self._notes(run)
        if not run.is_whole:
            self.settle(run, CUT)
        else:
            self.settle(run, None if sides[1] else "nobody had the second duty")


class _Grouped(Judge[R], ABC):
    """One finding for each name that is at fault in a chain, with how many records it has."""

    def note(self, record: Record, run: Run, name: str) -> None:
        groups: dict[str, list[Named | int]] = run.notes.setdefault(self.rule.id, {})
        group = groups.get(name)
        if group is None:
            groups[name] = [name_record(record), 1]
        else:
            group[1] += 1  # type: ignore[operator]

    def end(self, run: Run, *, over: bool) -> None:
        for name, (named, count) in run.notes.get(self.rule.id, {}).items():
            what, values = self.fault(name)
            self.find(run, what, [named], count=count, values=values)
        self.settle(run)

    @abstractmethod
    def fault(self, name: str) -> tuple[str, dict[str, str]]:
        """What is said of a name, and the values in it."""


class ApprovedNodes(_Grouped[_rules.ApprovedNodes]):
    executions_only = False

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        if inside and not is_one_of(self.rule.nodes, record["node"]):
            self.note(record, run, record["node"])

    def fault(self, name: str) -> tuple[str, dict[str, str]]:
        what = f"written by {name!r}, which is not approved" if name else "no node is named"
        return what, {"node": name}


class ActorMissing(_Grouped[_rules.ActorMissing]):
    def wants(self, flow: str, kind: str) -> bool:
        return self.is_about(flow) and any(is_like(full_type(t), kind) for t in self.rule.types)

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        actor = record["actor"]
        if inside and (not actor or is_one_of(self.rule.nobody, actor)):
            self.note(record, run, actor)

    def fault(self, name: str) -> tuple[str, dict[str, str]]:
        what = f"the actor is {name!r}, which is nobody" if name else "no actor is named"
        return what, {"actor": name}


class ClockRegression(Judge[_rules.ClockRegression]):
    executions_only = False

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        before: Named | None = run.notes.get(self.rule.id)
        if before is not None and record["at"] < before.at:
            back = before.at - record["at"]
            if "backwards" in self.rule.moves and back > self.rule.over_ms:
                what = f"its time is {back} ms before that of the record which it follows"
                self.find(run, what, [record, before], values={"moved_ms": back})
        run.notes[self.rule.id] = name_record(record)
        if record["type"] == CLOCK:
            self._moved(record, run)

    def _moved(self, record: Record, run: Run) -> None:
        kind, moved = record["meta"].get("kind"), record["meta"].get("moved_ms")
        known = kind in ("backwards", "ahead") and isinstance(moved, int)
        if not known or isinstance(moved, bool):
            self.find(run, "the record does not say how the clock moved", [record], judged=False)
        elif kind in self.rule.moves and moved > self.rule.over_ms:
            what = f"the clock of the node moved {kind} by {moved} ms"
            self.find(run, what, [record], values={"moved_ms": moved})


class ForbiddenFlow(Judge[_rules.ForbiddenFlow]):
    types = (_rules.CREATED,)

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        self.find(run, f"an execution of {run.flow!r} began", [record])

    def end(self, run: Run, *, over: bool) -> None:
        self.settle(run, None if run.is_whole else CUT)


class RequiredStep(Judge[_rules.RequiredStep]):
    types = ("exec.step_completed", "exec.completed")

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        if record["type"] == COMPLETED:
            if not run.notes.get(self.rule.id) and run.is_whole:
                what = f"it completed without a step {self.rule.step!r}"
                self.find(run, what, [record], values={"step": self.rule.step})
            run.notes[self.rule.id + "/over"] = True
        elif is_like(self.rule.step, record.get("step") or ""):
            run.notes[self.rule.id] = True

    def end(self, run: Run, *, over: bool) -> None:
        if not over:
            self.settle(run, NOT_OVER)
        elif not run.is_whole and not run.notes.get(self.rule.id):
            self.settle(run, CUT)
        elif self.rule.id + "/over" not in run.notes:
            self.settle(run, NOT_COMPLETED)
        else:
            self.settle(run)
