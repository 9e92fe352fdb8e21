"""The schema of the Open Workflow Specification, and its verdicts in words.

The published schema is one tree of `oneOf`s. Asked as a whole it says of any mistake that nothing
fits, and nested tasks cost it exponential time. So each task is asked alone, of the definition that
its own fields choose, with the tasks inside it taken for any object; together that is the same
verdict, in linear time, at the place of the mistake.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from importlib import resources
from typing import Any, Final

from qflow.engine import _explain, _walk
from qflow.engine._problems import Findings, did_you_mean, listed
from qflow.engine._walk import KINDS, Place
from qflow.model import pointer_token

_BASE: Final = frozenset({"if", "input", "output", "export", "timeout", "then", "metadata"})


def published() -> Any:
    """The schema of version 1.0.3 as it was published."""
    file = resources.files("qflow.engine") / "schema" / "workflow-1.0.3.json"
    return json.loads(file.read_bytes())


@cache
def shallow() -> dict[str, Any]:
    """The definitions, none of which goes into a task or a strategy inside another."""
    schema: dict[str, Any] = published()
    definitions: dict[str, Any] = schema.pop("$defs")
    definitions["task"] = {"type": "object"}
    strategy = definitions["eventConsumptionStrategy"]
    last = copy.deepcopy(strategy)
    last["oneOf"][1]["properties"]["until"] = False
    strategy["oneOf"][1]["properties"]["until"]["oneOf"][1] = {"$ref": "#/$defs/untilStrategy"}
    definitions["untilStrategy"] = last
    definitions["workflow"] = {
        key: value for key, value in schema.items() if not key.startswith("$")
    }
    return definitions


def check_document(document: dict[str, Any], findings: Findings) -> None:
    """Add what the schema has against a document; nothing added means that it is valid."""
    _check("#/$defs/workflow", document, "", findings)
    for place in _walk.tasks(document):
        if findings.full:
            return
        _check_task(place, findings)


def _check_task(place: Place, findings: Findings) -> None:
    kind, task = place.kind, place.task
    if kind is None:
        _no_kind(place, findings)
        return
    others = [name for name in KINDS if name in task and name != kind]
    others = [name for name in others if (kind, name) != ("for", "do")]
    if others:
        findings.add(
            f"{place.pointer}/{others[0]}",
            f"a task does one thing, this one has {listed([kind, *others])}",
            "make a task of each",
        )
        return
    _check(_definition(kind, task), task, place.pointer, findings)


def _no_kind(place: Place, findings: Findings) -> None:
    unknown = [name for name in place.task if name not in _BASE]
    if not unknown:
        findings.add(place.pointer, "the task does not say what to do", f"add one of {_kinds()}")
        return
    # With several unknown fields, the one that is nearly a known one is the mistake.
    near = next(((name, fix) for name in unknown if (fix := did_you_mean(name, KINDS))), None)
    name, fix = near or (unknown[0], f"task types are {_kinds()}")
    findings.add(f"{place.pointer}/{pointer_token(name)}", f"unknown task type {name!r}", fix)


def _kinds() -> str:
    return ", ".join(KINDS)


def _definition(kind: str, task: dict[str, Any]) -> str:
    if kind != "call":
        return f"#/$defs/{kind}Task"
    calls = shallow()["callTask"]["oneOf"]
    names = [call["allOf"][1]["properties"]["call"].get("const") for call in calls]
    called = task["call"]
    return f"#/$defs/callTask/oneOf/{names.index(called if called in names else None)}"


def _check(definition: str, value: Any, pointer: str, findings: Findings) -> None:
    validator = _validator(definition)
    if validator.is_valid(value):
        return
    for path, message, fix in _explain.explain(shallow(), list(validator.iter_errors(value))):
        findings.add(pointer + path, message, fix)


@cache
def _validator(definition: str) -> Any:
    import jsonschema_rs

    schema = {"$ref": definition, "$defs": shallow()}
    # The duration pattern needs look-ahead; the bound keeps a crafted text from costing time.
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
    return jsonschema_rs.Draft202012Validator(schema, pattern_options=options, offline=True)
