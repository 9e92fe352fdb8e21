"""The decisions of an execution: state and event in, facts and commands out. Pure.

Nothing here reads a clock, a file, a socket or chance; the same chain of events gives the same
facts on every machine (claim E3). The state is changed in place: the caller hands it over, and
throws it away if this raises. Semantics: Open Workflow Specification 1.0.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from qflow import expressions, model
from qflow.engine import _recover, _shared, _tasks
from qflow.engine._ends import end, fault
from qflow.engine._flow import Flow
from qflow.engine._schema import check_schema
from qflow.engine._state import FINAL, ROOT, Decision, Event, Frame, State, Status
from qflow.engine._turn import Fault, Turn, expression_problem, instance_of
from qflow.errors import ExpressionError

TRANSITIONS_MAX: Final = 1000
"""Steps taken in one decision; what is left goes on in the next, so that a loop cannot block."""
WEIGHT_BYTES_MAX: Final = 1 << 20
"""Results recorded with one decision; behind them it goes on in the next, so that a commit stays
small enough for the log."""
FRAMES_NOTED_MAX: Final = 500
"""A record names no more frames than this; it has a bounded size."""


def decide(flow: Flow, state: State, event: Event) -> Decision:
    """Apply one event. No facts in the answer: the event changes nothing and is not recorded."""
    if state.status in FINAL:
        return Decision(facts=[], commands=[])
    before, state.now = state.now, event.at
    turn = Turn(flow, state)
    if _EVENTS[event.kind](turn, event):
        _settle(turn)
        _note_status(turn)
    else:
        # An event that is not recorded leaves no trace in the state either.
        state.now = before
    return Decision(facts=turn.facts, commands=turn.commands)


# -- events --------------------------------------------------------------------------------


def _created(turn: Turn, event: Event) -> bool:
    state, flow = turn.state, turn.flow
    state.started_at, state.input = event.at, event.value
    state.base = event.meta.get("base")
    turn.record("created", payload=event.value, meta=event.meta)
    root = turn.open(0, "list", "/do", "/do", data={"key": 0})
    value = event.value
    try:
        section = flow.document.get("input") or {}
        check_schema(section.get("schema"), value, "the flow's input")
        if "from" in section:
            value = expressions.transform(section["from"], value, turn.scope(root))
        if (timeout := flow.timeout(flow.document.get("timeout"))) is not None:
            state.timeout_at = event.at + turn.after_ms(timeout["after"], root)
            turn.ask("timer", 0, ["timeout", state.timeout_at])
    except (ExpressionError, Fault) as error:
        fault(turn, _problem_of(error))
        return True
    turn.later("enter", root.id, [0, value])
    return True


def _step_completed(turn: Turn, event: Event) -> bool:
    frame = turn.state.frames.get(event.frame)
    if frame is None or not frame.running:
        return False
    frame.running = False
    turn.record(
        "step_completed",
        frame,
        attempt=frame.attempt,
        payload=event.value,
        meta={"frame": frame.id},
    )
    turn.later("left", frame.id, event.value)
    return True


def _documents_read(turn: Turn, event: Event) -> bool:
    frame = turn.state.frames.get(event.frame)
    if frame is None or not frame.running or not _shared.is_reading(frame):
        return False
    frame.running = False
    turn.record("documents_read", frame, payload=event.value, meta={"frame": frame.id})
    _shared.take(frame, event.value)
    turn.later("begin", frame.id)
    return True


def _step_failed(turn: Turn, event: Event) -> bool:
    frame = turn.state.frames.get(event.frame)
    if frame is None or not frame.running:
        return False
    frame.running = False
    problem = instance_of(event.value, frame)
    turn.record(
        "step_failed",
        frame,
        attempt=frame.attempt,
        payload=problem,
        meta={"frame": frame.id},
    )
    _recover.unwind(turn, frame, problem)
    return True


def _timer_fired(turn: Turn, event: Event) -> bool:
    state, purpose = turn.state, event.value
    if state.paused:
        return False
    if event.frame == 0:
        if state.timeout_at is None or purpose != "timeout":
            return False
        turn.record("timer_fired", meta={"frame": 0, "purpose": purpose})
        fault(turn, model.problem(model.ErrorKind.TIMEOUT, "The flow ran out of time"))
        return True
    frame = state.frames.get(event.frame)
    due = frame.timers.get(purpose) if frame is not None else None
    if frame is None or due is None or due > state.now:
        return False
    del frame.timers[purpose]
    turn.record("timer_fired", frame, meta={"frame": frame.id, "purpose": purpose})
    if purpose == "timeout":
        _fail(turn, frame, model.problem(model.ErrorKind.TIMEOUT, "The step ran out of time"))
    elif purpose == "attempt":
        _recover.attempt_timed_out(turn, frame)
    elif purpose == "retry":
        _guarded(turn, frame, partial(_recover.again, turn, frame))
    else:
        turn.later("leave", frame.id, frame.input)
    return True


def _event_received(turn: Turn, event: Event) -> bool:
    takers = [
        frame
        for frame in turn.state.frames.values()
        if frame.kind == "listen" and _tasks.listen.wants(turn, frame, event.value)
    ]
    if not takers:
        return False
    noted = [frame.id for frame in takers[:FRAMES_NOTED_MAX]]
    turn.record("event_received", payload=event.value, meta={"frames": noted})
    for frame in takers:
        if frame.id in turn.state.frames:
            _guarded(turn, frame, partial(_tasks.listen.take, turn, frame, event.value))
    return True


def _paused(turn: Turn, event: Event) -> bool:
    if turn.state.paused:
        return False
    turn.state.paused = True
    turn.record("paused", meta=event.meta)
    return True


def _resumed(turn: Turn, event: Event) -> bool:
    if not turn.state.paused:
        return False
    turn.state.paused = False
    turn.record("resumed", meta=event.meta)
    running = [frame for frame in turn.state.frames.values() if frame.running]
    if any(_recover.is_guarded(turn, frame) for frame in running):
        turn.ask("checkpoint")
    turn.commands.extend(_recover.standing(turn.state))
    return True


def _aborted(turn: Turn, event: Event) -> bool:
    end(turn, Status.ABORTED)
    turn.state.problem = model.aborted(event.meta)
    turn.record("aborted", meta=event.meta)
    return True


def _recovered(turn: Turn, event: Event) -> bool:
    """The node that ran the attempts died: try them again, or report, as each step says.

    While paused nothing is tried; what is to be reported is, as a resume would not know of it.
    """
    state = turn.state
    running = [frame for frame in state.frames.values() if frame.running]
    lost = [
        frame
        for frame in running
        if turn.options(frame).get("interrupted") == "report" and not _shared.is_reading(frame)
    ]
    if not (lost if state.paused else running or state.agenda):
        return False
    noted = [frame.id for frame in running[:FRAMES_NOTED_MAX]]
    turn.record("recovered", meta={**event.meta, "frames": noted})
    for frame in lost if state.paused else running:
        if frame.id not in state.frames:
            continue
        if frame not in lost:
            if _recover.is_guarded(turn, frame):
                turn.ask("checkpoint")
            turn.commands.append(_recover.asked(state, frame))
        else:
            frame.running = False
            detail = "the node stopped while the attempt ran; its outcome is not known"
            _fail(turn, frame, model.problem(model.ErrorKind.RUNTIME, "Interrupted", detail))
    return True


def _continued(turn: Turn, event: Event) -> bool:
    if not turn.state.agenda or turn.state.paused:
        return False
    turn.record("continued")
    return True


_EVENTS: Final[dict[str, Callable[[Turn, Event], bool]]] = {
    "created": _created,
    "documents_read": _documents_read,
    "step_completed": _step_completed,
    "step_failed": _step_failed,
    "timer_fired": _timer_fired,
    "event_received": _event_received,
    "paused": _paused,
    "resumed": _resumed,
    "aborted": _aborted,
    "recovered": _recovered,
    "continued": _continued,
}
INPUTS: Final = frozenset(_EVENTS)
"""The facts that are events: replay feeds these to `decide`, and compares the rest."""


_ENTRIES: Final = frozenset({"begin", "enter", "function"})
"""Operations that begin a step: they stay on the agenda while the execution is paused."""


# -- the agenda ----------------------------------------------------------------------------


def _settle(turn: Turn) -> None:
    """Do what needs no waiting. While paused, no step is entered: those entries stay."""
    state, held = turn.state, []
    for _ in range(TRANSITIONS_MAX):
        if not state.agenda or state.status in FINAL or turn.weight_bytes > WEIGHT_BYTES_MAX:
            break
        operation, number, value = state.agenda.pop(0)
        if state.paused and operation in _ENTRIES:
            held.append((operation, number, value))
            continue
        frame = state.frames.get(number)
        if frame is not None:
            step = _OPERATIONS[operation]
            _guarded(turn, frame, partial(step, turn, frame, value))
    if state.status in FINAL:
        state.agenda = []
        return
    state.agenda = held + state.agenda
    if state.agenda and not state.paused:
        turn.ask("go_on")


def _guarded(turn: Turn, frame: Frame, step: Callable[[], None]) -> None:
    """Run a part of a step; what an expression or a schema refuses fails the step."""
    try:
        step()
    except (ExpressionError, Fault) as error:
        if frame.id in turn.state.frames:
            _fail(turn, frame, _problem_of(error))


def _problem_of(error: ExpressionError | Fault) -> dict[str, Any]:
    return error.problem if isinstance(error, Fault) else expression_problem(error)


def _enter(turn: Turn, frame: Frame, value: Any) -> None:
    """Enter the task at an index of a list, or end the list behind its last one."""
    index, raw = value
    items = turn.flow.at(frame.where)
    if index >= len(items):
        _list_done(turn, frame, raw)
        return
    ((name, task),) = items[index].items()
    step = model.pointer_token(name)
    enter_task(turn, frame, name, task, f"/{index}/{step}", raw)


def enter_task(
    turn: Turn, parent: Frame, name: str, task: dict[str, Any], suffix: str, raw: Any
) -> None:
    """Begin one task below `parent` with its raw input."""
    where = suffix if suffix.startswith("/use/") else parent.where + suffix
    visit = parent.data.get("round", 0)
    frame = turn.open(
        parent.id,
        _tasks.kind_of(task),
        parent.path + suffix + (f"#{visit}" if visit else ""),
        where,
        name=name,
        raw=raw,
        input=raw,
        attempt=parent.attempt,
    )
    _guarded(turn, frame, partial(_read_or_begin, turn, frame, task))


def _read_or_begin(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    if not _shared.reads(turn, frame):
        _begin(turn, frame, task)


def _begin(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    if "if" in task and not turn.holds(task["if"], frame.raw, frame):
        turn.record("step_skipped", frame)
        _go_on(turn, frame, frame.raw, "continue")
        return
    section = task.get("input") or {}
    check_schema(section.get("schema"), frame.raw, "the step's input")
    if "from" in section:
        frame.input = expressions.transform(section["from"], frame.raw, turn.scope(frame))
    if (timeout := turn.flow.timeout(task.get("timeout"))) is not None:
        turn.set_timer(frame, "timeout", turn.after_ms(timeout["after"], frame))
    if turn.options(frame).get("checkpoint"):
        turn.ask("checkpoint")
    _tasks.BEGIN[frame.kind](turn, frame, task)


def _leave(turn: Turn, frame: Frame, raw: Any) -> None:
    """A step that made its output itself is done: record it."""
    _finish(turn, frame, raw, recorded=False)


def _left(turn: Turn, frame: Frame, raw: Any) -> None:
    """A step whose attempt succeeded is done: its raw output is in the chain already."""
    _finish(turn, frame, raw, recorded=True)


def _finish(turn: Turn, frame: Frame, raw: Any, *, recorded: bool) -> None:
    task = turn.task(frame)
    output = raw
    section = task.get("output") or {}
    if "as" in section:
        output = expressions.transform(section["as"], raw, turn.scope(frame, output=raw))
    check_schema(section.get("schema"), output, "the step's output")
    export = task.get("export") or {}
    if "as" in export:
        scope = turn.scope(frame, output=output)
        context = expressions.transform(export["as"], output, scope)
        check_schema(export.get("schema"), context, "the context")
        turn.state.context = context
    if not recorded:
        kept = {}
        if frame.kind in _tasks.LEAVES:
            turn.weigh(output, "The result")
            kept = {"payload": output}
        turn.record("step_completed", frame, **kept)
    directive = frame.data.get("then") or task.get("then") or "continue"
    _go_on(turn, frame, output, directive)


def _go_on(turn: Turn, frame: Frame, output: Any, directive: str) -> None:
    """Follow the flow directive of a step that is over."""
    parent = turn.state.frames[frame.parent]
    turn.close(frame)
    if parent.kind != "list":
        turn.later("leave", parent.id, output)
    elif directive == "end":
        _complete(turn, output)
    elif directive == "exit" or "only" in parent.data:
        _list_done(turn, parent, output)
    elif directive == "continue":
        turn.later("enter", parent.id, [_index(frame) + 1, output])
    else:
        items = turn.flow.at(parent.where)
        index = next(i for i, item in enumerate(items) if directive in item)
        if index <= _index(frame):
            # Steps that run again are other steps in the record, with keys of their own.
            parent.data["round"] = parent.data.get("round", 0) + 1
        turn.later("enter", parent.id, [index, output])


def _index(frame: Frame) -> int:
    """The place of a step in its list."""
    return int(frame.where.rsplit("/", 2)[1])


def _list_done(turn: Turn, frame: Frame, output: Any) -> None:
    if frame.id == ROOT:
        _complete(turn, output)
        return
    parent = turn.state.frames[frame.parent]
    turn.close(frame)
    _guarded(turn, parent, lambda: _tasks.list_done(turn, parent, frame, output))


_OPERATIONS: Final[dict[str, Callable[[Turn, Frame, Any], None]]] = {
    "begin": lambda turn, frame, _: _begin(turn, frame, turn.task(frame)),
    "enter": _enter,
    "leave": _leave,
    "left": _left,
    "function": lambda turn, frame, value: enter_task(turn, frame, *value),
}


# -- ends ----------------------------------------------------------------------------------


def _fail(turn: Turn, frame: Frame, problem: dict[str, Any]) -> None:
    """A step failed here, in the decision itself."""
    problem = instance_of(problem, frame)
    turn.record("step_failed", frame, payload=problem)
    _recover.unwind(turn, frame, problem)


def _complete(turn: Turn, output: Any) -> None:
    state, section = turn.state, turn.flow.document.get("output") or {}
    try:
        if "as" in section:
            root = state.frames[ROOT]
            output = expressions.transform(section["as"], output, turn.scope(root, output=output))
        check_schema(section.get("schema"), output, "the flow's output")
        turn.weigh(output, "The output")
    except (ExpressionError, Fault) as error:
        fault(turn, _problem_of(error))
        return
    end(turn, Status.COMPLETED)
    state.output = output
    turn.record("completed", payload=output)


def _note_status(turn: Turn) -> None:
    """Record when nothing is left to do but wait, with what would wake the execution."""
    state = turn.state
    if state.status in FINAL:
        return
    busy = any(frame.running for frame in state.frames.values())
    if state.paused:
        state.status = Status.PAUSED
    elif busy or state.agenda:
        state.status = Status.RUNNING
    else:
        state.status = Status.WAITING
        turn.record("suspended", meta=_recover.waiting_for(state))
