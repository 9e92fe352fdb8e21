"""`metadata.qflow` of a task: what a flow says to this engine beyond the specification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from qflow.engine._problems import Findings, did_you_mean
from qflow.engine._walk import Place, part
from qflow.model import pointer_token

CONCURRENCY_MAX: Final = 256
"""Iterations of one `for` at the same time."""


def check_metadata(place: Place, findings: Findings) -> None:
    """Add what is wrong with the options of a task; an unknown one is a mistake, not a note."""
    options = part(place.task, "metadata", "qflow")
    if options is None:
        return
    path = f"{place.pointer}/metadata/qflow"
    if not isinstance(options, Mapping):
        findings.add(path, "must be an object")
        return
    for name, value in options.items():
        check = _OPTIONS.get(name)
        where = f"{path}/{pointer_token(name)}"
        if check is None:
            fix = did_you_mean(name, _OPTIONS) or f"known are {', '.join(_OPTIONS)}"
            findings.add(where, f"unknown option {name!r:.80} of metadata.qflow", fix)
        elif (wrong := check(place, value)) is not None:
            findings.add(where, wrong)


def _interrupted(place: Place, value: Any) -> str | None:
    if place.kind not in ("call", "run"):
        return "only call and run can be interrupted"
    return None if value in ("retry", "report") else "must be 'retry' or 'report'"


def _concurrency(place: Place, value: Any) -> str | None:
    if place.kind != "for":
        return "only a for runs its items at the same time"
    if isinstance(value, bool) or not isinstance(value, int):
        return "must be a whole number"
    if "while" in place.task:
        return "cannot be together with while, which looks at one item after the other"
    return None if 1 <= value <= CONCURRENCY_MAX else f"must be from 1 to {CONCURRENCY_MAX}"


def _checkpoint(place: Place, value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


_OPTIONS: Final[dict[str, Callable[[Place, Any], str | None]]] = {
    "interrupted": _interrupted,
    "concurrency": _concurrency,
    "checkpoint": _checkpoint,
}
