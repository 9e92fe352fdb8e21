"""call, run, emit: what the world outside the decision is asked to do."""

from __future__ import annotations

from typing import Any

from qflow import model
from qflow.engine import _shared
from qflow.engine._scope import instant
from qflow.engine._state import Frame
from qflow.engine._turn import Fault, Turn, child_id

RUNTIME_SOURCE = "urn:qflow"


def begin_call(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    """An attempt; or, when the flow itself defines the function, its task below this one."""
    name = task["call"]
    functions = (turn.flow.document.get("use") or {}).get("functions") or {}
    if name == _shared.CALL and name not in functions:
        frame.data["document"] = _shared.name_of(turn, task["with"]["document"])
    if name not in functions:
        _ask(turn, frame, "attempt")
        return
    arguments = turn.resolve(task.get("with"), frame)
    value = frame.input if arguments is None else arguments
    token = turn.token(name)
    turn.later("function", frame.id, [name, functions[name], f"/use/functions/{token}", value])


def begin_run(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    _ask(turn, frame, "attempt")


def begin_subflow(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    """Start another execution; its id follows from this one, so a second asking is harmless."""
    named = task["run"]["workflow"]
    frame.data["child"] = {
        "id": child_id(turn.state, frame),
        "namespace": named["namespace"],
        "name": named["name"],
        "version": named.get("version", "latest"),
        "input": turn.resolve(named["input"], frame) if "input" in named else frame.input,
        "await": task["run"].get("await", True),
    }
    turn.weigh(frame.data["child"]["input"], "The input of the flow")
    if not frame.data["child"]["await"]:
        turn.weigh(frame.input, "The result")
    _ask(turn, frame, "subflow", frame.data["child"])


def begin_emit(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    """The event is whole before it is recorded: it has its id and time from the decision."""
    event = turn.resolve(task["emit"]["event"].get("with") or {}, frame)
    made = {
        "specversion": "1.0",
        "id": f"{turn.state.id}/{frame.id}",
        "time": instant(turn.state.now)["iso8601"],
        "source": RUNTIME_SOURCE,
        **event,
    }
    for name in ("id", "source", "type"):
        if not isinstance(made.get(name), str) or not made[name]:
            problem = model.problem(
                model.ErrorKind.VALIDATION, "Not an event", f"its {name} is no text"
            )
            raise Fault(problem)
    turn.weigh(made, "The event")
    frame.data["event"] = made
    _ask(turn, frame, "emit", made)


def _ask(turn: Turn, frame: Frame, kind: str, value: Any = None) -> None:
    frame.running = True
    turn.ask(kind, frame.id, value)
