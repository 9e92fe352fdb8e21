"""What the holder of the log's key does: all is signed, and nothing that is signed need be true."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from qflow import _core
from tests.attacks import forge
from tests.attacks.attack import Power
from tests.attacks.forge import BLOB, RECORD, Commit, Item, Journal
from tests.attacks.honest import ORIGIN, SEGMENT_BYTES, Execution, Honest
from tests.attacks.orders import (
    decoded,
    encoded,
    other_actor,
    places,
    record_at,
    relink,
    replace,
    splice,
    swap_records,
)
from tests.attacks.trial import on_log

FORK, CHAIN = "another history", "chains, signed"
OUTSIDE = {"alone": "-", "known": "DIVERGED", "witness": "DIVERGED"}
Forgery = Callable[[Journal, random.Random], None]


def signed(honest: Honest, folder: Path, change: Callable[[Journal], None]) -> None:
    forge.rewrite(folder, change, honest.signer)


@on_log(
    "an early record, and all that follows signed again",
    family=FORK,
    power=Power.KEY,
    claims=["H16"],
    **OUTSIDE,
)
def rewrite_from_record(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        # Before what the auditor noted; what comes after is a matter of the next attack.
        early = Journal(journal.log_id, 0, journal.commits[:10])
        splice(early, chance, other_actor)
        relink(journal)

    signed(honest, folder, change)


@on_log(
    "one execution left out of a signed history",
    family=FORK,
    power=Power.KEY,
    claims=["H16"],
    **OUTSIDE,
)
def leave_out_execution(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        victim = decoded(journal.commits[0].records[0])["chain"]
        for commit in journal.commits:
            commit.items = [
                item
                for item in commit.items
                if item.kind == BLOB or decoded(item.data)["chain"] != victim
            ]

    signed(honest, folder, change)


@on_log(
    "the order of two executions changed", family=FORK, power=Power.KEY, claims=["H16"], **OUTSIDE
)
def reorder_signed(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        early = Journal(journal.log_id, 0, journal.commits[:10])
        swap_records(early, chance, same_chain=False)

    signed(honest, folder, change)


@on_log(
    "all of it, from the first record on", family=FORK, power=Power.KEY, claims=["H16"], **OUTSIDE
)
def another_history(honest: Honest, chance: random.Random, folder: Path) -> None:
    shutil.rmtree(folder)
    write(honest, folder, chance, 20)


def write(honest: Honest, folder: Path, chance: random.Random, count: int) -> None:
    """Other executions, through the real `Log`, on what is there."""
    folder.mkdir(exist_ok=True)
    seed = honest.signer.seed
    log = _core.Log(str(folder), origin=ORIGIN, seed=seed, segment_bytes=SEGMENT_BYTES)
    one = Execution(chance.randrange(1 << 60, 1 << 61))
    for number in range(count):
        kind = "created" if number == 0 else "step_completed"
        log.append_durable(*one.next(kind, {"total": chance.getrandbits(30)}))
    log.close()


@on_log("the whole folder put back to an older state", family=FORK, claims=["H16"], **OUTSIDE)
def rollback(honest: Honest, chance: random.Random, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(chance.choice(honest.stages[:1]), folder)


@on_log(
    "put back to a state that is newer than what was noted",
    family=FORK,
    claims=["H16"],
    alone="-",
    known="-",
    witness="DIVERGED",
    note="a head that was noted says nothing of what came after it",
)
def rollback_behind_noted(honest: Honest, chance: random.Random, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(chance.choice(honest.stages[2:]), folder)


@on_log(
    "an older state put back, and the node goes on from it",
    family=FORK,
    power=Power.KEY,
    claims=["H16"],
    **OUTSIDE,
)
def restored_backup(honest: Honest, chance: random.Random, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(honest.stages[0], folder)
    write(honest, folder, chance, chance.randint(1, 300))


@on_log(
    "two writers on one key, this one's log",
    family=FORK,
    power=Power.KEY,
    claims=["H16"],
    alone="-",
    known="-",
    witness="DIVERGED",
    note="a head noted before they parted is in both",
)
def two_writers(honest: Honest, chance: random.Random, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(honest.stages[-1], folder)
    write(honest, folder, chance, chance.randint(1, 60))


@on_log("two heads of one size", family=FORK, power=Power.KEY, claims=["H16"], **OUTSIDE)
def two_heads(honest: Honest, chance: random.Random, folder: Path) -> None:
    """The very sizes that were published, over other records."""

    def change(journal: Journal) -> None:
        commit = chance.choice(journal.commits[:10])
        number = next(n for n, item in enumerate(commit.items) if item.kind == RECORD)
        fields = decoded(commit.items[number].data)
        commit.items[number] = Item(RECORD, encoded({**fields, "at": fields["at"] + 1}))
        relink(journal)

    signed(honest, folder, change)


@on_log(
    "a record changed in its chain, signed, later links not",
    family=CHAIN,
    power=Power.KEY,
    claims=["H2"],
)
def unlinked(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        place = chance.choice(going_on(journal))
        replace(place, encoded(other_actor(decoded(record_at(place)))))

    signed(honest, folder, change)


def going_on(journal: Journal) -> list[tuple[list[Item], int]]:
    """Where there are records that another one of their chain follows."""
    followed = {decoded(record)["prev"] for record in journal.records}
    return [p for p in places(journal) if _core.record_hash(record_at(p)) in followed]


def forged(name: str, *claims: str, **rest: str) -> Callable[[Forgery], Forgery]:
    """An attack on the chains of a log whose heads are all signed again."""

    def enter(change: Forgery) -> Forgery:
        @on_log(name, family=CHAIN, power=Power.KEY, claims=claims, **rest)
        def make(honest: Honest, chance: random.Random, folder: Path) -> None:
            signed(honest, folder, lambda journal: change(journal, chance))

        return change

    return enter


@forged("a record left out: a gap in seq", "H3")
def gap(journal: Journal, chance: random.Random) -> None:
    items, number = chance.choice(going_on(journal))
    del items[number]


@forged("a number left out, all links made to fit", "H3")
def skipped_number(journal: Journal, chance: random.Random) -> None:
    items, number = chance.choice(going_on(journal))
    chain = decoded(items[number].data)["chain"]
    prev, seen = bytes(32), False
    for place in places(journal):
        fields = decoded(record_at(place))
        if fields["chain"] == chain:
            replace(place, encoded({**fields, "seq": fields["seq"] + seen, "prev": prev}))
            prev = _core.record_hash(record_at(place))
            seen = seen or place == (items, number)


@forged("a record twice: two of one seq", "H17")
def twice(journal: Journal, chance: random.Random) -> None:
    items, number = chance.choice(places(journal))
    items.insert(number, items[number])


@forged("another record with the seq of one before", "H17")
def same_seq(journal: Journal, chance: random.Random) -> None:
    items, number = chance.choice(places(journal))
    items.insert(number + 1, Item(RECORD, encoded(other_actor(decoded(items[number].data)))))


@forged("an old commit again at the end", "H17")
def again(journal: Journal, chance: random.Random) -> None:
    old = chance.choice(journal.commits)
    journal.commits.append(Commit(list(old.items), b""))


@forged("the first record of a chain in its middle", "H17")
def first_again(journal: Journal, chance: random.Random) -> None:
    firsts = [p for p in places(journal) if decoded(record_at(p))["seq"] == 0]
    later = [p for p in places(journal) if decoded(record_at(p))["seq"] > 0]
    first = record_at(chance.choice(firsts))
    chain = decoded(first)["chain"]
    replace(chance.choice([p for p in later if decoded(record_at(p))["chain"] == chain]), first)


@forged("a record after the end of its chain", "H17")
def after_end(journal: Journal, chance: random.Random) -> None:
    last = record_at(chance.choice(ends(journal)))
    fields = decoded(last)
    more = {**fields, "seq": fields["seq"] + 1, "prev": _core.record_hash(last)}
    journal.commits[-1].items.append(Item(RECORD, encoded({**more, "type": STEP})))


@forged("a second chain with the id of one that has ended", "H17")
def second_chain(journal: Journal, chance: random.Random) -> None:
    fields = decoded(record_at(chance.choice(ends(journal))))
    again = {**fields, "type": "q.qflow.exec.created.v1", "seq": 0, "prev": bytes(32)}
    journal.commits[-1].items.append(Item(RECORD, encoded(again)))


STEP = "q.qflow.exec.step_completed.v1"


def ends(journal: Journal) -> list[tuple[list[Item], int]]:
    """Where chains end."""
    kind = "q.qflow.exec.completed.v1"
    return [place for place in places(journal) if decoded(record_at(place))["type"] == kind]


@forged("a chain that begins in its middle", "H3")
def no_beginning(journal: Journal, chance: random.Random) -> None:
    firsts = [p for p in going_on(journal) if decoded(record_at(p))["seq"] == 0]
    items, number = chance.choice(firsts)
    del items[number]


@forged("an entry that is no record", "H18")
def no_record(journal: Journal, chance: random.Random) -> None:
    items = chance.choice(journal.commits).items
    items.insert(0, Item(RECORD, chance.randbytes(chance.randint(1, 400))))


@forged("a record that is not in canonical form", "H18")
def not_canonical(journal: Journal, chance: random.Random) -> None:
    """The version as a number of two bytes: the same value, another spelling."""
    last = journal.commits[-1]
    one = Execution(chance.randrange(1 << 60, 1 << 61))
    [record], _ = one.next("created")
    at = record.index(b"\x61v\x01")
    last.items.append(Item(RECORD, record[:at] + b"\x61v\x18\x01" + record[at + 3 :]))


@forged("a block with the CID of another", "H17")
def wrong_cid(journal: Journal, chance: random.Random) -> None:
    blocks = [(c.items, n) for c in journal.commits for n, i in enumerate(c.items) if i.kind]
    (items, number), (others, other) = chance.sample(blocks, 2)
    data, foreign = items[number].data, others[other].data
    head = data[0] + 1
    items[number] = Item(BLOB, data[:head] + foreign[foreign[0] + 1 :] + b"!")
