"""What the machine may do, drawn from a seed: steps, and the calls and values of a transaction."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from tests.crdt.canonical import Link
from tests.crdt.specification import Path

WEIGHTS: Final = {
    "write": 30,
    "transact": 10,
    "sync": 12,
    "send": 12,
    "deliver": 16,
    "scatter": 6,
    "drop": 3,
    "abandon": 2,
    "reload": 2,
    "look back": 2,
    "evict": 2,
    "compact": 3,
    "fork": 1,
    "rejoin": 1,
}
INT_MAX: Final = 2**63 - 1
NAMES: Final = ("a", "b", "c", "~", "m/n", "é", "日", "long name " * 3)
SCALARS: Final[tuple[Any, ...]] = (
    None, False, True, 0, 1, -1, 2, 300, INT_MAX, -INT_MAX - 1, 0.0, -0.0, 1.0, 2.5e300,
    "", "text", "é", b"", b"\x00\xff", Link(b"\x01\x55\x12\x20" + b"\x07" * 32),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step. The numbers are taken modulo what there is, so any list of steps can be run."""

    name: str
    one: int
    two: int
    seed: int


@dataclass(frozen=True)
class Call:
    method: str
    path: Path
    arguments: tuple[Any, ...]


def program(seed: int, length: int) -> list[Step]:
    chance = random.Random(seed)
    # Each episode has an own taste, so that some are all of writes and some all of losses.
    weights = {name: weight * chance.choice((0.3, 1, 1, 3)) for name, weight in WEIGHTS.items()}
    names = chance.choices(list(weights), list(weights.values()), k=length)
    return [Step(name, *(chance.getrandbits(32) for _ in range(3))) for name in names]


def value(chance: random.Random, depth: int = 0) -> Any:
    """No map at the top: that one expands."""
    if depth < 3 and chance.random() < 0.15 + 0.2 * depth:
        return [inner(chance, depth + 1) for _ in range(chance.randrange(4))]
    return chance.choice(SCALARS)


def inner(chance: random.Random, depth: int) -> Any:
    if depth < 3 and chance.random() < 0.2:
        keys = chance.sample(("", "k", "$any", "../x", "e\u0301"), chance.randrange(3))
        return {key: inner(chance, depth + 1) for key in keys}
    return value(chance, depth)


def literal(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    parts = chance.sample(NAMES, chance.randrange(4))
    return {
        part: literal(chance, depth + 1) if depth < 2 and chance.random() < 0.3 else value(chance)
        for part in parts
    }


def path(chance: random.Random) -> Path:
    """Few paths, so that replicas meet."""
    width = chance.choice((1, 2, 2, 3, len(NAMES)))
    return tuple(chance.choice(NAMES[:width]) for _ in range(chance.choice((1, 1, 1, 2, 2, 3))))


def call(chance: random.Random) -> Call:
    where = path(chance)
    draw = chance.random()
    if draw < 0.3:
        as_map = chance.random() < 0.25
        return Call("set", where, (literal(chance) if as_map else value(chance),))
    if draw < 0.45:
        return Call("delete", where, ())
    if draw < 0.65:
        by = chance.choice((0, 1, 1, -1, 5, INT_MAX, -INT_MAX - 1))
        return Call("increment", where, (by,))
    if draw < 0.85:
        return Call("append", where, tuple(value(chance) for _ in range(chance.choice((1, 1, 3)))))
    return Call("merge", () if chance.random() < 0.2 else where, (literal(chance),))
