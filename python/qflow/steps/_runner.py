"""`Runner`: makes one attempt and says how it went."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from anyio import (
    CapacityLimiter,
    current_effective_deadline,
    get_cancelled_exc_class,
    to_thread,
)

from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.errors import ExpressionError, StepError
from qflow.model import Attempt, ErrorKind, problem
from qflow.steps._functions import Function, Functions
from qflow.steps._limits import Limits
from qflow.steps._plain import plain
from qflow.steps._scope import Scope, failed, open_scope
from qflow.steps._write import CALL, Writer, write
from qflow.trust import Secrets

if TYPE_CHECKING:
    from qflow.steps._http import Caller

_CALLS: Final = frozenset({"http", "openapi"})
_KNOWN: Final = _CALLS | {CALL}
_UNSUPPORTED: Final = frozenset({"asyncapi", "grpc", "a2a", "mcp"})
_LOGGERS: Final = (
    "httpx2",
    *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)
"""What the HTTP library logs holds URLs and headers."""

_log = logger("qflow.steps")


class Runner:
    """Makes attempts; an async context manager that owns connections and worker threads.

    `routes` sends calls for a host (`name` or `name:port`) to another base URL; what the flow sees
    stays as it was. `proxy` is the URL of an HTTP proxy; those of the environment are ignored.
    Without `documents` every `call: document` fails.
    """

    def __init__(
        self,
        *,
        functions: Functions,
        secrets: Secrets,
        clock: Clock,
        limits: Limits | None = None,
        routes: Mapping[str, str] | None = None,
        proxy: str | None = None,
        documents: Writer | None = None,
    ) -> None:
        self._documents = documents
        self._functions, self._secrets, self._clock = functions, secrets, clock
        self._limits = limits or Limits()
        self._routes, self._proxy = dict(routes or {}), proxy
        self._caller: Caller | None = None
        self._held = ExitStack()
        self._threads: CapacityLimiter | None = None

    async def __aenter__(self) -> Self:
        self._held.enter_context(self._secrets.guard(*_LOGGERS))
        self._threads = CapacityLimiter(self._limits.threads_max)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        caller, self._caller, self._threads = self._caller, None, None
        self._held.close()
        if caller is not None:
            await caller.close()

    def can(self, task: Mapping[str, Any]) -> bool:
        """Whether this runner makes attempts of that task now."""
        if "call" in task:
            return task["call"] in _KNOWN or not self.unknown_function(task["call"])
        return "script" in (task.get("run") or {})

    def unknown_function(self, name: str) -> bool:
        """Whether `call: name` would find nothing here."""
        return name not in _KNOWN and self._functions.get(name) is None

    async def run(self, attempt: Attempt) -> Any:
        """Make one attempt and return its output, a fresh JSON-like value.

        Raises StepError, with a problem that shows no secret, for everything that goes wrong.
        Cancelling it is safe: connections are closed and scripts killed, with all their processes;
        a synchronous function goes on in its thread, unheard. An attempt may have had effects
        when it fails or is cancelled; `attempt.key` lets the other side recognise a repetition.
        """
        try:
            return await self._dispatch(attempt)
        except StepError as error:
            raise StepError(self._secrets.redact(error.problem)) from None
        except ExpressionError as error:
            detail = self._secrets.redact(str(error))
            raise StepError(problem(ErrorKind.EXPRESSION, "An expression failed", detail)) from None
        except Exception as error:  # noqa: BLE001  whatever broke, the flow may catch it
            self._report("steps.attempt_broke", attempt, error)
            title = "The attempt failed inside Qflow"
            raise StepError(
                problem(ErrorKind.RUNTIME, title, f"{type(error).__name__}; see the node's log")
            ) from None

    def _dispatch(self, attempt: Attempt) -> Awaitable[Any]:
        call = attempt.task.get("call")
        if call is None:
            return self._run_process(attempt)
        if call in _CALLS:
            return self._call_remote(attempt)
        if call == CALL:
            return self._write(attempt)
        found = self._functions.get(call)
        if found is not None:
            return self._call_function(found, attempt)
        if call in _UNSUPPORTED:
            raise failed(ErrorKind.CONFIGURATION, f"call: {call} is not supported")
        raise failed(ErrorKind.CONFIGURATION, "The function is not known", f"call: {call}")

    # -- functions

    async def _call_function(self, found: Function, attempt: Attempt) -> Any:
        given = attempt.task.get("with")
        if given:
            scope = await open_scope(attempt, self._secrets)
            given = scope.resolve(given)
        if misfit := found.misfit(given or {}):
            raise failed(ErrorKind.VALIDATION, "The arguments do not fit the function", misfit)
        arguments = found.arguments(given or {}, attempt)
        try:
            if found.is_async:
                output = await found.call(**arguments)
            else:
                output = await self._in_thread(partial(found.call, **arguments))
        except StepError as error:
            raise _whole(found, error) from None
        except BaseException as error:
            if _is_cancellation_of_us(error):
                raise
            self._fail_function(found, attempt, error)
        try:
            return plain(output)
        except ValueError as error:
            raise failed(
                ErrorKind.RUNTIME, f"{found.name} returned what is not data", str(error)
            ) from None

    def _in_thread(self, call: Callable[[], Any]) -> Awaitable[Any]:
        return to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)

    def _fail_function(self, found: Function, attempt: Attempt, error: BaseException) -> NoReturn:
        """Outsiders learn the exception's name and message; the log alone has the traceback."""
        self._report("steps.function_failed", attempt, error, function=found.name)
        message = self._secrets.redact(str(error))[: self._limits.excerpt_chars_max]
        detail = f"{type(error).__name__}: {message}" if message else type(error).__name__
        raise failed(ErrorKind.RUNTIME, f"{found.name} failed", detail)

    # -- the rest of the world

    async def _write(self, attempt: Attempt) -> Any:
        return await write(attempt, await open_scope(attempt, self._secrets), self._documents)

    async def _call_remote(self, attempt: Attempt) -> Any:
        scope = await open_scope(attempt, self._secrets)
        try:
            caller = await self._open_caller()
            return await caller.call(scope)
        except (StepError, ExpressionError) as error:
            raise self._hide(scope, error) from None

    async def _run_process(self, attempt: Attempt) -> Any:
        from qflow.steps import _script

        scope = await open_scope(attempt, self._secrets)
        try:
            fetch = partial(self._fetch_script, scope)
            return await _script.run_script(scope, self._limits, self._secrets.redact, fetch)
        except (StepError, ExpressionError) as error:
            raise self._hide(scope, error) from None

    async def _fetch_script(self, scope: Scope, endpoint: Any) -> bytes:
        caller = await self._open_caller()
        return await caller.fetch(scope, endpoint, self._limits.script_bytes_max)

    def _hide(self, scope: Scope, error: StepError | ExpressionError) -> StepError:
        """The problem without what this attempt alone knew to be sensitive."""
        if isinstance(error, ExpressionError):
            shown = problem(ErrorKind.EXPRESSION, "An expression failed", str(error))
        else:
            shown = error.problem
        return StepError(self._secrets.redact(shown, scope.sensitive))

    async def _open_caller(self) -> Caller:
        """The HTTP client, made with the first call: importing and opening it takes 0.1 s."""
        if self._caller is None:
            made = await to_thread.run_sync(self._make_caller)
            if self._caller is None:
                self._caller = made
        return self._caller

    def _make_caller(self) -> Caller:
        from qflow.steps import _http

        return _http.Caller(
            limits=self._limits,
            clock=self._clock,
            redact=self._secrets.redact,
            routes=self._routes,
            proxy=self._proxy,
        )

    def _report(self, event: str, attempt: Attempt, error: BaseException, **more: str) -> None:
        text = "".join(traceback.format_exception(error))
        _log.error(
            event,
            **self._secrets.redact({"exception": text, **more}),
            execution=attempt.execution,
            step=attempt.step,
            attempt=attempt.number,
        )


def _whole(found: Function, error: StepError) -> StepError:
    """The problem that a function raised on purpose, if a flow can hold it."""
    standard = problem(ErrorKind.RUNTIME, f"{found.name} failed")
    try:
        return StepError({**standard, **plain(error.problem)})
    except ValueError as reason:
        return StepError({**standard, "detail": f"its problem is not data: {reason}"})


def _is_cancellation_of_us(error: BaseException) -> bool:
    """Whether the attempt is being cancelled. A function may raise the same exception by itself
    (it awaited a task that something else cancelled): then it failed, and nobody else stops."""
    if isinstance(error, GeneratorExit):
        return True
    return isinstance(error, get_cancelled_exc_class()) and (
        current_effective_deadline() == -math.inf
    )
