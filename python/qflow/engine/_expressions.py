"""Every runtime expression of a flow compiles, with the variables that are in scope where it is.

The scopes are those of `_scope.Scope`, in its order, so that what is compiled here is what runs.
`$secrets` is in scope only where a runner evaluates: what a decision sees is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qflow import expressions
from qflow.engine import _walk
from qflow.engine._flow import documents_of
from qflow.engine._problems import Findings, did_you_mean
from qflow.engine._scope import BASE, DOCUMENTS
from qflow.engine._support import filters_of
from qflow.engine._walk import Place, part
from qflow.errors import ExpressionError
from qflow.model import pointer_token

EXPRESSIONS_MAX: Final = 500
"""Different expressions in one flow; compiling one costs up to half a millisecond."""
EXPRESSION_CHARS_MAX: Final = 16_384
"""Characters in one expression."""
_VARIABLE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")

FIELD: Final = "field"
"""A text here is an expression, bare or in `${ }`."""
VALUE: Final = "value"
"""Only a text that is wholly `${ ... }` is an expression."""

Site = tuple[str, str, Any, tuple[str, ...]]
"""Path, FIELD or VALUE, what stands there, and the names in scope besides `BASE`."""


def check_expressions(document: dict[str, Any], findings: Findings) -> None:
    """Add each expression that does not compile."""
    compiler = _Compiler(findings)
    for site in _document_sites(document):
        compiler.check(*site)
    shared = (DOCUMENTS,) if documents_of(document) else ()
    for local, name in documents_of(document).items():
        path = f"/document/metadata/qflow/documents/{pointer_token(local)}"
        compiler.check_name(path, name)
    for place in _walk.tasks(document):
        if findings.full or compiler.full:
            return
        for path, form, value, names in task_sites(place, document):
            compiler.check(path, form, value, (*shared, *names))


class _Compiler:
    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._seen: set[tuple[str, tuple[str, ...]]] = set()
        self.full = False

    def check(self, path: str, form: str, value: Any, names: tuple[str, ...]) -> None:
        scope = tuple(dict.fromkeys((*BASE, *names)))
        for where, text in texts(path, form, value):
            self._compile(where, text, scope)

    def check_name(self, path: str, name: str) -> None:
        """The name of a document: it sees the input of the execution and nothing else."""
        if expressions.is_expression(name):
            self._compile(path, name, ())

    def _compile(self, path: str, text: str, scope: tuple[str, ...]) -> None:
        source = expressions.source_of(text)
        if self.full or (source, scope) in self._seen:
            return
        self._seen.add((source, scope))
        if len(source) > EXPRESSION_CHARS_MAX:
            self._findings.add(path, f"longer than {EXPRESSION_CHARS_MAX} characters")
            return
        if len(self._seen) > EXPRESSIONS_MAX:
            self.full = True
            self._findings.add(path, f"the flow has more than {EXPRESSIONS_MAX} expressions")
            return
        try:
            expressions.compile_expression(source, scope)
        except ExpressionError as error:
            self._findings.add(path, str(error), _fix(source, scope))


def texts(path: str, form: str, value: Any) -> Iterator[tuple[str, str]]:
    """The expressions of a site, each with its path."""
    if isinstance(value, str):
        if form == FIELD or expressions.is_expression(value):
            yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from texts(f"{path}/{pointer_token(name)}", VALUE, item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(f"{path}/{index}", VALUE, item)


def _fix(source: str, scope: tuple[str, ...]) -> str | None:
    for name in _VARIABLE.findall(source):
        if name == DOCUMENTS and name not in scope:
            return "$documents is in scope of tasks, when document.metadata.qflow.documents is set"
        if name == "secrets" and name not in scope:
            return "$secrets is in scope where a runner evaluates: in `with` and in `run: script`"
        if name not in scope and (near := did_you_mean(name, scope)) is not None:
            return near
    return None


# -- where expressions are -----------------------------------------------------------------


def _transforms(path: str, owner: Any, names: tuple[str, ...]) -> Iterator[Site]:
    """`input.from`, `output.as` and `export.as` of a task, a flow or a `foreach`."""
    for section, field, more in (
        ("input", "from", ()),
        ("output", "as", ("output",)),
        ("export", "as", ("output",)),
    ):
        value = part(owner, section, field)
        if value is not None:
            yield f"{path}/{section}/{field}", FIELD, value, (*more, *names)


def _document_sites(document: dict[str, Any]) -> Iterator[Site]:
    use = document.get("use") or {}
    yield from _transforms("", document, ())
    yield "/timeout", VALUE, document.get("timeout"), ()
    for section, names in (("timeouts", ()), ("errors", ()), ("authentications", ("secrets",))):
        yield f"/use/{section}", VALUE, use.get(section), names
    used = {part(place.task, "catch", "retry") for place in _tries(document)}
    for name, policy in (use.get("retries") or {}).items():
        # A policy that is used is compiled where it is, with the error's name there.
        if name not in used:
            yield from _retry(f"/use/retries/{pointer_token(name)}", policy, "error", ())


def _tries(document: dict[str, Any]) -> Iterator[Place]:
    for place in _walk.tasks(document):
        if place.kind == "try" and isinstance(place.task["catch"].get("retry"), str):
            yield place


def task_sites(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    """Where a task of a valid flow has expressions of its own, not those of tasks below it."""
    task, path, scope = place.task, place.pointer, place.scope
    if "if" in task:
        yield f"{path}/if", FIELD, task["if"], scope
    yield from _transforms(path, task, scope)
    yield f"{path}/timeout", VALUE, task.get("timeout"), scope
    yield from _BY_KIND[str(place.kind)](place, document)


def _value_of(*names: str) -> Callable[[Place, dict[str, Any]], Iterator[Site]]:
    """The sites of a kind whose only expressions are values at one place."""

    def sites(place: Place, document: dict[str, Any]) -> Iterator[Site]:
        path = f"{place.pointer}/{'/'.join(names)}"
        yield path, VALUE, part(place.task, *names), place.scope

    return sites


def _none(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    yield from ()


def _call(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    own = part(document, "use", "functions") or {}
    more = () if place.task["call"] in own else ("secrets",)
    yield f"{place.pointer}/with", VALUE, place.task.get("with"), (*place.scope, *more)


def _run(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    run, path = place.task["run"], f"{place.pointer}/run"
    if "script" in run:
        yield f"{path}/script", VALUE, run["script"], (*place.scope, "secrets")
    else:
        yield f"{path}/workflow/input", VALUE, part(run, "workflow", "input"), place.scope


def _switch(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    for index, item in enumerate(place.task["switch"]):
        for name, case in item.items():
            path = f"{place.pointer}/switch/{index}/{pointer_token(name)}/when"
            yield path, FIELD, case.get("when"), place.scope


def _for(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    yield f"{place.pointer}/for/in", FIELD, place.task["for"]["in"], place.scope
    names = (*_walk.loop_names(place.task), *place.scope)
    yield f"{place.pointer}/while", FIELD, place.task.get("while"), names


def _listen(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    task, path, scope = place.task, place.pointer, place.scope
    to = task["listen"]["to"]
    for where, item in filters_of(f"{path}/listen/to", to):
        yield f"{where}/with", VALUE, item["with"], scope
        for name, rule in (item.get("correlate") or {}).items():
            at = f"{where}/correlate/{pointer_token(name)}"
            yield f"{at}/from", FIELD, rule["from"], scope
            yield f"{at}/expect", VALUE, rule.get("expect"), scope
    if isinstance(to.get("until"), str):
        yield f"{path}/listen/to/until", FIELD, to["until"], scope
    names = (*_walk.each_names(task), *scope)
    yield from _transforms(f"{path}/foreach", task.get("foreach"), names)


def _try(place: Place, document: dict[str, Any]) -> Iterator[Site]:
    catch, path, scope = place.task["catch"], f"{place.pointer}/catch", place.scope
    caught = _walk.caught_name(place.task)
    yield f"{path}/errors/with", VALUE, part(catch, "errors", "with"), scope
    for name in ("when", "exceptWhen"):
        yield f"{path}/{name}", FIELD, catch.get(name), (caught, *scope)
    policy = catch.get("retry")
    if isinstance(policy, str):
        used = part(document, "use", "retries", policy)
        yield from _retry(f"/use/retries/{pointer_token(policy)}", used, caught, scope)
    else:
        yield from _retry(f"{path}/retry", policy, caught, scope)


def _retry(path: str, policy: Any, caught: str, scope: tuple[str, ...]) -> Iterator[Site]:
    for name in ("when", "exceptWhen"):
        yield f"{path}/{name}", FIELD, part(policy, name), (caught, *scope)
    for name in ("delay", "limit", "jitter"):
        yield f"{path}/{name}", VALUE, part(policy, name), scope


_BY_KIND: Final[dict[str, Callable[[Place, dict[str, Any]], Iterator[Site]]]] = {
    "call": _call,
    "run": _run,
    "set": _value_of("set"),
    "switch": _switch,
    "for": _for,
    "fork": _none,
    "try": _try,
    "raise": _value_of("raise", "error"),
    "wait": _value_of("wait"),
    "emit": _value_of("emit", "event", "with"),
    "listen": _listen,
    "do": _none,
}
