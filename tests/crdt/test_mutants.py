"""The seeded faults still fit the code; `make mutants-crdt` builds it with each of them."""

from __future__ import annotations

import pytest

from tests.crdt.mutants.catalogue import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_has_one_place(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text


def test_there_are_enough_faults() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
