"""do, for, fork: steps made of lists of steps."""

from __future__ import annotations

from typing import Any

from qflow import model
from qflow.engine._state import Frame
from qflow.engine._turn import Fault, Turn


def begin_do(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    turn.open_list(frame, "/do", frame.input)


def do_done(turn: Turn, frame: Frame, done: Frame, output: Any) -> None:
    turn.later("leave", frame.id, output)


# -- for -----------------------------------------------------------------------------------


def begin_for(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    """One iteration after the other, each fed by the one before; or several at the same time.

    With `metadata.qflow.concurrency` every iteration gets the step's input, and the output is the
    list of all outputs in the order of the items.
    """
    items = turn.evaluate(task["for"]["in"], frame)
    if not isinstance(items, list):
        raise Fault(
            model.problem(
                model.ErrorKind.EXPRESSION,
                "A loop needs a list",
                f"{task['for']['in']} gave {type(items).__name__}",
            )
        )
    width = turn.options(frame).get("concurrency")
    frame.data |= {"items": items, "next": 0}
    if width is None:
        _iterate(turn, frame, frame.input)
        return
    frame.data |= {"results": [None] * len(items), "left": len(items)}
    if not items:
        turn.later("leave", frame.id, [])
    for _ in range(min(width, len(items))):
        _open(turn, frame, frame.input)


def for_done(turn: Turn, frame: Frame, done: Frame, output: Any) -> None:
    data = frame.data
    if "results" not in data:
        _iterate(turn, frame, output)
        return
    data["results"][done.data["key"]] = output
    data["left"] -= 1
    if data["next"] < len(data["items"]):
        _open(turn, frame, frame.input)
    elif data["left"] == 0:
        turn.later("leave", frame.id, data["results"])


def _iterate(turn: Turn, frame: Frame, value: Any) -> None:
    task, index = turn.task(frame), frame.data["next"]
    if index >= len(frame.data["items"]):
        turn.later("leave", frame.id, value)
        return
    if "while" in task and not turn.holds(
        task["while"], value, frame, **_scope(task, frame.data["items"], index)
    ):
        turn.later("leave", frame.id, value)
        return
    _open(turn, frame, value)


def _open(turn: Turn, frame: Frame, value: Any) -> None:
    task, index = turn.task(frame), frame.data["next"]
    frame.data["next"] = index + 1
    scope = _scope(task, frame.data["items"], index)
    turn.open_list(frame, f"/do#{index}", value, where="/do", scope=scope, key=index)


def _scope(task: dict[str, Any], items: list[Any], index: int) -> dict[str, Any]:
    loop = task["for"]
    return {loop.get("each", "item"): items[index], loop.get("at", "index"): index}


# -- fork ----------------------------------------------------------------------------------


def begin_fork(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    """All branches at once. The output is the list of theirs, or the winner's."""
    branches = task["fork"]["branches"]
    if not branches:
        turn.later("leave", frame.id, frame.input)
        return
    frame.data |= {"results": [None] * len(branches), "left": len(branches)}
    for index in range(len(branches)):
        turn.open_list(
            frame,
            "/fork/branches",
            frame.input,
            where="/fork/branches",
            only=index,
            key=index,
        )


def fork_done(turn: Turn, frame: Frame, done: Frame, output: Any) -> None:
    if turn.task(frame)["fork"].get("compete"):
        turn.close_below(frame)
        turn.later("leave", frame.id, output)
        return
    frame.data["results"][done.data["key"]] = output
    frame.data["left"] -= 1
    if frame.data["left"] == 0:
        turn.later("leave", frame.id, frame.data["results"])
