"""What an attack on stored states is, and what comes of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from tests.attacks.stored.honest import Honest

TRIES = 4
"""Of one attack on one honest home, where it has many places to choose from."""


class Use(StrEnum):
    """What whoever asks for a state gets. Only the last two are lies."""

    EQUAL = "equal"
    """The newest state, and all of it is as it was: the change did nothing."""
    OFFERED = "the one before"
    """What was changed is refused and named; the newest good version is given."""
    REFUSED = "refused"
    """An error, or no state at all."""
    OLDER = "an older one"
    """A true state of an earlier time, and nothing is said."""
    WRONG = "WRONG"
    """A state that never was."""


class Check(StrEnum):
    """What `qflow state verify`, or an import, says."""

    FOUND = "found"
    CLEAN = "nothing"


class Outcome(NamedTuple):
    """Of one try."""

    use: Use
    check: Check
    note: str = ""


class Power(StrEnum):
    """What an attacker has beside the files."""

    DISK = "writes the file"
    STRANGER = "signs with a key of their own"
    READER = "holds the subnet's key, signs with their own"
    SIGNER = "holds the node's key, not the subnet's"
    BOTH = "holds both keys"


Tries = Iterator[Outcome]
Attacker = Callable[[Honest, random.Random, Path], Tries]


@dataclass(frozen=True)
class Attack:
    """One way to lie, and what may come of it."""

    name: str
    family: str
    power: Power
    claims: tuple[str, ...]
    use: frozenset[str]
    check: frozenset[str]
    make: Attacker
    note: str = ""

    def attempt(self, honest: Honest, folder: Path) -> list[Outcome]:
        """Attack copies in `folder`, which is gone afterwards."""
        chance = random.Random(f"{self.name} {honest.seed}")
        folder.mkdir()
        try:
            return list(self.make(honest, chance, folder))
        finally:
            shutil.rmtree(folder)

    def wrong(self, outcome: Outcome) -> str:
        """What is not as it is claimed; empty when all is."""
        said = []
        if outcome.use not in self.use:
            said.append(f"use: {outcome.use}, not {' or '.join(sorted(self.use))}")
        # Where a change did nothing, a check may find it and need not.
        if outcome.check not in self.check and outcome.use != Use.EQUAL:
            said.append(f"check: {outcome.check}, not {' or '.join(sorted(self.check))}")
        return "; ".join([*said, outcome.note]) if said else ""


ATTACKS: list[Attack] = []
CAUGHT = "refused|the one before"
ANY_BUT_LIES = "refused|the one before|equal"


def attack(
    name: str,
    *,
    family: str,
    claims: Iterable[str] = ("S14",),
    power: Power = Power.DISK,
    use: str = CAUGHT,
    check: str = "found",
    note: str = "",
) -> Callable[[Attacker], Attacker]:
    """Enter an attack in the table."""

    def enter(make: Attacker) -> Attacker:
        allowed = frozenset(use.split("|"))
        assert allowed <= {str(one) for one in Use}
        wanted = frozenset(check.split("|"))
        ATTACKS.append(Attack(name, family, power, tuple(claims), allowed, wanted, make, note))
        return make

    return enter
