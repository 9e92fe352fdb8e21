"""One decision in the making: the state, what is recorded of it, what is asked of the world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from qflow import _core, expressions, model
from qflow.engine._duration import duration_s
from qflow.engine._flow import Flow
from qflow.engine._scope import Scope
from qflow.engine._state import Command, Fact, Frame, State

DURATION_S_MAX: Final = 100 * 365 * 86_400
"""A wait or timeout longer than a century is a mistake, not a plan."""
RESULT_BYTES_MAX: Final = 1 << 20
"""A larger result of a step fails the step: put it elsewhere and return where."""


class Turn:
    """What one call of `decide` works on. `state` is changed in place and owned by the caller."""

    def __init__(self, flow: Flow, state: State) -> None:
        self.flow, self.state = flow, state
        self.facts: list[Fact] = []
        self.commands: list[Command] = []
        self.weight_bytes = 0
        """How much of what the flow made up is recorded with this decision."""

    # -- what is recorded and asked --------------------------------------------------------

    def record(self, kind: str, frame: Frame | None = None, **fields: Any) -> Fact:
        """Add a fact; with a frame, one about its step."""
        if frame is not None:
            fields.setdefault("step", frame.path)
        fact = Fact(kind=kind, **fields)
        self.facts.append(fact)
        return fact

    def weigh(self, value: Any, what: str) -> None:
        """Count a value that is to be recorded. Raises Fault for one that no record can hold."""
        try:
            size = len(_core.encode(value))
        except (ValueError, TypeError) as error:
            raise Fault(unrecordable(what, str(error))) from None
        if size > RESULT_BYTES_MAX:
            raise Fault(unrecordable(what, f"{size} bytes; {RESULT_BYTES_MAX} are allowed"))
        self.weight_bytes += size

    def ask(self, kind: str, frame: int = 0, value: Any = None) -> None:
        """Add a command, carried out once the facts are durable."""
        self.commands.append(Command(kind=kind, frame=frame, value=value))

    def later(self, operation: str, frame: int, value: Any = None) -> None:
        """Put work that needs no waiting at the end of the agenda."""
        self.state.agenda.append((operation, frame, value))

    # -- frames ----------------------------------------------------------------------------

    def open(self, parent: int, kind: str, path: str, where: str, **fields: Any) -> Frame:
        """Add a frame below `parent`."""
        frame = Frame(
            id=self.state.next_id,
            parent=parent,
            kind=kind,
            path=path,
            where=where,
            entered_at=self.state.now,
            **fields,
        )
        self.state.next_id += 1
        self.state.frames[frame.id] = frame
        return frame

    def open_list(
        self,
        parent: Frame,
        suffix: str,
        raw: Any,
        *,
        where: str | None = None,
        scope: dict[str, Any] | None = None,
        only: int | None = None,
        key: int = 0,
    ) -> Frame:
        """Begin a list of tasks of a composite step. `suffix` names it in the step's path."""
        pointer = where if where is not None else suffix
        frame = self.open(
            parent.id,
            "list",
            parent.path + suffix,
            parent.where + pointer,
            attempt=parent.attempt,
            scope=scope or {},
            data={"key": key} if only is None else {"key": key, "only": only},
        )
        self.later("enter", frame.id, [only or 0, raw])
        return frame

    def close(self, frame: Frame) -> None:
        """Remove a frame and all below it; attempts among them are cancelled."""
        doomed = [frame.id]
        children: dict[int, list[int]] = {}
        for item in self.state.frames.values():
            children.setdefault(item.parent, []).append(item.id)
        for number in doomed:
            doomed.extend(children.get(number, ()))
        for number in doomed:
            gone = self.state.frames.pop(number)
            if gone.running:
                self.ask("cancel", number, gone.data.get("child"))
        if self.state.agenda:
            dead = set(doomed)
            self.state.agenda = [item for item in self.state.agenda if item[1] not in dead]

    def close_below(self, frame: Frame) -> None:
        """Remove all that is below a frame, and keep the frame."""
        for item in [f for f in self.state.frames.values() if f.parent == frame.id]:
            self.close(item)

    def above(self, frame: Frame) -> Iterator[Frame]:
        """The frames that contain this one, from the inside out."""
        while frame.parent:
            frame = self.state.frames[frame.parent]
            yield frame

    def task(self, frame: Frame) -> dict[str, Any]:
        """The task of a frame as the flow has it."""
        task: dict[str, Any] = self.flow.at(frame.where)
        return task

    def options(self, frame: Frame) -> dict[str, Any]:
        """What the flow says to Qflow itself about a step: `metadata.qflow`."""
        return (self.task(frame).get("metadata") or {}).get("qflow") or {}

    def token(self, name: str) -> str:
        return model.pointer_token(name)

    # -- expressions -----------------------------------------------------------------------

    # Positional parameters only: the names in `extra` are the flow's, and may be any.

    def scope(self, frame: Frame, /, **extra: Any) -> Scope:
        return Scope(self.flow, self.state, frame, **extra)

    def resolve(self, template: Any, frame: Frame, /, **extra: Any) -> Any:
        return expressions.resolve(template, frame.input, self.scope(frame, **extra))

    def evaluate(self, text: str, frame: Frame, /, **extra: Any) -> Any:
        return expressions.evaluate(text, frame.input, self.scope(frame, **extra))

    def holds(self, text: str, value: Any, frame: Frame, /, **extra: Any) -> bool:
        return expressions.is_truthy(text, value, self.scope(frame, **extra))

    def after_ms(self, duration: Any, frame: Frame) -> int:
        """The length of a duration of the flow in milliseconds. It may be an expression."""
        seconds = duration_s(self.resolve(duration, frame))
        return round(max(0.0, min(seconds, DURATION_S_MAX)) * 1000)

    def set_timer(self, frame: Frame, purpose: str, after_ms: int) -> None:
        """Have `timer_fired` come back for this frame. It is forgotten with the frame."""
        at = self.state.now + after_ms
        frame.timers[purpose] = at
        self.ask("timer", frame.id, [purpose, at])


def instance_of(problem: dict[str, Any], frame: Frame) -> dict[str, Any]:
    """The problem with the place it came from, unless it names one."""
    return problem if "instance" in problem else {**problem, "instance": frame.where}


def expression_problem(error: Exception) -> dict[str, Any]:
    """What a flow can catch of an expression that failed."""
    return model.problem(model.ErrorKind.EXPRESSION, "Expression failed", str(error))


def unrecordable(what: str, why: str) -> dict[str, Any]:
    """What a flow can catch of a value that is too large, or no data."""
    return model.problem(model.ErrorKind.RUNTIME, f"{what} cannot be recorded", why)


class Fault(Exception):
    """Raised by a begin function to fail its step with a problem. Never leaves `decide`."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("title"))
        self.problem = problem


def child_id(state: State, frame: Frame) -> str:
    """The id of a subflow's execution: the same whenever this frame is decided again."""
    digest = model.idempotency_key(state.id, frame.path, frame.id)
    raw = (state.now & (1 << 48) - 1).to_bytes(6, "big") + bytes.fromhex(digest)[:10]
    return model.id_text(raw)
