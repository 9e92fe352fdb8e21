"""What `qflow state recover` says when nothing of a name is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

from qflow.api._states import Endpoint, Refused
from tests.cli.conftest import Behind
from tests.cli.stored import EXECUTION, StoredStates, checkpoint

Run = Callable[..., Result]


@pytest.fixture
def states(behind: Behind) -> StoredStates:
    made = StoredStates(checkpoint(0))
    behind.node.states = made
    return made


def test_a_name_of_which_nothing_is_pinned_is_not_found(qflow: Run, states: StoredStates) -> None:
    found = qflow("state", "recover", EXECUTION[:10].upper())
    assert found.exit_code == 0, found.stderr
    missing = qflow("state", "recover", "01k9x", "01zzz")
    assert missing.exit_code == 3
    assert "taken     " in missing.stdout
    assert "no execution with a pinned checkpoint begins with '01zzz'" in missing.stderr
    states.items = []
    assert qflow("state", "recover", "01k9x").exit_code == 3
    assert qflow("state", "recover").exit_code == 0
    states.refused = (Refused(cid="bafyreix", why="not good", execution=EXECUTION),)
    assert qflow("state", "recover", "01k9x").exit_code == 1
    states.refused = ()
    states.endpoints = (Endpoint(endpoint="http://127.0.0.1:5001", error="no answer"),)
    assert qflow("state", "recover", "01k9x").exit_code == 1


def test_what_was_here_before_is_found(
    qflow: Run, states: StoredStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, states.items = states.items, []
    brought = states._brought()
    states.items = items
    monkeypatch.setattr(states, "_brought", lambda: brought)
    assert qflow("state", "recover", "01k9x").exit_code == 0
    assert qflow("state", "recover", "01zzz").exit_code == 3
