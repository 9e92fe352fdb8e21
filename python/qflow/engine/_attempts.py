"""The attempts under way: bounded in number, each in a cancel scope of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup

from qflow import _core, model
from qflow.diagnostics import logger
from qflow.engine import _shared
from qflow.engine._live import Live
from qflow.engine._ports import Documents, Runner
from qflow.engine._scope import Scope
from qflow.engine._state import Frame
from qflow.engine._turn import RESULT_BYTES_MAX, unrecordable
from qflow.errors import StepError

PROBLEM_BYTES_MAX: Final = 64 << 10
"""A larger problem of an attempt is replaced by one that says so."""
_log = logger(__name__)
Outcome = Callable[[str, int, Any, dict[str, Any] | None], None]
Reading = Mapping[str, Mapping[str, Any]]
"""What a step waits for, as `_shared.wanted` says it."""
Made = model.Attempt | Reading
Make = Callable[[], Made | None]


class Work(Protocol):
    """Makes attempts, and reads what is read before them."""

    async def run(self, made: Made, /) -> Any:
        """What it comes to. Raises StepError."""
        ...


class Worker:
    """Lets the runner make attempts, and has documents read. Without `documents` nothing is."""

    def __init__(self, runner: Runner, documents: Documents | None) -> None:
        self._runner, self._documents = runner, documents

    async def run(self, made: Made) -> Any:
        if isinstance(made, model.Attempt):
            return await self._runner.run(made)
        if self._documents is None:
            kind = model.ErrorKind.CONFIGURATION
            raise StepError(model.problem(kind, "There are no documents here"))
        return {
            local: await self._documents.read(wanted["document"], wanted["parts"])
            for local, wanted in made.items()
        }


class Attempts:
    """Runs attempts, at most `in_flight_max` at a time; the rest wait in order, without a task."""

    def __init__(self, runner: Work, done: Outcome, in_flight_max: int) -> None:
        self._runner, self._done, self._max = runner, done, in_flight_max
        self._waiting: deque[tuple[str, int]] = deque()
        self._made: dict[tuple[str, int], Make] = {}
        self._scopes: dict[tuple[str, int], anyio.CancelScope] = {}
        self._group: TaskGroup | None = None

    def open(self, group: TaskGroup) -> None:
        """Begin to run what was asked for."""
        self._group = group
        self._fill()

    def ask(self, execution: str, frame: int, make: Make) -> None:
        """Run an attempt, unless this very one is asked for or under way already.

        It is made when its turn comes. None: nobody wants it any more.
        """
        key = (execution, frame)
        if key in self._made or key in self._scopes:
            return
        self._made[key] = make
        self._waiting.append(key)
        self._fill()

    def cancel(self, execution: str, frame: int) -> None:
        """Stop an attempt; its outcome is not told."""
        key = (execution, frame)
        self._made.pop(key, None)
        if (scope := self._scopes.pop(key, None)) is not None:
            scope.cancel()

    def _fill(self) -> None:
        while self._group is not None and self._waiting and len(self._scopes) < self._max:
            key = self._waiting.popleft()
            make = self._made.pop(key, None)
            if make is not None:
                scope = self._scopes[key] = anyio.CancelScope()
                self._group.start_soon(self._run, key, make, scope)

    async def _run(self, key: tuple[str, int], make: Make, scope: anyio.CancelScope) -> None:
        value: Any = None
        problem: dict[str, Any] | None = None
        made: Made | None = None
        with scope:
            try:
                if (made := make()) is not None:
                    value = await self._runner.run(made)
            except StepError as error:
                problem = error.problem
            except Exception as error:  # noqa: BLE001 - one attempt must not stop the node
                _log.exception("attempt failed unexpectedly", execution=key[0])
                problem = model.problem(
                    model.ErrorKind.RUNTIME, "The attempt failed", type(error).__name__
                )
        if self._scopes.get(key) is scope:
            del self._scopes[key]
            self._fill()
            if not scope.cancelled_caught and (made is not None or problem is not None):
                self._done(*key, value, problem)
        else:
            self._fill()


def made_of(live: Live, frame: Frame) -> Made:
    """What a running step waits for: an attempt of it, or what is read before it."""
    if _shared.is_reading(frame):
        return _shared.wanted(frame)
    return model.Attempt(
        execution=live.id,
        step=frame.path,
        number=frame.attempt,
        key=model.idempotency_key(live.id, frame.path, frame.attempt),
        task=live.flow.at(frame.where),
        input=frame.input,
        variables=Scope(live.flow, live.state, frame).frozen(),
        use=live.flow.document.get("use") or {},
        base=live.state.base,
        document=frame.data.get("document"),
    )


def end_of(frame: Frame | None, value: Any, problem: dict[str, Any] | None) -> tuple[str, Any]:
    """The event that an end is, and its value. What cannot be recorded fails the step."""
    reading = frame is not None and _shared.is_reading(frame)
    kind, what = "step_completed", "The result"
    if reading:
        kind, what = "documents_read", "What was read"
    try:
        if problem is None:
            return kind, recorded(value, RESULT_BYTES_MAX)
        what = "The problem"
        return "step_failed", recorded(problem, PROBLEM_BYTES_MAX)
    except (ValueError, TypeError) as error:
        return "step_failed", unrecordable(what, str(error))


def recorded(value: Any, bytes_max: int) -> Any:
    """An outcome as a replay will see it. Raises ValueError or TypeError."""
    data = _core.encode(value)
    if len(data) > bytes_max:
        raise ValueError(f"{len(data)} bytes; {bytes_max} are allowed")
    return _core.decode(data)
