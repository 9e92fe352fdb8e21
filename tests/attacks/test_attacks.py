"""Every attack of the table: what must be found is found, and what cannot be is not claimed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.attacks import catalogue, forge, honest, table, trial
from tests.attacks.attack import NOT_FOUND, Attack, Outcome
from tests.attacks.receipts import check, receipt

SEEDS = int(os.environ.get("SEEDS", "2"))
"""`make attack-table` runs 100."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[honest.Honest]:
    return [honest.make(seed, tmp_path_factory.mktemp("honest")) for seed in range(SEEDS)]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What came out for the first seed, by attack."""
    return {}


@pytest.fixture
def log(logs: list[honest.Honest]) -> honest.Honest:
    return logs[0]


def marked(one: Attack) -> object:
    marks = [pytest.mark.holds(claim) for claim in one.claims]
    return pytest.param(one, marks=marks, id=f"{one.family}: {one.name}")


@pytest.mark.parametrize("attack", [marked(one) for one in catalogue.ATTACKS])
def test_the_attack_is_found_by_whom_the_table_says(
    attack: Attack,
    logs: list[honest.Honest],
    outcomes: dict[str, Outcome],
    tmp_path: Path,
) -> None:
    for log in reversed(logs):
        outcome = outcomes[attack.name] = attack.attempt(log, tmp_path / str(log.seed))
        assert attack.wrong(outcome) == "", f"seed {log.seed}: {outcome}"


def test_an_honest_log_is_accepted_by_every_auditor(log: honest.Honest, tmp_path: Path) -> None:
    accepted = Outcome(NOT_FOUND, NOT_FOUND, NOT_FOUND)
    assert trial.judge(log, log.copy(log.closed, tmp_path / "a"), "closed") == accepted
    assert trial.judge(log, log.copy(log.crashed, tmp_path / "b"), "crashed") == accepted


def test_an_honest_receipt_is_accepted_by_every_auditor(log: honest.Honest) -> None:
    for index in (0, 1, log.size // 2, log.size - 1):
        data = receipt(log, index).to_bytes()
        assert check(log, data, None) == NOT_FOUND
        assert check(log, data, log.policy) == NOT_FOUND


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("signed", [False, True])
def test_the_attackers_tools_lay_out_every_byte_as_the_log_does(
    log: honest.Honest, tmp_path: Path, signed: bool
) -> None:
    """Else an attack would be found by its mistakes."""
    path = log.copy(log.closed, tmp_path)
    before = contents(path)
    forge.rewrite(path, lambda _: None, log.signer if signed else None)
    after = contents(path)
    # The log keeps the partial tiles of the head before too.
    given_up = {name for name in before if name not in after and ".p/" in name}
    assert after == {name: data for name, data in before.items() if name not in given_up}


def test_no_two_attacks_have_one_name() -> None:
    names = Counter(one.name for one in catalogue.ATTACKS)
    assert names.most_common(1)[0][1] == 1
    assert len(names) >= 40


def test_the_guide_has_the_table_as_it_is(
    log: honest.Honest, outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    """Its rows are those of the catalogue, and each verdict that comes out is in its cell."""
    _, text, _ = table.parts(table.GUIDE.read_text(encoding="utf-8"))
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [line for line in rows if not line.startswith("| attack |")]
    assert len(rows) == len(catalogue.ATTACKS), "make attack-table"
    for attack, line in zip(catalogue.ATTACKS, rows, strict=True):
        # Those that another test made are not made again.
        outcome = outcomes.get(attack.name) or attack.attempt(log, tmp_path / "forged")
        now = [part.strip() for part in table.row(attack, [outcome]).split("|")]
        written = [part.strip() for part in line.split("|")]
        assert [*now[:3], now[-2]] == [*written[:3], written[-2]], "make attack-table"
        assert all(a in b for a, b in zip(now[3:6], written[3:6], strict=True)), (now, written)
