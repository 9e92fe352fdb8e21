"""The kinds of rules that look at how an execution was admitted.

They read `meta.admission` of its first record: decisions and numbers, never a text in it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeGuard, TypeVar

from qflow.audit._patterns import is_one_of
from qflow.audit.compliance import _rules
from qflow.audit.compliance._finding import Record
from qflow.audit.compliance._judge import Judge, Run
from qflow.audit.compliance._kinds import CUT

GRANTED: Final = "granted"
DENIED: Final = "denied"
ADMITTED: Final = "admitted"
REFUSED: Final = "refused"
A = TypeVar("A", _rules.ConsentPresent, _rules.RiskAdmitted)
CHILD: Final = "it was started by another execution"


class _Admitted(Judge[A], ABC):
    """Judges the one part of the admission that `part` names."""

    types = (_rules.CREATED,)
    part = ""

    def see(self, record: Record, run: Run, *, inside: bool) -> None:
        if run.parent:
            return
        admission = record["meta"].get("admission")
        found = admission.get(self.part) if isinstance(admission, Mapping) else None
        if isinstance(found, Mapping):
            run.notes[self.rule.id] = True
            self.judge(record, run, found)
        elif admission is not None and not isinstance(admission, Mapping):
            self.malformed(record, run, "admission", admission)
        elif found is not None:
            self.malformed(record, run, self.part, found)
        elif self.rule.required:
            self.find(run, f"it began without a word on {self.part}", [record], judged=False)

    @abstractmethod
    def judge(self, record: Record, run: Run, found: Mapping[str, Any]) -> None:
        """Hold what was found in that part against the rule."""

    def malformed(self, record: Record, run: Run, field: str, value: Any) -> None:
        what = f"{field} cannot be judged: it is {_shown(value)}"
        self.find(run, what, [record], judged=False, values={"field": field})

    def end(self, run: Run, *, over: bool) -> None:
        if not run.is_whole:
            self.settle(run, CUT)
        elif run.parent:
            self.settle(run, CHILD)
        else:
            said = self.rule.id in run.notes
            self.settle(run, None if said else f"nothing is said of {self.part}")


class ConsentPresent(_Admitted[_rules.ConsentPresent]):
    part = "consent"

    def judge(self, record: Record, run: Run, found: Mapping[str, Any]) -> None:
        decision, by = found.get("decision"), found.get("by")
        if decision == DENIED:
            self.find(run, "it began although consent was denied", [record])
        elif decision != GRANTED:
            self.malformed(record, run, "consent.decision", decision)
        elif self.rule.by and not isinstance(by, str):
            self.malformed(record, run, "consent.by", by)
        elif self.rule.by and not is_one_of(self.rule.by, str(by)):
            self.find(
                run, f"consent was granted by {by!r}, who may not", [record], values={"by": by}
            )


class RiskAdmitted(_Admitted[_rules.RiskAdmitted]):
    part = "risk"

    def judge(self, record: Record, run: Run, found: Mapping[str, Any]) -> None:
        decision = found.get("decision")
        if decision == REFUSED:
            self.find(run, "it began although its risk was refused", [record])
        elif decision != ADMITTED:
            self.malformed(record, run, "risk.decision", decision)
        else:
            self._measure(record, run, found)

    def _measure(self, record: Record, run: Run, found: Mapping[str, Any]) -> None:
        """The score against the threshold, both of 100, whatever scale they came in."""
        scale, score = found.get("scale"), found.get("score")
        if not _is_number(scale) or scale == 0:
            self.malformed(record, run, "risk.scale", scale)
        elif not _is_number(score) or score > scale:
            self.malformed(record, run, "risk.score", score)
        else:
            threshold: Any = self.rule.threshold
            top: float = 100
            if threshold is None:
                threshold, top = found.get("threshold"), scale
            if not _is_number(threshold) or threshold > top:
                self.malformed(record, run, "risk.threshold", threshold)
            elif (risk := _of_100(score, scale)) > (most := _of_100(threshold, top)):
                self._over(record, run, float(risk), float(most))

    def _over(self, record: Record, run: Run, risk: float, most: float) -> None:
        what = f"its risk was {risk:.10g} of 100, over the threshold of {most:.10g}"
        self.find(run, what, [record], values={"risk": risk, "threshold": most})


def _of_100(value: float, top: float) -> Decimal:
    """As the decimals say that were written: 0.07 of 1 is 7, not a little more."""
    return 100 * Decimal(repr(value)) / Decimal(repr(top))


def _is_number(value: Any) -> TypeGuard[float]:
    """From 0 on, and finite. A truth value is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def _shown(value: Any) -> str:
    return "missing" if value is None else f"{value!r:.60}"
