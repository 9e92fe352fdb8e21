from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from qflow.engine import _spec
from qflow.engine._load import load_flow
from qflow.engine._problems import Findings
from qflow.engine._schema import check_schema, compile_schema
from qflow.engine._schema_bounds import VISITS_MAX
from qflow.engine._turn import Fault
from qflow.errors import FlowError
from tests.engine.flows import flow, problem

# -- values --------------------------------------------------------------------------------


def test_a_value_that_fits_is_taken() -> None:
    section = {"format": "json", "document": {"type": "object", "required": ["a"]}}
    check_schema(section, {"a": 1}, "the input")
    check_schema(None, object(), "the input")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"items": [{"n": 1}, {"n": "x"}]}, '/items/1/n: "x" is not of type "integer"'),
        ({}, 'the value itself: "items" is a required property'),
        (b"bytes", "Unsupported type"),
    ],
)
def test_a_fault_names_the_field_and_why(value: Any, words: str) -> None:
    item = {"properties": {"n": {"type": "integer"}}}
    document = {"required": ["items"], "properties": {"items": {"items": item}}}
    with pytest.raises(Fault) as caught:
        check_schema({"document": document}, value, "the input")
    problem = caught.value.problem
    assert problem["status"] == 400
    assert problem["type"].endswith("/validation")
    assert problem["title"] == "The input does not fit its schema"
    assert words in problem["detail"]


def test_two_sections_with_one_identity_after_the_other_are_not_confused() -> None:
    for kind, value in (("integer", 1), ("string", "x")) * 600:
        check_schema({"document": {"type": kind}}, value, "it")


# -- what a schema may be ------------------------------------------------------------------


def doubling(keyword: str, depth: int = 30) -> dict[str, Any]:
    steps = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{depth}": {"type": "string"}}}


def recursive(keyword: str) -> dict[str, Any]:
    both = {keyword: [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}
    return {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"n": both}}}}


def unevaluated(depth: int = 40) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"type": "strin"}, "not a valid JSON Schema"),
        ({"pattern": "(?=a)"}, "linear-time"),
        ({"pattern": r"(a)\1"}, "linear-time"),
        ({"pattern": "(((a{100}){100}){100})"}, "bounded size"),
        ({"patternProperties": {"(?=a)": True}}, "linear-time"),
        ({"$ref": "https://example.com/s.json"}, "only #/... in the same schema"),
        ({"$ref": "file:///etc/passwd"}, "only #/... in the same schema"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "only #/... in the same schema"),
        ({"$ref": "#/$defs/gone"}, "names nothing"),
        ({"$ref": 3}, "not supported"),
        ({"$dynamicRef": "#x"}, "$dynamicRef"),
        ({"properties": {"a": {"$id": "http://x/y"}}}, "$id"),
        ({"$schema": "https://example.com/meta"}, "$schema"),
        ({"$ref": "#"}, "refers to itself"),
        ({"allOf": [{"not": {"$ref": "#"}}]}, "refers to itself"),
        (doubling("allOf"), "multiply"),
        (doubling("oneOf"), "multiply"),
        (recursive("allOf"), "multiply"),
        (recursive("anyOf"), "multiply"),
        (unevaluated(), "multiply"),
        ("word", "a JSON Schema is"),
        (3, "a JSON Schema is"),
    ],
)
def test_a_schema_that_is_wrong_or_unbounded_is_refused(document: Any, words: str) -> None:
    with pytest.raises(FlowError) as caught:
        compile_schema(document)
    assert words in str(caught.value)


def test_a_chain_of_references_is_bounded() -> None:
    steps = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(5000)}
    with pytest.raises(FlowError, match=str(VISITS_MAX)):
        compile_schema({"$ref": "#/$defs/d0", "$defs": {**steps, "d5000": {}}})


@pytest.mark.parametrize(
    "document",
    [
        True,
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}},
        {"properties": {"children": {"items": {"$ref": "#"}}}},
        {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        {"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}}},
        {"properties": {"n": {"oneOf": [{"type": "null"}, {"$ref": "#"}]}}},
        {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
    ],
)
def test_ordinary_schemas_are_taken(document: Any) -> None:
    compile_schema(document)


def test_the_regular_expressions_of_a_schema_take_linear_time() -> None:
    section = {"document": {"pattern": "^(a+)+$"}}
    with pytest.raises(Fault):
        check_schema(section, "a" * 100_000 + "b", "it")


def test_a_wrong_schema_in_a_flow_names_its_line() -> None:
    found = problem(flow("- a: {set: {x: 1}}", "input:\n  schema: {document: {type: strin}}\n"))
    assert (found.line, found.path) == (3, "/input/schema/document")


# -- the schema of flows -------------------------------------------------------------------


def test_the_packaged_schema_is_the_published_one(shared: Path) -> None:
    text = (shared / "ows-ctk" / "workflow-1.0.3.schema.yaml").read_text()
    assert _spec.published() == YAML(typ="safe", pure=True).load(text)


def verdict(document: dict[str, Any]) -> bool:
    """What the published schema says as a whole."""
    return bool(jsonschema_rs.Draft202012Validator(_spec.published()).is_valid(document))


def ours(document: dict[str, Any]) -> bool:
    findings = Findings("flow", lambda path: None)
    _spec.check_document(document, findings)
    try:
        findings.settle()
    except FlowError:
        return False
    return True


SAMPLE = load_flow(
    flow(
        """
- a: {call: http, with: {method: get, endpoint: {uri: 'http://x', authentication: {use: p}}}}
- b: {try: [{c: {wait: PT1S}}], catch: {retry: {backoff: {linear: {}}}, do: [{d: {set: {x: 1}}}]}}
- e: {listen: {to: {any: [{with: {type: x}}], until: {one: {with: {type: y}}}}}, foreach: {do: []}}
- f: {for: {in: .x}, do: [{g: {switch: [{y: {when: .x, then: exit}}]}}], timeout: {after: PT1S}}
- h: {fork: {branches: [{i: {raise: {error: {type: 'http://x', status: 1}}}}]}}
- j: {run: {script: {language: python, code: x}}, output: {schema: {document: {}}}}
- k: {emit: {event: {with: {type: x, source: 'http://x'}}}, export: {as: .x}}
- l: {call: f, with: {x: 1}, input: {from: {y: 1}}}
""",
        "use: {authentications: {p: {basic: {username: u, password: p}}}}\n",
    )
).document
VALUES: list[Any] = [None, True, 3, 1.5, "", "word", "${ .x }", [], [1], {}, {"x": 1}]
KEYS = ["set", "do", "call", "wait", "with", "uri", "use", "one", "until", "foo", "then", "basic"]


def changed(document: dict[str, Any], draw: st.DataObject) -> dict[str, Any]:
    """The document with one value replaced, removed or added somewhere."""
    document = copy.deepcopy(document)
    node: Any = document
    for _ in range(draw.draw(st.integers(0, 12))):
        inner = list(node.values() if isinstance(node, dict) else node)
        inner = [item for item in inner if isinstance(item, dict | list) and item]
        if not inner:
            break
        node = draw.draw(st.sampled_from(inner))
    value = copy.deepcopy(draw.draw(st.sampled_from(VALUES)))
    keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
    action = draw.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "add":
        if isinstance(node, dict):
            node[draw.draw(st.sampled_from(KEYS))] = value
        else:
            node.append(value)
    elif action == "remove":
        del node[draw.draw(st.sampled_from(keys))]
    else:
        node[draw.draw(st.sampled_from(keys))] = value
    return document


@given(st.data())
def test_asking_task_by_task_gives_the_verdict_of_the_whole_schema(draw: st.DataObject) -> None:
    document = SAMPLE
    for _ in range(draw.draw(st.integers(0, 3))):
        document = changed(document, draw)
    assert ours(document) == verdict(document)


def test_the_examples_have_the_verdict_of_the_whole_schema(shared: Path) -> None:
    for file in sorted((shared / "ows-examples").iterdir()):
        document = YAML(typ="safe", pure=True).load(file.read_text())
        assert verdict(document), file.name
        assert ours(document), file.name
