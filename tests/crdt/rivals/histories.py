"""Random histories, and what each of them has to come to: by our rules, and by each rival's.

A history is a list of steps of a few replicas. While it is made, every operation notes which others
its replica had seen; from that alone the four sets of rules below say what is read at the end. They
are the rivals' rules as far as a map of registers, a counter and a list that is appended to go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Path = tuple[str, ...]
ABSENT: Final = object()
SKELETON: Final[tuple[Path, ...]] = (("x",), ("x", "y"), ("z",))
"""The maps of nested histories; most rivals cannot make one map twice."""
SHAPES: Final = ("maps", "nested", "counters", "lists")
STEPS, REPLICAS = 24, (2, 3, 4)


class Chance:
    """Numbers that follow from a seed."""

    def __init__(self, seed: str) -> None:
        self.bits = int.from_bytes(hashlib.shake_128(seed.encode()).digest(512), "big")

    def below(self, count: int) -> int:
        self.bits, found = divmod(self.bits, count)
        return found

    def one_of(self, of: Any) -> Any:
        return of[self.below(len(of))]


@dataclass(frozen=True)
class Step:
    """What one replica does: `set`, `delete`, `add`, `append`, `clear`, or `see` another one."""

    replica: int
    verb: str
    path: Path = ()
    value: Any = None
    """Of a set the value, of an add the number, of an append the elements, of a see the other."""


@dataclass(frozen=True)
class Operation:
    step: Step
    bit: int
    stamp: tuple[int, int]
    """Lamport time and replica."""
    saw: int
    follows: int | None = None
    """In Yjs, the bit of the item at whose right it was put, or of the item that it deletes."""


@dataclass
class History:
    """Steps, and the operations that they were."""

    replicas: int
    maps: tuple[Path, ...] = ()
    """What the first replica makes before the others begin."""
    steps: list[Step] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)

    def of(self, replica: int) -> list[Operation]:
        seen = self.seen.get(replica, 0)
        return [one for one in self.operations if one.bit & seen]

    def take(self, step: Step) -> None:
        self.steps.append(step)
        seen = self.seen.get(step.replica, 0)
        if step.verb == "see":
            self.seen[step.replica] = seen | self.seen.get(step.value, 0)
            return
        known = self.of(step.replica)
        time = max((one.stamp[0] for one in known), default=0) + 1
        last = yjs_last(known, step.path) if step.verb in ("set", "delete") else None
        follows = last.bit if last else None
        bit = 1 << len(self.operations)
        self.operations.append(Operation(step, bit, (time, step.replica), seen, follows))
        self.seen[step.replica] = seen | bit

    def end(self) -> None:
        """Everybody sees everything, by the first."""
        for replica in range(2, self.replicas + 1):
            self.take(Step(1, "see", value=replica))
        for replica in range(2, self.replicas + 1):
            self.take(Step(replica, "see", value=1))

    def paths(self) -> list[Path]:
        return sorted({one.step.path for one in self.operations if one.step.path})


def at(operations: Iterable[Operation], path: Path, *verbs: str) -> list[Operation]:
    return [one for one in operations if one.step.path == path and one.step.verb in verbs]


def ours(operations: list[Operation], path: Path) -> Any:
    """A set is there until an operation that saw it takes its place; the latest stamp is shown."""
    here = at(operations, path, "set", "delete")
    live = [one for one in here if one.step.verb == "set" and not covered(one, here)]
    return max(live, key=lambda one: one.stamp).step.value if live else ABSENT


def covered(one: Operation, by: Iterable[Operation]) -> bool:
    return any(later.saw & one.bit for later in by)


def loro(operations: list[Operation], path: Path) -> Any:
    """The latest stamp, be it a set or a delete."""
    here = at(operations, path, "set", "delete")
    if not here:
        return ABSENT
    last = max(here, key=lambda one: one.stamp).step
    return ABSENT if last.verb == "delete" else last.value


def yjs(operations: list[Operation], path: Path) -> Any:
    """The item at the end of the row of items, unless it was deleted."""
    last = yjs_last(operations, path)
    if last is None or any(one.follows == last.bit for one in at(operations, path, "delete")):
        return ABSENT
    return last.step.value


def yjs_last(operations: Iterable[Operation], path: Path) -> Operation | None:
    """Of what was put behind the same item, the greatest client's stands last, and so on."""
    items = at(operations, path, "set")
    last = None
    while True:
        behind = [one for one in items if one.follows == (last.bit if last else None)]
        if not behind:
            return last
        last = max(behind, key=lambda one: one.stamp[1])


RULES: Final = {"qflow": ours, "loro": loro, "pycrdt": yjs, "automerge": ours}


def total(operations: Iterable[Operation]) -> int:
    return sum(one.step.value for one in operations if one.step.verb == "add")


def elements(operations: list[Operation]) -> list[tuple[Operation, Any]]:
    """What was appended and is not cleared, by time: in our order."""
    clears = [one for one in operations if one.step.verb == "clear"]
    appends = [one for one in operations if one.step.verb == "append" and not covered(one, clears)]
    appends.sort(key=lambda one: one.stamp)
    return [(one, element) for one in appends for element in one.step.value]


def generate(seed: int, shape: str) -> History:
    """A history of this shape; values are never given twice, so each tells whence it came."""
    chance = Chance(f"{shape} {seed}")
    history = History(chance.one_of(REPLICAS), SKELETON if shape == "nested" else ())
    for number in range(STEPS):
        replica = 1 + chance.below(history.replicas)
        if chance.below(4) == 0:
            other = 1 + (replica + chance.below(history.replicas - 1)) % history.replicas
            history.take(Step(replica, "see", value=other))
        else:
            history.take(next(steps(history, chance, shape, replica, number)))
    history.end()
    return history


def steps(
    history: History, chance: Chance, shape: str, replica: int, number: int
) -> Iterator[Step]:
    """The step that this replica takes; a delete only where every library has something."""
    if shape == "counters" and chance.below(3):
        yield Step(replica, "add", value=chance.below(2001) - 1000)
    if shape == "lists":
        known = history.of(replica)
        if chance.below(6) == 0 and elements(known):
            yield Step(replica, "clear")
        count = 1 + chance.below(3)
        yield Step(replica, "append", value=tuple(number * 10 + at for at in range(count)))
    folder = chance.one_of(history.maps or ((),))
    path = (*folder, chance.one_of("abc"))
    if chance.below(4) == 0:
        known = history.of(replica)
        if all(rule(known, path) is not ABSENT for rule in RULES.values()):
            yield Step(replica, "delete", path)
    yield Step(replica, "set", path, chance.one_of((number, f"text {number}", number + 0.5)))
