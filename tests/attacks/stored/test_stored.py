"""Every attack on stored states: nothing false is ever given, and what is refused is said."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.attacks.stored import catalogue, forge, honest, made, table
from tests.attacks.stored.attack import Attack, Check, Use
from tests.attacks.stored.judge import Imports, read_home
from tests.attacks.table import parts

SEEDS = int(os.environ.get("SEEDS", "1"))
"""`make state-attacks` runs more."""


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[honest.Honest]:
    return [honest.make(seed, tmp_path_factory.mktemp("honest")) for seed in range(SEEDS)]


def marked(one: Attack) -> object:
    marks = [pytest.mark.holds(claim) for claim in one.claims]
    return pytest.param(one, marks=marks, id=f"{one.family}: {one.name}")


@pytest.mark.parametrize("attack", [marked(one) for one in catalogue.ATTACKS])
def test_nothing_false_is_given(attack: Attack, homes: list[honest.Honest], tmp_path: Path) -> None:
    for home in homes:
        for outcome in attack.attempt(home, tmp_path / str(home.seed)):
            assert attack.wrong(outcome) == "", f"seed {home.seed}: {outcome}"


def test_an_honest_home_gives_its_newest_states(homes: list[honest.Honest], tmp_path: Path) -> None:
    for source in (homes[0].home, homes[0].crashed):
        said = read_home(homes[0], homes[0].copy(source, tmp_path))
        assert (said.use, said.check) == (Use.EQUAL, Check.CLEAN)


def test_an_honest_file_is_taken(homes: list[honest.Honest], tmp_path: Path) -> None:
    with Imports(homes[0], tmp_path) as imports:
        said = imports(homes[0].car)
    assert (said.use, said.check) == (Use.EQUAL, Check.CLEAN), said


def test_the_attackers_tools_make_what_the_node_makes(homes: list[honest.Honest]) -> None:
    """Else an attack would be found by its mistakes."""
    forgery = forge.Forgery(homes[0])
    for at in range(len(forgery.roots)):
        made.reseal(forgery, at, lambda records, payloads: None)
    assert forgery.roots == homes[0].roots
    assert forgery.blocks == homes[0].blocks
    forgery.sign(homes[0].signer)
    assert forgery.blocks == homes[0].blocks


def test_no_two_attacks_have_one_name() -> None:
    names = Counter((one.family, one.name) for one in catalogue.ATTACKS)
    assert names.most_common(1)[0][1] == 1


@pytest.mark.holds("S14")
def test_every_byte_of_a_file_matters(
    homes: list[honest.Honest], tmp_path: Path, full: bool
) -> None:
    """Each in turn, or one in a while: refused as a whole, or nothing of it is other."""
    whole = homes[0].car
    with Imports(homes[0], tmp_path) as imports:
        for at in range(0, len(whole), 1 if full else 211):
            said = imports(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert said.use in {Use.REFUSED, Use.EQUAL}, (at, said)


def test_the_guide_has_the_table_as_it_is() -> None:
    """Its rows are those of the catalogue, and each was tried."""
    _, text, _ = parts(table.GUIDE.read_text(encoding="utf-8"))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] not in {"| attack", "| ---"}]
    named = [table.row(one, []).split(" | ") for one in catalogue.ATTACKS]
    assert [row[:2] + row[-1:] for row in rows] == [row[:2] + row[-1:] for row in named]
    assert all(int(row[2]) > 0 for row in rows), "make state-attacks"
