"""What an attack on documents is, and how its outcome is judged."""

from __future__ import annotations

import enum
import gc
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qflow import _core
from tests.crdt import packs
from tests.crdt.packs import Signed, sealed
from tests.crdt.replicas import DOC, Author, Replica, same
from tests.crdt.specification import Change, History, Kind, Operation
from tests.crdt.steps import Call, call

MEMORY_MIB_MAX = 64


class Outcome(enum.Enum):
    REFUSED = "refused"
    WAITS = "waits"
    KEPT = "kept by all"
    EQUAL = "nothing new"
    WRONG = "WRONG"


@dataclass(frozen=True)
class Forgery:
    """What is sent, and which changes of it are sound: these are kept, liar or not."""

    pack: bytes
    sound: tuple[Change, ...] = ()


@dataclass
class Stage:
    """Two honest replicas with a common past, and a member that lies."""

    seed: int
    chance: random.Random = field(init=False)
    history: History = field(default_factory=History)
    honest: list[Replica] = field(default_factory=list)
    packs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        authors = [Author(number) for number in (1, 2)]
        self.honest = [Replica(one.seed, one.key, self.history) for one in authors]
        for _ in range(6):
            one, other = self.chance.sample(self.honest, 2)
            sent = one.transact([call(self.chance) for _ in range(3)])
            if sent:
                self.packs.append(sent.pack)
                other.receive(sent.pack, sent.cids)
        for one in self.honest:
            other = self.honest[one is self.honest[0]]
            one.receive(other.document.delta(one.document.clock()), other.has)

    @property
    def liar(self) -> Author:
        return Author(66)

    @property
    def members(self) -> list[bytes]:
        return sorted([*(one.key for one in self.honest), self.liar.key])

    @property
    def heads(self) -> tuple[bytes, ...]:
        return tuple(sorted(cid for _, _, cid in self.honest[0].reading().heads()))

    def operations(self, count: int = 1) -> tuple[Operation, ...]:
        return tuple(
            Operation(Kind.SET, (self.chance.choice("abc"),), self.chance.getrandbits(32))
            for _ in range(count)
        )

    def lie(self, prev: Change | None = None, **other: object) -> Signed:
        """The liar's next change after another, sound but for what is said."""
        made = {
            "replica": self.liar.key,
            "seq0": prev.end if prev else 0,
            "prev": prev.cid if prev else None,
            "deps": () if prev else self.heads,
            "operations": self.operations(),
            "cid": b"",
        }
        return sealed(DOC, Change(**{**made, **other}), self.liar.seed)  # type: ignore[arg-type]


Forge = Callable[[Stage], Iterable[Forgery]]


@dataclass(frozen=True)
class Attack:
    family: str
    name: str
    power: str
    expected: frozenset[Outcome]
    claims: str
    forge: Forge

    def attempt(self, seed: int) -> list[Outcome]:
        """The outcome of each forgery, and WRONG unless the honest ones end as specified."""
        stage = Stage(seed)
        forgeries = list(self.forge(stage))
        outcomes: list[Outcome] = []
        memory = Memory()
        try:
            note(stage.history, [change for one in forgeries for change in one.sound])
            outcomes += [deliver(stage, stage.honest[0], one) for one in forgeries]
            for one in reversed(forgeries):
                deliver(stage, stage.honest[1], one)
            agree(stage)
        except Exception as wrong:  # noqa: BLE001 whatever it is, it is wrong
            print(f"{self.name}, seed {seed}: {wrong!r}", file=sys.stderr)
            return [*outcomes, Outcome.WRONG]
        if memory.grown_mib() > MEMORY_MIB_MAX:
            print(f"{self.name}, seed {seed}: {memory.grown_mib():.0f} MiB", file=sys.stderr)
            return [*outcomes, Outcome.WRONG]
        return outcomes


def note(history: History, changes: list[Change]) -> None:
    """Tell the specification of changes, each after what it names."""
    while changes:
        ready = [one for one in changes if all(cid in history.changes for cid in one.parents)]
        for change in ready:
            history.add(change)
        changes = [one for one in changes if one not in ready]


class Memory:
    """The most that this process holds from now on."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self.before = self.peak_mib()

    def peak_mib(self) -> float:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def grown_mib(self) -> float:
        return self.peak_mib() - self.before


def deliver(stage: Stage, replica: Replica, forgery: Forgery) -> Outcome:
    before = replica.document.clock(), replica.document.stats()["waiting"]
    try:
        checked = _core.check_changes(forgery.pack, doc=DOC, members=stage.members)
    except ValueError:
        return Outcome.REFUSED
    applied = replica.document.apply(checked)
    refused = [*checked.refused, *applied.refused]
    replica._admit({change.cid for change in forgery.sound})
    after = replica.document.clock(), replica.document.stats()["waiting"]
    if after[0] != before[0]:
        return Outcome.KEPT
    if after[1] != before[1]:
        return Outcome.WAITS
    return Outcome.REFUSED if refused else Outcome.EQUAL


def agree(stage: Stage) -> None:
    """Both go on, hear of each other, and have the same bytes as the specification says."""
    one, other = stage.honest
    for each in stage.honest:
        each.waiting.clear()
        each.transact([Call("set", ("after",), (each is one,))])
    for _ in range(2):
        one.receive(other.document.delta(one.document.clock()), other.has)
        other.receive(one.document.delta(other.document.clock()), one.has)
    assert one.has == other.has, "honest replicas have other changes"
    for each in stage.honest:
        expected = each.reading()
        assert each.document.clock() == expected.clock(), "other heads"
        assert same(expected.view(), each.document.get("")), "another view"
        each._check_conflicts(expected)
    assert one.document.state_bytes() == other.document.state_bytes(), "other bytes"


def one(*changes: Signed, sound: bool = True) -> Forgery:
    held = tuple(signed.change for signed in changes) if sound else ()
    return Forgery(packs.pack(DOC, changes), held)
