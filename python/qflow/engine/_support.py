"""What this engine does of the specification. What it does not do is refused, by name.

Nothing that a flow says is ignored: a field that would change what happens, and is not carried out,
is in `REFUSED` or is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qflow import expressions
from qflow.engine import _spec, _walk
from qflow.engine._problems import Findings, did_you_mean
from qflow.engine._walk import Place, part
from qflow.model import pointer_token

VERSIONS: Final = ("1.0.0", "1.0.1", "1.0.2", "1.0.3")
"""The versions of the specification that flows may be written for."""
LANGUAGES: Final = ("python", "python3")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

SUPPORTED: Final[dict[str, str]] = {
    "do, set, switch, for, fork, try, raise, wait, emit, listen": "every field",
    "for": "also `while`, and `metadata.qflow.concurrency`",
    "fork": "also `compete`",
    "try": "`retry` with constant, linear and exponential backoff, jitter and limits",
    "listen": "`one`, `any`, `all`; `until` as a condition or an event; `foreach`; `correlate`; "
    "`read: data` and `read: envelope`",
    "call: http": "output content, response and raw",
    "call: openapi": "documents from http(s) and `file:`",
    "call: document": "delete, set, merge, increment and append in a document of "
    "`document.metadata.qflow.documents`",
    "call: NAME": "a function of `use.functions`, or a Python function",
    "run: workflow": "another flow that the node knows",
    "run: script": "language python; `code`, or `source` with `file:`",
    "if, input, output, export, timeout, then": "on every task, and on the flow where it has them",
    "use": "authentications, errors, functions, retries, secrets, timeouts",
    "schedule": "one of `every`, `cron`, `after`",
    "authentication": "basic, bearer and digest, in place, by name, or from a secret",
    "schema": "format json: in place, or a `file:` resource",
}
"""What is carried out, for the guide."""

REFUSED: Final[dict[str, str]] = {
    "call: asyncapi": "use emit and listen",
    "call: grpc": "use call: http, or a Python function",
    "call: a2a": "use call: http, or a Python function",
    "call: mcp": "use call: http, or a Python function",
    "call of a function by URL": "define it in use.functions, or as a Python function",
    "call of a function from a catalog": "define it in use.functions, or as a Python function",
    "run: container": "use run: script or a Python function",
    "run: shell": "use run: script or a Python function",
    "run: script in another language than python": "write it in Python",
    "run: script with code from an expression": "write the code itself, and pass data as arguments",
    "run: script that is not awaited": "remove await",
    "an external resource that is not a file": "use a file: URL",
    "authentication: oauth2": "use bearer with a token from a secret",
    "authentication: oidc": "use bearer with a token from a secret",
    "use.catalogs": "define the functions in use.functions",
    "use.extensions": "write the tasks where they belong",
    "schedule.on": "start with a listen task",
    "more than one kind of schedule": "keep one of every, cron, after",
    "listen with read: raw": "use data or envelope",
    "options of a backoff": "write {}",
    "run.return of a workflow": "remove it; the output is that of the flow",
    "a schema format other than json": "use format: json",
    "a URI template with operators": "use {name}, or an expression",
    "an endpoint that is not http or https": "use an http or https URL",
}
"""What is refused, by name, with what to do instead."""

_TEMPLATE_PARTS: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_support(document: dict[str, Any], findings: Findings) -> None:
    """Add each thing that the document asks for and this engine does not do."""
    _flow(document, findings)
    for place in _walk.tasks(document):
        if findings.full:
            return
        for name in ("input", "output", "export"):
            _schema(f"{place.pointer}/{name}", place.task.get(name), findings)
        if (check := _BY_KIND.get(str(place.kind))) is not None:
            check(place, findings)


def _refuse(findings: Findings, path: str, feature: str) -> None:
    findings.add(path, f"{feature} is not supported", REFUSED[feature])


def _named(document: Mapping[str, Any], section: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.get("use", {}).get(section, {}).items():
        yield f"/use/{section}/{pointer_token(name)}", value


def _unknown(findings: Findings, path: str, value: Mapping[str, Any], known: list[str]) -> None:
    """Refuse fields that the schema lets through and nobody reads."""
    for name in value:
        if name not in known:
            fix = did_you_mean(name, known) or f"known are {', '.join(known)}"
            findings.add(f"{path}/{pointer_token(name)}", f"unknown field {name!r:.80}", fix)


# -- the flow ------------------------------------------------------------------------------


def _flow(document: dict[str, Any], findings: Findings) -> None:
    dsl = document["document"]["dsl"]
    if dsl not in VERSIONS:
        fix = f"this engine runs {', '.join(VERSIONS)}"
        findings.add("/document/dsl", f"version {dsl!r:.40} of the DSL is not supported", fix)
    for name in ("catalogs", "extensions"):
        if name in document.get("use", {}):
            _refuse(findings, f"/use/{name}", f"use.{name}")
    _unknown(findings, "", document, list(_spec.shallow()["workflow"]["properties"]))
    _schedule(document.get("schedule") or {}, findings)
    for pointer, policy in _named(document, "authentications"):
        _authentication(pointer, policy, findings)
    for pointer, policy in _named(document, "retries"):
        _retry(pointer, policy, findings)
    for name in ("input", "output"):
        _schema(f"/{name}", document.get(name), findings)


def _schedule(schedule: Mapping[str, Any], findings: Findings) -> None:
    if "on" in schedule:
        _refuse(findings, "/schedule/on", "schedule.on")
    elif len(schedule) > 1:
        _refuse(findings, "/schedule", "more than one kind of schedule")


def _schema(path: str, section: Any, findings: Findings) -> None:
    schema = part(section, "schema")
    if schema is None:
        return
    if schema.get("format", "json") != "json":
        _refuse(findings, f"{path}/schema/format", "a schema format other than json")
    if "resource" in schema:
        _file_only(f"{path}/schema/resource", schema["resource"], findings)


def _file_only(path: str, resource: Mapping[str, Any], findings: Findings) -> None:
    address = uri_of(resource["endpoint"])
    if not address.startswith("file:") or isinstance(resource["endpoint"], Mapping):
        _refuse(findings, f"{path}/endpoint", "an external resource that is not a file")


def uri_of(endpoint: Any) -> str:
    """The URI of an endpoint, whichever of its two forms it has."""
    return str(endpoint["uri"] if isinstance(endpoint, Mapping) else endpoint)


def _retry(path: str, policy: Any, findings: Findings) -> None:
    for name, options in (part(policy, "backoff") or {}).items():
        if options:
            _refuse(findings, f"{path}/backoff/{name}", "options of a backoff")


# -- call ----------------------------------------------------------------------------------


def _call(place: Place, findings: Findings) -> None:
    called, path = place.task["call"], f"{place.pointer}/call"
    arguments = place.task.get("with") or {}
    if f"call: {called}" in REFUSED:
        _refuse(findings, path, f"call: {called}")
    elif called == "http":
        _http(f"{place.pointer}/with", arguments, findings)
    elif called == "openapi":
        _openapi(f"{place.pointer}/with", arguments, findings)
    elif "://" in called:
        _refuse(findings, path, "call of a function by URL")
    elif "@" in called or ":" in called:
        _refuse(findings, path, "call of a function from a catalog")


def _http(path: str, arguments: Mapping[str, Any], findings: Findings) -> None:
    method = arguments["method"]
    if not expressions.is_expression(method) and method.upper() not in METHODS:
        fix = did_you_mean(method.upper(), METHODS) or f"known are {', '.join(METHODS)}"
        findings.add(f"{path}/method", f"unknown HTTP method {method!r:.40}", fix)
    _endpoint(f"{path}/endpoint", arguments["endpoint"], ("http:", "https:"), findings)


def _openapi(path: str, arguments: Mapping[str, Any], findings: Findings) -> None:
    where = f"{path}/document/endpoint"
    _endpoint(where, arguments["document"]["endpoint"], ("http:", "https:", "file:"), findings)
    _authentication(f"{path}/authentication", arguments.get("authentication"), findings)


def _endpoint(path: str, endpoint: Any, schemes: tuple[str, ...], findings: Findings) -> None:
    if isinstance(endpoint, Mapping):
        _authentication(f"{path}/authentication", endpoint.get("authentication"), findings)
        path = f"{path}/uri"
    address = uri_of(endpoint)
    if expressions.is_expression(address):
        return
    if not address.lower().startswith(schemes):
        _refuse(findings, path, "an endpoint that is not http or https")
    plain = _TEMPLATE_PARTS.sub(
        lambda found: "" if _NAME.fullmatch(found.group(1)) else found.group(0), address
    )
    if "{" in plain or "}" in plain:
        _refuse(findings, path, "a URI template with operators")


def _authentication(path: str, policy: Any, findings: Findings) -> None:
    kinds = ["basic", "bearer", "digest", "oauth2", "oidc"]
    _unknown(findings, path, policy or {}, ["use", *kinds])
    for name in kinds[3:]:
        if name in (policy or {}):
            _refuse(findings, f"{path}/{name}", f"authentication: {name}")


# -- other kinds ---------------------------------------------------------------------------


def _run(place: Place, findings: Findings) -> None:
    path, run = f"{place.pointer}/run", place.task["run"]
    for name in ("container", "shell"):
        if name in run:
            _refuse(findings, f"{path}/{name}", f"run: {name}")
    if "workflow" in run and "return" in run:
        _refuse(findings, f"{path}/return", "run.return of a workflow")
    if "script" not in run:
        return
    script, path = run["script"], f"{path}/script"
    if run.get("await") is False:
        _refuse(findings, f"{place.pointer}/run/await", "run: script that is not awaited")
    if expressions.is_expression(script.get("code")):
        _refuse(findings, f"{path}/code", "run: script with code from an expression")
    if script["language"] not in LANGUAGES:
        feature = "run: script in another language than python"
        findings.add(
            f"{path}/language",
            f"{feature} is not supported, and this is {script['language']!r:.40}",
            REFUSED[feature],
        )
    if "source" in script:
        _file_only(f"{path}/source", script["source"], findings)


def _listen(place: Place, findings: Findings) -> None:
    path, listen = f"{place.pointer}/listen", place.task["listen"]
    if listen.get("read") == "raw":
        _refuse(findings, f"{path}/read", "listen with read: raw")
    if listen["to"].get("all") == []:
        findings.add(f"{path}/to/all", "there is no event to wait for", "name at least one")
    for where, item in filters_of(f"{path}/to", listen["to"]):
        _attributes(f"{where}/with", item["with"], findings)
        for name, rule in (item.get("correlate") or {}).items():
            at = f"{where}/correlate/{pointer_token(name)}"
            _unknown(findings, at, rule, ["from", "expect"])
    each = place.task.get("foreach") or {}
    for name in ("output", "export"):
        _schema(f"{place.pointer}/foreach/{name}", each.get(name), findings)


def _try(place: Place, findings: Findings) -> None:
    catch, path = place.task["catch"], f"{place.pointer}/catch"
    _retry(f"{path}/retry", catch.get("retry"), findings)
    errors = catch.get("errors") or {}
    _unknown(findings, f"{path}/errors", errors, ["with"])
    fields = ["type", "status", "instance", "title", "details"]
    _unknown(findings, f"{path}/errors/with", errors.get("with") or {}, fields)


def _emit(place: Place, findings: Findings) -> None:
    path, event = f"{place.pointer}/emit/event", place.task["emit"]["event"]
    _unknown(findings, path, event, ["with"])
    _attributes(f"{path}/with", event.get("with") or {}, findings)


def filters_of(path: str, to: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The event filters of a strategy and of the strategy in its `until`."""
    if "one" in to:
        yield f"{path}/one", to["one"]
    for name in ("any", "all"):
        for index, item in enumerate(to.get(name, ())):
            yield f"{path}/{name}/{index}", item
    if isinstance(to.get("until"), Mapping):
        yield from filters_of(f"{path}/until", to["until"])


def _attributes(path: str, attributes: Mapping[str, Any], findings: Findings) -> None:
    for name in attributes:
        if not re.fullmatch(r"[a-z0-9]{1,20}", name):
            findings.add(
                f"{path}/{pointer_token(name)}",
                f"{name!r:.40} is not an attribute of an event",
                "CloudEvents names are 1 to 20 lower-case letters and digits",
            )


def _set(place: Place, findings: Findings) -> None:
    value = place.task["set"]
    if isinstance(value, str) and not expressions.is_expression(value):
        fix = f"write ${{ {value} }}" if len(value) < 80 else "put it in ${ }"
        findings.add(f"{place.pointer}/set", "a text to set must be an expression", fix)


_BY_KIND: Final[dict[str, Callable[[Place, Findings], None]]] = {
    "call": _call,
    "run": _run,
    "listen": _listen,
    "try": _try,
    "emit": _emit,
    "set": _set,
}
