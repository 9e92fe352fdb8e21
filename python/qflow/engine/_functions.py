"""Which Python functions a flow needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from qflow.engine._flow import Flow

_CALLS: Final = frozenset({"http", "openapi"})
_LISTS: Final = ("do", "try")


def functions_called(flow: Flow) -> set[str]:
    """The names that `call` tasks of a flow use and that the flow does not define itself."""
    own = (flow.document.get("use") or {}).get("functions") or {}
    tasks = [*own.values(), *(task for task in _tasks(flow.document["do"]))]
    called = {task["call"] for root in tasks for task in _with_below(root) if "call" in task}
    return called - _CALLS - set(own)


def _tasks(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield from item.values()


def _with_below(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield task
    below = [task[name] for name in _LISTS if name in task]
    below += [(task.get(name) or {}).get("do") or [] for name in ("catch", "foreach")]
    below.append((task.get("fork") or {}).get("branches") or [])
    for items in below:
        for inner in _tasks(items):
            yield from _with_below(inner)
