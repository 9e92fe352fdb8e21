"""What a valid, supported flow must also be: its names, durations and schemas make sense."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from qflow import expressions
from qflow.engine import _schema, _walk
from qflow.engine._duration import duration_s
from qflow.engine._metadata import check_metadata
from qflow.engine._problems import Findings, did_you_mean
from qflow.engine._walk import Place, part
from qflow.errors import ExpressionError, FlowError
from qflow.model import pointer_token

DIRECTIVES: Final = ("continue", "exit", "end")
POINTER_CHARS_MAX: Final = 2048
"""The path of a task is in each of its records, which are bounded."""
RESERVED: Final = frozenset(
    {"context", "input", "output", "task", "workflow", "runtime", "secrets", "ENV", "__loc__"}
)
"""Variables that the specification or jq itself defines, which no task may take."""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def check_sense(document: dict[str, Any], findings: Findings) -> None:
    """Add what is wrong with names, directives, durations, schedules, schemas and metadata."""
    _document(document, findings)
    for place in _walk.tasks(document):
        if findings.full:
            return
        _names(place, findings)
        _directives(place, findings)
        check_metadata(place, findings)
        for path, duration in _durations(place):
            _duration(path, duration, findings)
        for section in ("input", "output", "export"):
            _json_schema(f"{place.pointer}/{section}", place.task.get(section), findings)


# -- the flow ------------------------------------------------------------------------------


def _document(document: dict[str, Any], findings: Findings) -> None:
    use = document.get("use") or {}
    if "timeout" in document:
        for path, duration in _timeout("/timeout", document["timeout"]):
            _duration(path, duration, findings)
    for section in ("input", "output"):
        _json_schema(f"/{section}", document.get(section), findings)
    for name, timeout in (use.get("timeouts") or {}).items():
        _duration(f"/use/timeouts/{pointer_token(name)}/after", timeout["after"], findings)
    for name, policy in (use.get("retries") or {}).items():
        for path, duration in _retry_durations(policy):
            _duration(f"/use/retries/{pointer_token(name)}{path}", duration, findings)
    _schedule(document.get("schedule") or {}, findings)


def _schedule(schedule: Mapping[str, Any], findings: Findings) -> None:
    for name in ("every", "after"):
        if name not in schedule:
            continue
        path = f"/schedule/{name}"
        if expressions.is_expression(schedule[name]):
            findings.add(path, "a schedule cannot be an expression", "write the duration itself")
        elif _duration(path, schedule[name], findings) == 0:
            findings.add(path, "the duration is zero", "write a longer one")
    if "cron" in schedule:
        _cron(schedule["cron"], findings)


def _cron(text: str, findings: Findings) -> None:
    from cronsim import CronSim, CronSimError

    try:
        fires = next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except (CronSimError, ValueError) as error:
        fix = "five fields: minute hour day month weekday, such as '0 6 * * 1'"
        findings.add("/schedule/cron", f"{text!r:.60} is not a cron schedule: {error}", fix)
        return
    if fires is None:
        findings.add("/schedule/cron", f"{text!r:.60} never comes")


def _timeout(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield f"{path}/after", value["after"]


def _duration(path: str, value: Any, findings: Findings) -> float | None:
    if expressions.is_expression(value):
        return None
    try:
        return duration_s(value)
    except ExpressionError as error:
        findings.add(path, str(error))
        return None


def _json_schema(path: str, section: Any, findings: Findings) -> None:
    schema = part(section, "schema")
    if schema is None or "document" not in schema:
        return
    try:
        _schema.compile_schema(schema["document"])
    except FlowError as error:
        findings.add(f"{path}/schema/document", str(error))


# -- names and directives ------------------------------------------------------------------


def _names(place: Place, findings: Findings) -> None:
    path, name = place.pointer, place.name
    if place.role != "function" and place.siblings.count(name) > 1:
        findings.add(path, f"two tasks of one list are called {name!r:.80}", "rename one")
    if name in DIRECTIVES or not name or not name.isprintable():
        findings.add(path, f"a task cannot be called {name!r:.80}", "rename it")
    if len(path) > POINTER_CHARS_MAX:
        findings.add(path, f"the path of a task is longer than {POINTER_CHARS_MAX} characters")
    for where, variable in _variables(place):
        if not _VARIABLE.fullmatch(variable) or variable in RESERVED:
            findings.add(
                path + where,
                f"{variable!r:.80} cannot be the name of a variable",
                "use letters, digits and _, and no name that the specification defines",
            )
    if place.kind == "for" and len(set(_walk.loop_names(place.task))) == 1:
        findings.add(f"{path}/for", "the item and the index have the same name", "rename one")


def _variables(place: Place) -> Iterator[tuple[str, str]]:
    if place.kind == "for":
        each, at = _walk.loop_names(place.task)
        yield from (("/for/each", each), ("/for/at", at))
    elif place.kind == "try":
        yield "/catch/as", _walk.caught_name(place.task)
    elif place.kind == "listen":
        item, at = _walk.each_names(place.task)
        yield from (("/foreach/item", item), ("/foreach/at", at))


def _directives(place: Place, findings: Findings) -> None:
    if "then" in place.task:
        _directive(f"{place.pointer}/then", place.task["then"], place, findings)
    if place.kind != "switch":
        return
    defaults = []
    for index, item in enumerate(place.task["switch"]):
        for name, case in item.items():
            path = f"{place.pointer}/switch/{index}/{pointer_token(name)}"
            _directive(f"{path}/then", case["then"], place, findings)
            if "when" not in case:
                defaults.append(path)
    for path in defaults[1:]:
        findings.add(path, "a switch has one case without `when` at most", "add a `when`")


def _directive(path: str, target: str, place: Place, findings: Findings) -> None:
    if place.role == "function":
        if target != "continue":
            findings.add(path, "a function has no list to go on in", "remove it")
    elif target in DIRECTIVES:
        return
    elif place.role == "branch":
        findings.add(path, "a branch of a fork cannot go on with another", "use exit or end")
    elif target not in place.siblings:
        fix = did_you_mean(target, (*place.siblings, *DIRECTIVES))
        findings.add(path, f"there is no task {target!r:.80} in this list", fix)


# -- durations ----------------------------------------------------------------


def _durations(place: Place) -> Iterator[tuple[str, Any]]:
    task, path = place.task, place.pointer
    yield from _timeout(f"{path}/timeout", task.get("timeout"))
    if place.kind == "wait":
        yield f"{path}/wait", task["wait"]
    if place.kind == "try" and isinstance(task["catch"].get("retry"), Mapping):
        for where, duration in _retry_durations(task["catch"]["retry"]):
            yield f"{path}/catch/retry{where}", duration


def _retry_durations(policy: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for names in (
        ("delay",),
        ("limit", "duration"),
        ("limit", "attempt", "duration"),
        ("jitter", "from"),
        ("jitter", "to"),
    ):
        if (duration := part(policy, *names)) is not None:
            yield "/" + "/".join(names), duration
