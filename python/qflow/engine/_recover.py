"""try, catch, retry; and what has to be asked again after a pause or a restart. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from qflow import model
from qflow.engine._ends import fault
from qflow.engine._shared import is_reading
from qflow.engine._state import Command, Frame, State
from qflow.engine._turn import Turn, expression_problem, instance_of
from qflow.errors import ExpressionError

TRY: Final = 0
CATCH: Final = 1
_TYPES_MAX: Final = 20
"""An execution that waits for more types of events than this is offered every event."""
_TYPES_CHARS_MAX: Final = 2000
"""The same for longer ones; they stand in a record."""
_DELAY_MS_MAX: Final = 366 * 86_400_000
"""Backoff grows up to a year and no further."""


def begin_try(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    frame.data |= {"tries": 1, "highest": frame.attempt}
    _open_try(turn, frame)


def try_done(turn: Turn, frame: Frame, done: Frame, output: Any) -> None:
    frame.timers.pop("attempt", None)
    turn.later("leave", frame.id, output)


def again(turn: Turn, frame: Frame) -> None:
    """The delay before a retry is over. Attempt numbers never repeat within a step's path."""
    frame.attempt = frame.data["highest"] + 1
    frame.data["highest"] = frame.attempt
    for above in turn.above(frame):
        if above.kind == "try":
            above.data["highest"] = max(above.data["highest"], frame.attempt)
    _open_try(turn, frame)


def attempt_timed_out(turn: Turn, frame: Frame) -> None:
    """One try as a whole took longer than the retry policy allows for an attempt."""
    below = next(
        (f for f in turn.state.frames.values() if f.parent == frame.id and f.kind == "list"), None
    )
    if below is None:
        return
    problem = model.problem(model.ErrorKind.TIMEOUT, "The attempt ran out of time")
    problem = instance_of(problem, frame)
    turn.record("step_failed", frame, payload=problem)
    unwind(turn, below, problem)


def unwind(turn: Turn, frame: Frame, problem: dict[str, Any]) -> None:
    """Hand a problem to the nearest try around `frame` that catches it, or fault the execution."""
    below = frame
    for above in list(turn.above(frame)):
        if above.kind == "try" and below.data.get("key") == TRY and below.kind == "list":
            try:
                if _catches(turn, above, problem) and _handle(turn, above, below, problem):
                    return
            except ExpressionError as error:
                problem = instance_of(expression_problem(error), above)
        below = above
    fault(turn, problem)


# -- catch and retry -----------------------------------------------------------------------


def _open_try(turn: Turn, frame: Frame) -> None:
    turn.open_list(frame, "/try", frame.input, key=TRY)
    policy = _policy(turn, frame)
    limit = ((policy or {}).get("limit") or {}).get("attempt") or {}
    if "duration" in limit:
        turn.set_timer(frame, "attempt", turn.after_ms(limit["duration"], frame))


def _policy(turn: Turn, frame: Frame) -> dict[str, Any] | None:
    return turn.flow.retry(turn.task(frame)["catch"].get("retry"))


def _catches(turn: Turn, frame: Frame, problem: dict[str, Any]) -> bool:
    catch = turn.task(frame)["catch"]
    wanted = turn.resolve((catch.get("errors") or {}).get("with") or {}, frame)
    for name, value in wanted.items():
        found = problem.get("detail" if name == "details" else name)
        if name == "type" and isinstance(value, str) and isinstance(found, str):
            value, found = model.canonical_error_type(value), model.canonical_error_type(found)
        if found != value:
            return False
    return _allowed(turn, frame, catch, problem)


def _allowed(turn: Turn, frame: Frame, rule: dict[str, Any], problem: dict[str, Any]) -> bool:
    extra = _named(turn, frame, problem)
    if "when" in rule and not turn.holds(rule["when"], frame.input, frame, **extra):
        return False
    return "exceptWhen" not in rule or not turn.holds(
        rule["exceptWhen"], frame.input, frame, **extra
    )


def _named(turn: Turn, frame: Frame, problem: dict[str, Any]) -> dict[str, Any]:
    return {turn.task(frame)["catch"].get("as", "error"): problem}


def _handle(turn: Turn, frame: Frame, below: Frame, problem: dict[str, Any]) -> bool:
    """Retry, or run `catch.do`. False: retries are used up and nothing else is to be done."""
    catch, policy = turn.task(frame)["catch"], _policy(turn, frame)
    delay = None if policy is None else _retry_delay_ms(turn, frame, policy, problem)
    if delay is None and policy is not None and "do" not in catch:
        return False
    scope = _named(turn, frame, problem)
    turn.close(below)
    frame.timers.pop("attempt", None)
    if delay is not None:
        frame.data["tries"] += 1
        turn.set_timer(frame, "retry", delay)
    elif "do" in catch:
        turn.open_list(frame, "/catch/do", frame.input, scope=scope, key=CATCH)
    else:
        turn.later("leave", frame.id, frame.input)
    return True


def _retry_delay_ms(
    turn: Turn, frame: Frame, policy: dict[str, Any], problem: dict[str, Any]
) -> int | None:
    """How long to wait before the next try; None when there is none.

    Backoff: constant d, linear d * n, exponential d * 2^(n-1) behind the nth try. The jitter is
    drawn from a hash of execution, step and try: spread out, and the same in every replay.
    """
    tries, limit = frame.data["tries"], policy.get("limit") or {}
    count = (limit.get("attempt") or {}).get("count")
    if count is not None and tries >= count:
        return None
    if not _allowed(turn, frame, policy, problem):
        return None
    delay = turn.after_ms(policy["delay"], frame) if "delay" in policy else 0
    backoff = policy.get("backoff") or {}
    if "linear" in backoff:
        delay *= tries
    elif "exponential" in backoff:
        delay *= 1 << min(tries - 1, 40)
    if "jitter" in policy:
        low = turn.after_ms(policy["jitter"]["from"], frame)
        high = max(low, turn.after_ms(policy["jitter"]["to"], frame))
        delay += low + _draw(turn.state, frame, tries) % (high - low + 1)
    delay = min(delay, _DELAY_MS_MAX)
    if "duration" in limit:
        spent = turn.state.now - frame.entered_at
        if spent + delay > turn.after_ms(limit["duration"], frame):
            return None
    return delay


def _draw(state: State, frame: Frame, tries: int) -> int:
    text = f"{state.id}\0{frame.path}\0{tries}\0jitter".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


# -- what stands ---------------------------------------------------------------------------


def asked(state: State, frame: Frame) -> Command:
    """The command that a running step stands for. The shell ignores it while one is under way."""
    if is_reading(frame):
        return Command(kind="read", frame=frame.id)
    if frame.kind == "emit":
        return Command(kind="emit", frame=frame.id, value=frame.data["event"])
    if frame.kind == "subflow":
        return Command(kind="subflow", frame=frame.id, value=frame.data["child"])
    return Command(kind="attempt", frame=frame.id)


def is_guarded(turn: Turn, frame: Frame) -> bool:
    """Whether the flow asks for a checkpoint before a step, or before one that it is part of.

    What is asked again after a pause or a crash has to find that checkpoint kept: the node may have
    died between its record and its store.
    """
    above = (at for at in (frame, *turn.above(frame)) if at.kind != "list")
    return any(turn.options(at).get("checkpoint") for at in above)


def standing(state: State) -> list[Command]:
    """Everything that the world has to be asked for an execution that goes on."""
    commands = timers(state)
    commands.extend(asked(state, frame) for frame in state.frames.values() if frame.running)
    return commands


def timers(state: State) -> list[Command]:
    """The timers of an execution, as commands."""
    commands = [
        Command(kind="timer", frame=frame.id, value=[purpose, at])
        for frame in state.frames.values()
        for purpose, at in frame.timers.items()
    ]
    if state.timeout_at is not None:
        commands.append(Command(kind="timer", value=["timeout", state.timeout_at]))
    return commands


def waiting_for(state: State) -> dict[str, Any]:
    """What would wake the execution: the earliest timer, and the types of events."""
    due = [at for command in timers(state) for at in (command.value[1],)]
    types: dict[str, None] = {}
    for frame in state.frames.values():
        types.update(dict.fromkeys(frame.data.get("types", ())))
    meta: dict[str, Any] = {}
    if due:
        meta["wake_at"] = min(due)
    if types:
        many = len(types) > _TYPES_MAX or sum(map(len, types)) > _TYPES_CHARS_MAX
        meta["listen"] = ["*"] if many else list(types)
    return meta
