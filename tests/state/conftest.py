"""A home with a `state.db`, and an execution in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.state.executions import Execution, Home, Keys, node


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def home(tmp_path: Path, keys: Keys) -> Iterator[Home]:
    made = Home(tmp_path / "state.db", keys, node())
    yield made
    made.close()


@pytest.fixture
def execution(keys: Keys) -> Execution:
    return Execution(1, node(), keys)
