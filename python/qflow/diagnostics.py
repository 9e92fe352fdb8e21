"""Lines for whoever runs the node: warnings and errors, through structlog; and asking them.

structlog brings rich, and takes longer to import than the rest of Qflow. Most processes have
nothing to say, so it is imported with the first line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_set_up: list[Callable[[], None]] = []
"""What is still to be done before the first line; at most one."""


class _Logger:
    """A structlog logger in waiting: `logger(__name__).warning("index is behind", why="...")`."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        load()
        import structlog

        return getattr(structlog.get_logger(self._name), method)


def logger(name: str) -> _Logger:
    """A logger with the methods of structlog's; cheap to make."""
    return _Logger(name)


def prepare(set_up: Callable[[], None] | None) -> None:
    """Have structlog configured by `set_up` before the first line; None takes that back."""
    _set_up[:] = [] if set_up is None else [set_up]
    if "structlog" in sys.modules:
        load()


def load() -> None:
    """Import structlog and configure it, for code of other people that may use it directly."""
    import structlog  # noqa: F401 - the import is what is wanted

    while _set_up:
        _set_up.pop()()


_prompts: list[Callable[[str], str | None]] = []
"""How to ask whoever runs this process; at most one."""


def ask_with(prompt: Callable[[str], str | None] | None) -> None:
    """Have people asked by `prompt`, which gives None when there is nobody; None takes that
    back. In a service nobody is asked."""
    _prompts[:] = [] if prompt is None else [prompt]


def ask(question: str) -> str | None:
    """A secret that whoever runs this process types, unseen; None when nobody can be asked."""
    return _prompts[0](question) if _prompts else None
