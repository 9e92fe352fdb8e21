"""How an execution ends without having reached its last step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qflow import model
from qflow.engine._state import Status
from qflow.engine._turn import Turn


def fault(turn: Turn, problem: dict[str, Any]) -> None:
    """End with a problem that nothing caught."""
    end(turn, Status.FAULTED)
    turn.state.problem = problem if "instance" in problem else {**problem, "instance": "/do"}
    turn.record("faulted", payload=turn.state.problem)


def aborted(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The problem of an execution that was aborted, from the record that says so."""
    problem = model.problem(model.ErrorKind.RUNTIME, "Aborted", meta.get("reason"))
    return {**problem, "instance": "/do"}


def end(turn: Turn, status: str) -> None:
    """Let go of everything that is under way."""
    for frame in turn.state.frames.values():
        if frame.running:
            turn.ask("cancel", frame.id, frame.data.get("child"))
    turn.state.status = status
    turn.state.frames.clear()
    turn.state.agenda.clear()
    turn.ask("finished")
