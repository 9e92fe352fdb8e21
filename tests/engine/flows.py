"""Texts of flows for tests of loading."""

from __future__ import annotations

from typing import Any

import pytest

from qflow.engine._flow import Flow
from qflow.engine._load import load_flow
from qflow.engine._problems import Problem
from qflow.errors import FlowError

HEAD = "document: {dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0'}\n"


def head_with(options: str) -> str:
    """The head of a flow that says this under `qflow`."""
    return f"""\
document:
  dsl: '1.0.3'
  namespace: test
  name: shop
  version: '1.0.0'
  metadata: {{qflow: {options}}}
"""


def flow(tasks: str, head: str = "") -> str:
    """A flow with these lines under `do`, and these before it."""
    return f"{HEAD}{head}do:\n{tasks}\n"


def load(tasks: str, head: str = "", **options: Any) -> Flow:
    return load_flow(flow(tasks, head), **options)


def problems(source: Any, **options: Any) -> tuple[Problem, ...]:
    """What is found in a text that is refused."""
    with pytest.raises(FlowError) as caught:
        load_flow(source, **options)
    assert caught.value.problems, str(caught.value)
    return caught.value.problems


def problem(source: Any, **options: Any) -> Problem:
    """The only thing that is found."""
    found = problems(source, **options)
    assert len(found) == 1, found
    return found[0]
