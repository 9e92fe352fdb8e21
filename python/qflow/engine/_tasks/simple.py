"""set, switch, raise, wait: over within the decision, or with one timer."""

from __future__ import annotations

from typing import Any

from qflow import model
from qflow.engine._state import Frame
from qflow.engine._turn import Fault, Turn


def begin_set(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    turn.later("leave", frame.id, turn.resolve(task["set"], frame))


def begin_switch(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    """The first case that holds gives the directive; without one, the task's own counts."""
    for item in task["switch"]:
        ((_, case),) = item.items()
        if "when" not in case or turn.holds(case["when"], frame.input, frame):
            frame.data["then"] = case["then"]
            break
    turn.later("leave", frame.id, frame.input)


def begin_raise(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    error = turn.resolve(turn.flow.error(task["raise"]["error"]), frame)
    if not isinstance(error.get("type"), str) or not isinstance(error.get("status"), int):
        raise Fault(
            model.problem(
                model.ErrorKind.CONFIGURATION,
                "An error needs a type and a status",
                f"{frame.where} gave {error!r:.200}",
            )
        )
    turn.weigh(error, "The error")
    raise Fault({**error, "type": model.canonical_error_type(error["type"])})


def begin_wait(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    turn.set_timer(frame, "wait", turn.after_ms(task["wait"], frame))
