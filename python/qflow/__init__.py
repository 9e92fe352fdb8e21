"""Qflow: automation flows that survive, with a history that an outsider can verify.

    async with Node(Config()) as node:
        output = await node.run("flow.yaml", {"name": "world"})

The names below are loaded when they are first used: `import qflow` alone costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qflow._core import __version__
    from qflow.config import Config
    from qflow.engine import Flow, load_flow
    from qflow.errors import QflowError
    from qflow.events import CloudEvent
    from qflow.model import Attempt, Execution
    from qflow.node import Node
    from qflow.steps import Functions, function

__all__ = [
    "Attempt",
    "CloudEvent",
    "Config",
    "Execution",
    "Flow",
    "Functions",
    "Node",
    "QflowError",
    "__version__",
    "function",
    "load_flow",
]

_HOMES: Final = {
    "Attempt": "qflow.model",
    "CloudEvent": "qflow.events",
    "Config": "qflow.config",
    "Execution": "qflow.model",
    "Flow": "qflow.engine",
    "Functions": "qflow.steps",
    "Node": "qflow.node",
    "QflowError": "qflow.errors",
    "__version__": "qflow._core",
    "function": "qflow.steps",
    "load_flow": "qflow.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
