"""Python functions that flows call by name."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import msgspec

from qflow.errors import ConfigError
from qflow.model import Attempt

_TAKEN: Final = frozenset({"document", "http", "openapi", "asyncapi", "grpc", "a2a", "mcp"})
ENTRY_POINTS: Final = "qflow.functions"
_ATTEMPT: Final = "attempt"
_Call = TypeVar("_Call", bound=Callable[..., Any])


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A callable and what must be known to call it."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    wants_attempt: bool
    parameters: frozenset[str]
    required: frozenset[str]
    takes_any: bool
    """It has `**kwargs`."""

    def misfit(self, arguments: Mapping[str, Any]) -> str | None:
        """Why the arguments do not fit the parameters; None when they do."""
        given = arguments.keys()
        if missing := sorted(self.required - given):
            return f"{self.name} also needs {', '.join(missing)}"
        if not self.takes_any and not given <= self.parameters:
            unknown = ", ".join(sorted(given - self.parameters))
            return f"{self.name} has no parameter {unknown}"
        if self.wants_attempt and _ATTEMPT in given:
            return f"{_ATTEMPT} is given by Qflow, not by the flow"
        return None

    def arguments(self, given: Mapping[str, Any], attempt: Attempt) -> Mapping[str, Any]:
        """What to call it with."""
        return {**given, _ATTEMPT: attempt} if self.wants_attempt else given


_declared: dict[str, Function] = {}


class Functions:
    """Names and what they call. Includes every function that `@function` declared."""

    def __init__(self) -> None:
        self._own: dict[str, Function] = {}

    def get(self, name: str) -> Function | None:
        """The function of that name."""
        return self._own.get(name) or _declared.get(name)

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return sorted({*self._own, *_declared})

    def register(self, name: str, call: Callable[..., Any]) -> None:
        """Make a callable known here. ConfigError when the name is taken by another."""
        _add(self._own, _describe(name, call))

    def load_entry_points(self) -> None:
        """Register what installed packages offer in the group `qflow.functions`.

        Raises ConfigError naming the one that cannot be loaded.
        """
        # Not needed by programs that register their functions themselves, and slow to import.
        from importlib.metadata import entry_points

        for point in entry_points(group=ENTRY_POINTS):
            try:
                call = point.load()
            except Exception as error:
                raise ConfigError(
                    f"the entry point {point.name} = {point.value} cannot be loaded: {error!r}"
                ) from error
            self.register(point.name, call)

    def load_file(self, path: str | os.PathLike[str]) -> None:
        """Run a Python file, which declares functions by `@function`. ConfigError if it fails.

        The code runs in this process with its rights: only for files as trusted as Qflow itself.
        """
        file = Path(path).resolve()
        name = f"qflow_functions_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ConfigError(f"the functions of {file} cannot be loaded: {error!r}") from error


@overload
def function(call: _Call, /) -> _Call: ...
@overload
def function(*, name: str | None = None) -> Callable[[_Call], _Call]: ...


def function(call: Any = None, /, *, name: str | None = None) -> Any:
    """Declare a function that flows call by `name`, or by its own name.

    Synchronous ones run in a worker thread, async ones on the event loop. A parameter named
    `attempt` gets the `qflow.model.Attempt`; its `key` is the same whenever that very attempt is
    made again. ConfigError when another function has the name.
    """
    if call is None:
        return partial(_declare, name=name)
    return _declare(call, name=name)


def _declare(call: _Call, *, name: str | None) -> _Call:
    _add(_declared, _describe(name or call.__name__, call))
    return call


def _add(known: dict[str, Function], made: Function) -> None:
    if made.name in _TAKEN:
        raise ConfigError(f"{made.name} is a kind of call of its own; give the function a name")
    before = known.get(made.name)
    if before is not None and _place(before.call) != _place(made.call):
        raise ConfigError(
            f"two functions are called {made.name}: {_place(before.call)}, {_place(made.call)}"
        )
    known[made.name] = made


def _place(call: Callable[..., Any]) -> str:
    named = inspect.unwrap(call)
    name = f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"
    code = getattr(named, "__code__", None)
    return name if code is None else f"{name} (line {code.co_firstlineno})"


def _describe(name: str, call: Callable[..., Any]) -> Function:
    if not callable(call):
        raise ConfigError(f"{name} is not callable: it is {type(call).__name__}")
    kinds = inspect.Parameter
    parameters = inspect.signature(call).parameters.values()
    if odd := [p.name for p in parameters if p.kind is kinds.POSITIONAL_ONLY]:
        raise ConfigError(f"{name} takes {odd[0]} by position only; flows pass names")
    named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    code = call if inspect.isroutine(call) or isinstance(call, partial) else type(call).__call__
    return Function(
        name=name,
        call=call,
        is_async=inspect.iscoroutinefunction(code),
        wants_attempt=any(p.name == _ATTEMPT for p in named),
        parameters=frozenset(p.name for p in named),
        required=frozenset(
            p.name for p in named if p.default is kinds.empty and p.name != _ATTEMPT
        ),
        takes_any=any(p.kind is kinds.VAR_KEYWORD for p in parameters),
    )
