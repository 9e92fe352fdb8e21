"""How an execution ends without having reached its last step. Pure."""

from __future__ import annotations

from typing import Any

from qflow.engine._state import Status
from qflow.engine._turn import Turn


def fault(turn: Turn, problem: dict[str, Any]) -> None:
    """End with a problem that nothing caught."""
    end(turn, Status.FAULTED)
    turn.state.problem = problem if "instance" in problem else {**problem, "instance": "/do"}
    turn.record("faulted", payload=turn.state.problem)


def end(turn: Turn, status: str) -> None:
    """Let go of everything that is under way."""
    for frame in turn.state.frames.values():
        if frame.running:
            turn.ask("cancel", frame.id, frame.data.get("child"))
    turn.state.status = status
    turn.state.frames.clear()
    turn.state.agenda.clear()
    turn.ask("finished")
