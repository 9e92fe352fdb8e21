"""The attempts under way: bounded in number, each in a cancel scope of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

from qflow import _core, model
from qflow.diagnostics import logger
from qflow.engine._ports import Runner
from qflow.errors import StepError

_log = logger(__name__)
Outcome = Callable[[str, int, Any, dict[str, Any] | None], None]
Make = Callable[[], model.Attempt | None]


class Attempts:
    """Runs attempts, at most `in_flight_max` at a time; the rest wait in order, without a task."""

    def __init__(self, runner: Runner, done: Outcome, in_flight_max: int) -> None:
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
        attempt: model.Attempt | None = None
        with scope:
            try:
                if (attempt := make()) is not None:
                    value = await self._runner.run(attempt)
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
            if not scope.cancelled_caught and (attempt is not None or problem is not None):
                self._done(*key, value, problem)
        else:
            self._fill()


def recorded(value: Any, bytes_max: int) -> Any:
    """An outcome as a replay will see it. Raises ValueError or TypeError."""
    data = _core.encode(value)
    if len(data) > bytes_max:
        raise ValueError(f"{len(data)} bytes; {bytes_max} are allowed")
    return _core.decode(data)
