"""What an attack is, who can make it, and what is said about it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.attacks.honest import Honest

NOT_FOUND = "-"
"""What stands for the verdict of a verifier that accepted."""


class Power(StrEnum):
    """What an attacker has beside the files."""

    DISK = "writes the disk"
    OLD_KEY = "holds another key of that name"
    KEY = "holds the key"
    WITNESS = "holds the key and a witness"
    QUORUM = "holds the key and a quorum of witnesses"


@dataclass(frozen=True)
class Outcome:
    """The verdicts of three auditors of one forgery: the same files, and more and more beside."""

    alone: str
    """Of one who has the files and the verifier key."""
    known: str
    """Of one who noted a head before."""
    witness: str
    """Of one who has a policy, and can ask a witness."""


Attacker = Callable[[Honest, random.Random, Path], Outcome]
Verdicts = frozenset[str]


@dataclass(frozen=True)
class Attack:
    """One way to lie, and which verdicts must follow, by auditor."""

    name: str
    family: str
    power: Power
    claims: tuple[str, ...]
    alone: Verdicts
    known: Verdicts
    witness: Verdicts
    make: Attacker
    note: str = ""

    def attempt(self, honest: Honest, folder: Path) -> Outcome:
        """Attack a copy in `folder`, which is gone afterwards; the same seed does the same."""
        chance = random.Random(f"{self.name} {honest.seed}")
        folder.mkdir()
        try:
            return self.make(honest, chance, folder)
        finally:
            shutil.rmtree(folder)

    def wrong(self, outcome: Outcome) -> str:
        """Which verdict is not what is claimed; empty when all are."""
        said = []
        for who in ("alone", "known", "witness"):
            found, due = getattr(outcome, who), getattr(self, who)
            if found not in due:
                said.append(f"{who}: {found}, not {' or '.join(sorted(due))}")
        return "; ".join(said)


ATTACKS: list[Attack] = []


def verdicts(text: str) -> Verdicts:
    return frozenset(text.split("|"))


def attack(
    name: str,
    *,
    family: str,
    power: Power = Power.DISK,
    claims: Iterable[str],
    alone: str = "INVALID",
    known: str | None = None,
    witness: str | None = None,
    note: str = "",
) -> Callable[[Attacker], Attacker]:
    """Enter an attack in the table. Verdicts are separated by `|`; `-` means: accepted.

    What is found alone is found by the others too, with the same verdict, unless it is said.
    """

    def enter(make: Attacker) -> Attacker:
        by_files, by_head, by_witness = (verdicts(one or alone) for one in (alone, known, witness))
        ATTACKS.append(
            Attack(name, family, power, tuple(claims), by_files, by_head, by_witness, make, note)
        )
        return make

    return enter
