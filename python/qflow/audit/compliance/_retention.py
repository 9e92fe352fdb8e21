"""The kind of rule that looks at what should have been erased, and at what should not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from qflow import model
from qflow.audit._erasures import ERASED
from qflow.audit._own import FLOW
from qflow.audit._retention import DAY_MS, HELD, RELEASED, Holds, Subject
from qflow.audit.compliance import _rules
from qflow.audit.compliance._finding import Named, Record, name_record, short_type
from qflow.audit.compliance._judge import Judge, Run

ENDS: Final = tuple(f"q.qflow.exec.{kind}.v1" for kind in ("completed", "faulted", "aborted"))
ON_HOLD: Final = "a legal hold is on it"
NOT_OVER: Final = "it is not over"
NOT_DUE: Final = "it ended too short a time ago"


class _Ended(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of an execution that is over, until it is erased."""

    flow: str
    actor: str
    started_at: int
    ended_at: int
    seq: int
    index: int
    type: str
    node: str
    inside: bool


class Retention(Judge[_rules.Retention]):
    """Remembers each execution that is over until it is erased, and the holds that stand."""

    reads_own = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ended: dict[bytes, _Ended] = {}
        self._holds = Holds()
        self._held: dict[str, Named] = {}

    def wants(self, flow: str, kind: str) -> bool:
        if flow == FLOW:
            return kind in (HELD, RELEASED, ERASED)
        return self.is_about(flow) and kind in ENDS

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        kind, meta = record["type"], record["meta"]
        if kind in ENDS:
            self._ended[run.chain] = _ended(record, run)
            return
        try:
            if kind == ERASED:
                self._erased(record, run, meta["execution"])
            else:
                self._holds.apply(record)
                self._held[meta["id"]] = name_record(record)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self.find(run, f"the record cannot be judged: {error!s:.100}", [record], judged=False)

    def _erased(self, record: Record, run: Run, execution: str) -> None:
        ended = self._ended.pop(model.id_bytes(execution), None)
        if ended is None:
            # Of a flow that the rule is not about, or erased again.
            return
        hold, told = self._holds.over(_subject(execution, ended)), False
        if hold is not None:
            what = f"its payloads were erased under the legal hold {hold.id}"
            named = [name_record(record), self._held[hold.id]]
            told = self.say(ended.flow, what, named)
        self.count(ended.inside, failed=told)

    def end(self, run: Run, *, over: bool) -> None:
        if not over:
            self.settle(run, NOT_OVER)

    def close(self) -> None:
        for chain, ended in self._ended.items():
            self._close(model.id_text(chain), ended)
        self._ended.clear()

    def _close(self, execution: str, ended: _Ended) -> None:
        age_ms = self.now_ms - ended.ended_at
        if age_ms < self.rule.days * DAY_MS:
            self.count(ended.inside, why_not=NOT_DUE)
        elif self._holds.over(_subject(execution, ended)) is not None:
            self.count(ended.inside, why_not=ON_HOLD)
        else:
            days = age_ms // DAY_MS
            what = f"it ended {days} days ago and its payloads are not erased"
            named = Named(execution, ended.seq, ended.index, ended.type, ended.ended_at,
                          ended.actor, ended.node)  # fmt: skip
            told = self.say(ended.flow, what, [named], values={"days": days})
            self.count(ended.inside, failed=told)


def _ended(record: Mapping[str, Any], run: Run) -> _Ended:
    return _Ended(
        flow=sys.intern(run.flow),
        actor=sys.intern(run.first.actor),
        started_at=run.first.at,
        ended_at=record["at"],
        seq=record["seq"],
        index=record["index"],
        type=sys.intern(record["type"]),
        node=sys.intern(record["node"]),
        inside=run.inside,
    )


def _subject(execution: str, ended: _Ended) -> Subject:
    return Subject(
        execution=execution,
        flow=ended.flow,
        actor=ended.actor,
        status=short_type(ended.type).removeprefix("exec."),
        started_at=ended.started_at,
        ended_at=ended.ended_at,
    )
