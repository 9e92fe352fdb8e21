"""The trial of a forged log: three auditors look at the same folder."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qflow import audit
from qflow.audit import Report, Verdict
from tests.attacks.attack import NOT_FOUND, Outcome, attack
from tests.attacks.honest import Honest

Change = Callable[[Honest, random.Random, Path], None]


def on_log(name: str, *, source: str = "closed", **rest: Any) -> Callable[[Change], Change]:
    """Enter an attack on the files of a log: it changes a copy, and the auditors judge that."""

    def enter(change: Change) -> Change:
        @attack(name, **rest)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Outcome:
            path = honest.copy(getattr(honest, source), folder)
            change(honest, chance, path)
            return judge(honest, path, source)

        return change

    return enter


def judge(honest: Honest, path: Path, source: str) -> Outcome:
    """What the three say. `source` is the moment that the witnesses know."""
    alone = audit.verify(path, honest.vkey)
    noted = path.parent / "noted"
    noted.write_bytes(honest.noted)
    known = audit.verify(path, honest.vkey, known_head=noted)
    return Outcome(said(alone), said(known), witnessed(honest, path, source))


def witnessed(honest: Honest, path: Path, source: str) -> str:
    """What a policy comes to, and, when nothing is wrong by the files, what a witness says."""
    report = audit.verify(path, honest.vkey, policy=honest.policy)
    if report.verdict in {Verdict.INVALID, Verdict.DIVERGED}:
        return said(report)
    if honest.cosigners.objection(path, path.parent, source):
        return str(Verdict.DIVERGED)
    return said(report)


def said(report: Report) -> str:
    return NOT_FOUND if report.ok else str(report.verdict)
