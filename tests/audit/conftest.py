"""An empty index over an empty log in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qflow.audit import History, Index
from tests.audit.chains import MemorySource


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    index = Index(path)
    yield index
    index.close()


@pytest.fixture
def history(index: Index, source: MemorySource) -> History:
    return History(index, source)
