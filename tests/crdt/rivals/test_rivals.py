"""Where semantics coincide, Loro, pycrdt and Automerge read what Qflow reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crdt.rivals import find
from tests.crdt.rivals.compare import LIBRARIES, run
from tests.crdt.rivals.differences import DIFFERENCES, OUR_ANSWER, Difference

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "crdt-rivals.md"
HISTORIES = int(os.environ.get("QFLOW_TEST_EXAMPLES", "100"))


@pytest.fixture(scope="module")
def rivals() -> None:
    missing = find.missing()
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} missing, and {find.VARIABLE} names no place")
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: make crdt-oracle")


@pytest.mark.usefixtures("rivals")
def test_random_histories_come_to_the_same_values_in_all_libraries() -> None:
    for seed in range(HISTORIES):
        run(seed, LIBRARIES)


@pytest.mark.usefixtures("rivals")
@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: one.name)
def test_a_difference_is_what_the_table_says(difference: Difference) -> None:
    assert {name: difference.read(name) for name in difference.reads} == difference.reads


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: one.name)
def test_a_difference_stands_in_the_table(difference: Difference) -> None:
    assert f"| {difference.name} |" in GUIDE.read_text()
    assert OUR_ANSWER in difference.reads
