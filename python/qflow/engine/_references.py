"""What the tasks of a flow refer to by name is there, and functions do not go in circles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from qflow.engine import _walk
from qflow.engine._problems import Findings, did_you_mean
from qflow.engine._walk import Place, part
from qflow.model import pointer_token

_SECRET: Final = re.compile(
    r"""\$secrets\s*(?:\.\s*([A-Za-z_][A-Za-z0-9_]*)|\.?\s*"([^"]+)"|\[\s*"([^"]+)"\s*\])"""
)
_CALLS: Final = ("http", "openapi", "document")
IsFunction = Callable[[str], bool]
Reference = tuple[str, str, str]
"""Path, section of `use`, name."""


def check_references(
    document: dict[str, Any], is_function: IsFunction | None, findings: Findings
) -> None:
    """Add every name that is not defined under `use`, or by Python code."""
    use = document.get("use") or {}
    for reference in _document_references(document, use):
        _exists(*reference, use, findings)
    for place in _walk.tasks(document):
        if findings.full:
            return
        for reference in _task_references(place):
            _exists(*reference, use, findings)
        if place.kind == "call":
            _function(place, use, is_function, findings)
    _cycles(document, findings)


def _exists(path: str, section: str, name: str, use: Mapping[str, Any], findings: Findings) -> None:
    known: Iterable[str] = use.get(section) or ()
    if name not in known:
        fix = did_you_mean(name, known) or f"define it in use.{section}"
        findings.add(path, f"there is no {name!r:.80} in use.{section}", fix)


def _document_references(document: dict[str, Any], use: Mapping[str, Any]) -> Iterator[Reference]:
    if isinstance(document.get("timeout"), str):
        yield "/timeout", "timeouts", document["timeout"]
    for name, policy in (use.get("authentications") or {}).items():
        path = f"/use/authentications/{pointer_token(name)}"
        yield from _policy(path, policy)
        yield from _secrets(path, policy)


def _task_references(place: Place) -> Iterator[Reference]:
    task, path = place.task, place.pointer
    if isinstance(task.get("timeout"), str):
        yield f"{path}/timeout", "timeouts", task["timeout"]
    if place.kind == "raise" and isinstance(task["raise"]["error"], str):
        yield f"{path}/raise/error", "errors", task["raise"]["error"]
    elif place.kind == "try" and isinstance(task["catch"].get("retry"), str):
        yield f"{path}/catch/retry", "retries", task["catch"]["retry"]
    elif place.kind == "call":
        for where in _POLICIES.get(task["call"], ()):
            yield from _policy(f"{path}/{'/'.join(where)}", part(task, *where))
        yield from _secrets(f"{path}/with", task.get("with"))
    elif place.kind == "run":
        yield from _secrets(f"{path}/run", task["run"])


_POLICIES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "http": (("with", "endpoint", "authentication"),),
    "openapi": (
        ("with", "authentication"),
        ("with", "document", "endpoint", "authentication"),
    ),
}


def _policy(path: str, policy: Any) -> Iterator[Reference]:
    for name, value in (policy or {}).items():
        if name == "use":
            yield f"{path}/use", "authentications", value
        elif isinstance(value, Mapping) and "use" in value:
            yield f"{path}/{name}/use", "secrets", value["use"]


def _secrets(path: str, value: Any) -> Iterator[Reference]:
    """The secrets that expressions name literally."""
    if isinstance(value, str):
        for match in _SECRET.finditer(value):
            yield path, "secrets", next(name for name in match.groups() if name)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _secrets(f"{path}/{pointer_token(name)}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets(f"{path}/{index}", item)


# -- functions -----------------------------------------------------------------------------


def _function(
    place: Place, use: Mapping[str, Any], is_function: IsFunction | None, findings: Findings
) -> None:
    called = place.task["call"]
    own = use.get("functions") or {}
    if called in _CALLS or called in own or is_function is None:
        return
    if not is_function(called):
        fix = did_you_mean(called, (*_CALLS, *own))
        findings.add(
            f"{place.pointer}/call",
            f"there is no function {called!r:.80}",
            fix or "define it in use.functions, or load the Python file that has it",
        )


def _cycles(document: Mapping[str, Any], findings: Findings) -> None:
    """Refuse functions that call themselves: nothing would bound how deep they go."""
    functions = part(document, "use", "functions") or {}
    calls: dict[str, set[str]] = {name: set() for name in functions}
    for place in _walk.tasks(document):
        if place.kind == "call" and place.pointer.startswith("/use/functions/"):
            caller = place.pointer.split("/")[3].replace("~1", "/").replace("~0", "~")
            if place.task["call"] in functions:
                calls[caller].add(place.task["call"])
    # Take away, again and again, the functions that call none of those that are left.
    while done := [name for name, called in calls.items() if not called & calls.keys()]:
        for name in done:
            del calls[name]
    for name in calls:
        path = f"/use/functions/{pointer_token(name)}"
        findings.add(path, f"the function {name!r:.80} is part of a circle of calls")
