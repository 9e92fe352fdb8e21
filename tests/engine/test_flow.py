from __future__ import annotations

import hashlib

import pytest

from qflow import _core
from qflow.engine._flow import Flow
from tests.engine.flows import load

USE = """use:
  timeouts: {t: {after: PT1S}}
  retries: {r: {delay: PT1S}}
  errors: {e: {type: 'https://example.com/e', status: 400}}
"""


def test_a_flow_is_called_by_namespace_name_and_version() -> None:
    flow = load("- a: {set: {x: 1}}")
    assert flow.key == "test/flow/1.0.0"
    assert flow.title == "flow"
    assert repr(flow) == "<Flow test/flow/1.0.0>"


def test_at_follows_a_json_pointer() -> None:
    flow = load("- 'a/b~c': {set: {x: [1, 2]}}")
    assert flow.at("") is flow.document
    assert flow.at("/do/0/a~1b~0c/set/x/1") == 2
    assert flow.at("/do/0") is flow.at("/do/0")


@pytest.mark.parametrize("pointer", ["/no", "/do/7", "/do/x", "/do/0/a/set/x/y"])
def test_at_refuses_what_is_not_there(pointer: str) -> None:
    with pytest.raises(KeyError):
        load("- a: {set: {x: 1}}").at(pointer)


def test_definitions_are_found_by_name_and_taken_in_place() -> None:
    flow = load("- a: {set: {x: 1}}", USE)
    assert flow.timeout("t") == {"after": "PT1S"}
    assert flow.timeout({"after": "PT2S"}) == {"after": "PT2S"}
    assert flow.timeout(None) is None
    assert flow.retry("r") == {"delay": "PT1S"}
    assert flow.error("e")["status"] == 400


def test_equal_documents_are_equal_flows() -> None:
    one, same, other = (load(f"- a: {{set: {{x: {x}}}}}") for x in (1, 1, 2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one.digest == hashlib.sha256(_core.encode(one.document)).hexdigest()


def test_a_stored_document_needs_no_loading() -> None:
    flow = load("- a: {set: {x: 1}}")
    assert Flow(_core.decode(_core.encode(flow.document)), base="/srv") == flow
