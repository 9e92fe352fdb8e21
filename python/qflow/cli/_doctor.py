"""Checks of a home, one line each: OK, WARN or FAIL, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qflow.cli import (
    _doctor_documents,
    _doctor_files,
    _doctor_machine,
    _doctor_states,
    _doctor_storage,
    _doctor_witnesses,
)
from qflow.cli._exit import FAILED, OK, cause_of
from qflow.cli._finding import FAIL, Check, Finding
from qflow.cli._output import STYLES, plural
from qflow.errors import ConfigError, QflowError

if TYPE_CHECKING:
    from qflow.cli._session import Session

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("versions", _doctor_machine.versions),
    ("home", _doctor_files.home),
    ("key", _doctor_files.key),
    ("keys", _doctor_files.keys),
    ("secrets", _doctor_files.secrets),
    ("node", _doctor_files.node),
    ("log", _doctor_files.log),
    ("index", _doctor_files.index),
    ("states", _doctor_states.states),
    ("documents", _doctor_documents.documents),
    ("storage", _doctor_storage.storage),
    ("witnesses", _doctor_witnesses.witnesses),
    ("witness", _doctor_witnesses.witness),
    ("disk", _doctor_machine.disk),
    ("fsync", _doctor_machine.fsync),
    ("clock", _doctor_machine.clock),
    ("functions", _doctor_machine.functions),
    ("loss", _doctor_machine.loss),
)


def doctor(session: Session, functions: list[Path]) -> int | None:
    """Run every check; exit code 1 when one fails."""
    findings = list(_findings(session, functions))
    failed = sum(finding.status == FAIL for finding in findings)
    if session.out.json:
        session.out.document({"ok": not failed, "checks": findings})
        return FAILED if failed else OK
    for item in findings:
        style = STYLES[item.status.lower()]
        session.out.line(f"{item.status:<6}{item.check:<11}{item.found}", style)
        if item.fix:
            session.out.line(f"{'':<17}fix: {item.fix}")
    if failed:
        session.out.note(f"{plural(failed, 'check')} failed", "red")
    return FAILED if failed else OK


def _findings(session: Session, functions: list[Path]) -> Iterator[Finding]:
    try:
        config = session.config
    except ConfigError as error:
        yield Finding("settings", FAIL, str(error), "correct it; nothing else can be checked")
        return
    yield Finding("settings", "OK", f"home {config.home}")
    for name, check in CHECKS:
        yield _checked(name, partial(check, session, functions))


def _checked(name: str, check: Callable[[], Finding]) -> Finding:
    """A check that cannot be made is a failed one."""
    try:
        return check()
    except (QflowError, OSError, BaseExceptionGroup) as error:
        return Finding(name, FAIL, str(cause_of(error)))
