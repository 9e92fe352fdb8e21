"""Replicas that write, lose, repeat, crash, compact and lie, compared with the specification.

python -m tests.crdt.machine [--steps 100000] [--seed 0] [--plain]

After every step the document that it touched has the specification's heads, values and conflicts,
and the same bytes as every other document that has the same operations.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from qflow import _core
from qflow.errors import StaleError
from tests.crdt.replicas import HASH_KEY, Author, Replica, Sent
from tests.crdt.specification import History, Reading
from tests.crdt.steps import Step, call, path, program

LENGTH = 80
FORKS_MAX = 2
NETWORK_MAX = 40


@dataclass
class World:
    """A few replicas and the network between them."""

    count: int
    history: History = field(default_factory=History)
    replicas: list[Replica] = field(default_factory=list)
    network: list[tuple[int, Sent]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    forks: int = 0
    states: dict[frozenset[bytes], bytes] = field(default_factory=dict)
    """The bytes of every set of changes that anybody had."""
    seen: dict[frozenset[bytes], bytes] = field(default_factory=dict)
    """The snapshot of every set of changes of which anybody made one."""

    def __post_init__(self) -> None:
        authors = map(Author, range(self.count))
        self.replicas = [Replica(author.seed, author.key, self.history) for author in authors]

    @property
    def keys(self) -> list[bytes]:
        return sorted({replica.key for replica in self.replicas})

    def run(self, step: Step) -> None:
        one = step.one % len(self.replicas)
        other = (one + 1 + step.two % (len(self.replicas) - 1)) % len(self.replicas)
        chance = random.Random(step.seed)
        act: Callable[[Replica, Replica, random.Random], None]
        act = getattr(self, "do_" + step.name.replace(" ", "_"))
        act(self.replicas[one], self.replicas[other], chance)

    def check(self, replica: Replica, chance: random.Random) -> None:
        replica.check()
        replica.check_siblings(path(chance))
        self.check_bytes(replica)

    def check_bytes(self, replica: Replica) -> None:
        """Whoever has the same changes has the same bytes."""
        state = replica.document.state_bytes()
        expected = self.states.setdefault(frozenset(replica.has), state)
        assert state == expected, "other bytes of the same operations"

    def note(self, sent: Sent | None) -> None:
        if sent:
            self.sent.append(sent)

    def do_write(self, one: Replica, other: Replica, chance: random.Random) -> None:
        self.note(one.transact([call(chance)]))
        self.check(one, chance)

    def do_transact(self, one: Replica, other: Replica, chance: random.Random) -> None:
        calls = [call(chance) for _ in range(chance.randrange(2, 9))]
        self.note(one.transact(calls))
        self.check(one, chance)

    def do_abandon(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """A save that failed: nothing of the transaction is there."""
        one.transact([call(chance) for _ in range(3)], keep=False)
        self.check(one, chance)

    def do_sync(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """`one` asks `other` with its clock."""
        self.pull(one, other)
        self.check(one, chance)

    def pull(self, one: Replica, other: Replica) -> None:
        """All that `other` has, unless it compacted what it cannot tell that `one` has seen."""
        try:
            delta = other.document.delta(one.document.clock())
        except StaleError:
            assert other.cut, "compacted what never was"
            assert one.has != other.has, "refuses to give nothing"
            return
        one.receive(delta, other.has)

    def do_send(self, one: Replica, other: Replica, chance: random.Random) -> None:
        if one.own and len(self.network) < NETWORK_MAX:
            sent = chance.choice(one.own[-6:])
            self.network.append((self.replicas.index(other), sent))

    def do_deliver(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """In any order; a third of what arrives will arrive again."""
        if not self.network:
            return
        at = chance.randrange(len(self.network))
        to, sent = self.network[at]
        if chance.random() < 0.67:
            del self.network[at]
        self.replicas[to].receive(sent.pack, sent.cids)
        self.check(self.replicas[to], chance)

    def do_drop(self, one: Replica, other: Replica, chance: random.Random) -> None:
        if self.network:
            del self.network[chance.randrange(len(self.network))]

    def do_scatter(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """Any old packs of anybody, shuffled: parts of a delta, most of them known."""
        for sent in chance.sample(self.sent, min(len(self.sent), chance.randrange(1, 6))):
            one.receive(sent.pack, sent.cids)
        self.check(one, chance)

    def do_reload(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """It crashes, and begins again with all that it saved, by its export."""
        if one.cut:
            return
        self.reload(one, one)
        self.check(one, chance)

    def do_look_back(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """What was read at an earlier time, by the clock of a change that it has."""
        if not one.has or one.cut:
            return
        past = {cid := chance.choice(sorted(one.has))} | self.history.below[cid]
        reading = Reading(self.history, past)
        document = one.document.at(reading.clock())
        shadow = Replica(one.seed, one.key, self.history)
        shadow.document, shadow.has = document, past
        shadow.check()

    def do_evict(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """It is loaded from its snapshot at the stable cut and what came after it."""
        cut = self.history_below(one)
        if not cut:
            return
        self.restore(one, self.snapshot_at(one, cut), one, cut)
        self.check(one, chance)

    def do_compact(self, one: Replica, other: Replica, chance: random.Random) -> None:
        cut = self.history_below(one)
        if not cut:
            return
        before = one.document.clock()
        snapshot = one.document.compact(Reading(self.history, cut).clock())
        expected = self.seen.setdefault(cut, snapshot)
        assert snapshot == expected, "another snapshot of the same cut"
        assert one.document.clock() == before
        one.cut = cut
        self.check(one, chance)

    def do_fork(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """Somebody restores an old copy of a replica and goes on with its key."""
        if self.forks >= FORKS_MAX or one.cut:
            return
        self.forks += 1
        liar = Replica(one.seed, one.key, self.history)
        for sent in one.own[: chance.randrange(len(one.own) + 1)]:
            liar.receive(sent.pack, sent.cids)
            liar.own.append(sent)
        self.replicas.append(liar)
        self.check(liar, chance)

    def do_rejoin(self, one: Replica, other: Replica, chance: random.Random) -> None:
        """From beyond the cut: the snapshot of another, then its own writes once more."""
        if not other.cut or other.cut <= one.has:
            return
        self.restore(one, self.snapshot_at(other, other.cut), other, other.cut)
        self.note(one.transact([call(chance) for _ in range(2)]))
        self.check(one, chance)

    def history_below(self, one: Replica) -> frozenset[bytes]:
        """The stable cut, which both must find."""
        cut = one.reading().stable(self.keys) | one.cut
        stable = one.document.stable(self.keys)
        assert stable == Reading(self.history, cut).clock(), "another stable cut"
        return cut

    def snapshot_at(self, one: Replica, cut: frozenset[bytes]) -> bytes:
        snapshot = one.document.at(Reading(self.history, cut).clock()).snapshot()
        assert snapshot == self.seen.setdefault(cut, snapshot), "another snapshot of a cut"
        return snapshot

    def reload(self, one: Replica, source: Replica) -> None:
        exported = source.document.delta(None)
        fresh = Replica(one.seed, one.key, self.history)
        fresh.receive(exported, source.has)
        one.document, one.has, one.waiting, one.cut = fresh.document, fresh.has, set(), source.cut

    def restore(
        self, one: Replica, snapshot: bytes, source: Replica, cut: frozenset[bytes]
    ) -> None:
        document = _core.CrdtDocument.load(snapshot, replica=one.key, hash_key=HASH_KEY)
        delta = source.document.delta(document.clock())
        has = set(source.has)
        one.document, one.has, one.waiting, one.cut = document, set(cut), set(), cut
        one.receive(delta, has)

    def settle(self) -> None:
        """Everybody hears of everything: all end with the same bytes, liars or not."""
        for _ in range(2):
            for one in self.replicas:
                for other in self.replicas:
                    if other is not one:
                        self.pull(one, other)
        for one in self.replicas:
            self.check(one, random.Random(0))


@dataclass
class Failure(Exception):
    """A program that shows a difference, as short as was found."""

    count: int
    steps: list[Step]
    why: str

    def __reduce__(self) -> tuple[type[Failure], tuple[int, list[Step], str]]:
        return Failure, (self.count, self.steps, self.why)

    def __str__(self) -> str:
        lines = [f"{self.count} replicas, {len(self.steps)} steps:"]
        lines += [f"  {step}" for step in self.steps]
        return "\n".join([*lines, self.why])


def difference(count: int, steps: Iterable[Step], done: Counter[str]) -> str:
    """Run a program; what differed, or nothing."""
    world = World(count)
    try:
        for step in steps:
            world.run(step)
            done[step.name] += 1
        world.settle()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 a panic of the core is no Exception
        return traceback.format_exc(limit=-4)
    done["operations"] += len(world.history.applied)
    done["states"] += len(world.states)
    return ""


def shrunk(count: int, steps: list[Step]) -> list[Step]:
    """Steps are left out for as long as what remains shows a difference."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            if difference(count, fewer, Counter()):
                steps = fewer
            else:
                at += size
        size //= 2
    return steps


def episode(seed: int) -> Counter[str]:
    """A program of its own for each seed. Raises `Failure`, shrunk."""
    count = 2 + seed % 4
    steps = program(seed, LENGTH)
    done: Counter[str] = Counter()
    if difference(count, steps, done):
        steps = shrunk(count, steps)
        raise Failure(count, steps, difference(count, steps, Counter()))
    return done


def episodes(steps: int, seed: int, processes: int) -> Iterator[Counter[str]]:
    seeds = range(seed, seed + -(-steps // LENGTH))
    if processes == 1:
        yield from map(episode, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(episode, seeds, chunksize=4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="one process, no count of progress")
    options = parser.parse_args()
    begun = time.perf_counter()
    total: Counter[str] = Counter()
    processes = 1 if options.plain else os.cpu_count() or 1
    try:
        for done in episodes(options.steps, options.seed, processes):
            total += done
    except Failure as failure:
        print(failure)
        return 1
    steps = sum(count for name, count in total.items() if name not in ("operations", "states"))
    for name, count in total.most_common():
        print(f"{count:10,} {name}")
    took = time.perf_counter() - begun
    print(f"{steps:10,} steps without a difference, {took:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
