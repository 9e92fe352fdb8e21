"""Every task of a document, with what is around it. Takes documents that are not valid yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from qflow.model import pointer_token

KINDS: Final = (
    "call",
    "run",
    "set",
    "switch",
    "for",
    "fork",
    "try",
    "raise",
    "wait",
    "emit",
    "listen",
    "do",
)
"""The kinds of tasks by the field that makes them. `for` has a `do` too, so the order matters."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A task where it stands."""

    pointer: str
    name: str
    task: dict[str, Any]
    kind: str | None
    """None: no field of the task says what it does."""
    role: str
    """`step` of a list; `branch` of a fork; `function` in `use.functions`."""
    siblings: tuple[str, ...]
    """The names in the task's list, itself included."""
    scope: tuple[str, ...]
    """The variables that tasks around it add, from the inside out."""


def part(value: Any, *names: str) -> Any:
    """A member of a member; None where there is none, whatever stands there instead."""
    for name in names:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def tasks(document: Mapping[str, Any]) -> Iterator[Place]:
    """The tasks of a document, in its order: its own list first, then its functions."""
    yield from _list("/do", document.get("do"), "step", ())
    functions = part(document, "use", "functions")
    if isinstance(functions, Mapping):
        for name, task in functions.items():
            if isinstance(task, dict):
                pointer = f"/use/functions/{pointer_token(name)}"
                yield from _task(pointer, name, task, "function", (name,), ())


def _list(pointer: str, items: Any, role: str, scope: tuple[str, ...]) -> Iterator[Place]:
    if not isinstance(items, list):
        return
    names = tuple(name for item in items if isinstance(item, Mapping) for name in item)
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            continue
        for name, task in item.items():
            if isinstance(task, dict):
                path = f"{pointer}/{index}/{pointer_token(name)}"
                yield from _task(path, name, task, role, names, scope)


def _task(
    pointer: str,
    name: str,
    task: dict[str, Any],
    role: str,
    siblings: tuple[str, ...],
    scope: tuple[str, ...],
) -> Iterator[Place]:
    kind = next((kind for kind in KINDS if kind in task), None)
    yield Place(
        pointer=pointer,
        name=name,
        task=task,
        kind=kind,
        role=role,
        siblings=siblings,
        scope=scope,
    )
    if kind == "do":
        yield from _list(f"{pointer}/do", task["do"], "step", scope)
    elif kind == "for":
        inner = (*loop_names(task), *scope)
        yield from _list(f"{pointer}/do", task.get("do"), "step", inner)
    elif kind == "fork":
        branches = part(task, "fork", "branches")
        yield from _list(f"{pointer}/fork/branches", branches, "branch", scope)
    elif kind == "try":
        yield from _list(f"{pointer}/try", task["try"], "step", scope)
        inner = (caught_name(task), *scope)
        yield from _list(f"{pointer}/catch/do", part(task, "catch", "do"), "step", inner)
    elif kind == "listen":
        inner = (*each_names(task), *scope)
        yield from _list(f"{pointer}/foreach/do", part(task, "foreach", "do"), "step", inner)


def loop_names(task: Mapping[str, Any]) -> tuple[str, str]:
    """The variables of a `for`: item and index."""
    loop = task.get("for")
    return _name(part(loop, "each"), "item"), _name(part(loop, "at"), "index")


def each_names(task: Mapping[str, Any]) -> tuple[str, str]:
    """The variables of `foreach` of a listen task: item and index."""
    each = task.get("foreach")
    return _name(part(each, "item"), "item"), _name(part(each, "at"), "index")


def caught_name(task: Mapping[str, Any]) -> str:
    """The variable that holds the error in a catch."""
    return _name(part(task, "catch", "as"), "error")


def _name(value: Any, default: str) -> str:
    return value if isinstance(value, str) else default
