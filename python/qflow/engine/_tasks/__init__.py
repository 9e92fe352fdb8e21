"""What each kind of task does when it is entered, and when a list below it is done. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qflow.engine import _recover
from qflow.engine._state import Frame
from qflow.engine._tasks import calls, composite, listen, simple
from qflow.engine._turn import Turn
from qflow.engine._walk import KINDS

LEAVES: Final = frozenset({"set"})
"""Kinds whose output is made by the decision itself, and kept in the chain for its readers."""

BEGIN: Final[dict[str, Callable[[Turn, Frame, dict[str, Any]], None]]] = {
    "call": calls.begin_call,
    "run": calls.begin_run,
    "subflow": calls.begin_subflow,
    "emit": calls.begin_emit,
    "set": simple.begin_set,
    "switch": simple.begin_switch,
    "raise": simple.begin_raise,
    "wait": simple.begin_wait,
    "do": composite.begin_do,
    "for": composite.begin_for,
    "fork": composite.begin_fork,
    "try": _recover.begin_try,
    "listen": listen.begin,
}
_DONE: Final[dict[str, Callable[[Turn, Frame, Frame, Any], None]]] = {
    "do": composite.do_done,
    "for": composite.for_done,
    "fork": composite.fork_done,
    "try": _recover.try_done,
    "listen": listen.list_done,
}


def kind_of(task: dict[str, Any]) -> str:
    """The kind of a task of a validated flow."""
    kind = next(kind for kind in KINDS if kind in task)
    return "subflow" if kind == "run" and "workflow" in task["run"] else kind


def list_done(turn: Turn, parent: Frame, done: Frame, output: Any) -> None:
    """The list `done` of a composite step is over, and closed already."""
    _DONE[parent.kind](turn, parent, done, output)
