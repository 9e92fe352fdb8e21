"""Pruning as laundering: the front of a log is gone, and something says that this is in order."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qflow import _core
from tests.attacks import forge
from tests.attacks.attack import Power
from tests.attacks.changes import flip
from tests.attacks.holders import OUTSIDE
from tests.attacks.honest import AT_MS, GENESIS, ORIGIN, SEGMENT_BYTES, Execution, Honest
from tests.attacks.orders import other_actor, relink, splice
from tests.attacks.trial import on_log

PRUNED = "pruned"
TYPE = "q.qflow.history.pruned.v1"
Carried = list[tuple[bytes, int, bytes]]
Lie = Callable[[Carried], Carried]


def true(carried: Carried) -> Carried:
    return carried


def open_log(honest: Honest, folder: Path) -> _core.Log:
    return _core.Log(
        str(folder), origin=ORIGIN, seed=honest.signer.seed, segment_bytes=SEGMENT_BYTES
    )


def record_pruning(log: _core.Log, segment: int, lie: Lie = true, **other: Any) -> int:
    """Append the record of a pruning before a segment, on the node's own chain; its index."""
    first = {number: first for number, first, _ in log.segments}[segment]
    lists = _core.encode([list(chain) for chain in lie(log.survey(segment))])
    cid = _core.cid_of(lists)
    says = {"segment": segment, "minimum": first, "head": log.head, "reason": "old"}
    payload = {**says, "carried": [cid], **other}
    records, blocks, _ = _core.encode_records(
        b"own chain of it.",
        0,
        GENESIS,
        "node",
        AT_MS,
        "ann",
        "node",
        "alpha",
        0,
        [(TYPE, None, None, (payload,), {})],
    )
    return log.append_durable(records, [*blocks, (bytes(cid), lists)])


def a_segment(log: _core.Log, chance: random.Random) -> int:
    """One before which something goes and after which something stays."""
    return int(chance.choice(log.segments[1:-1])[0])


def prune(honest: Honest, chance: random.Random, folder: Path) -> None:
    """Truly, as a node does."""
    log = open_log(honest, folder)
    record = record_pruning(log, a_segment(log, chance))
    log.prune(record)
    log.close()


def recorded(
    honest: Honest, chance: random.Random, folder: Path, lie: Lie = true, **other: Any
) -> tuple[int, int]:
    """Write a record of a pruning, and prune nothing: its segment and its index."""
    log = open_log(honest, folder)
    segment = a_segment(log, chance)
    record = record_pruning(log, segment, lie, **other)
    log.close()
    return segment, record


def launder(folder: Path, segment: int, record: int) -> None:
    """Cut by hand, and make the file that says where the log begins and by which record."""
    journal = forge.read_journal(folder)
    minimum, address = place_of(folder, segment), address_of(folder, record)
    data = pruned_file(journal, segment, minimum, record, address)
    (folder / "pruned").write_bytes(data)
    cut_before(folder, segment)


def cut_before(folder: Path, segment: int) -> None:
    for file in (folder / "journal").iterdir():
        if int(file.name) < segment:
            file.unlink()


def place_of(folder: Path, segment: int) -> int:
    """The index of the first record of a segment, from its header."""
    return int.from_bytes((folder / f"journal/{segment:010}").read_bytes()[40:48], "little")


def address_of(folder: Path, record: int) -> int:
    """The address of the frame that holds a record."""
    for file in sorted((folder / "journal").iterdir()):
        data = file.read_bytes()
        for at, _ in forge.frames(data):
            count = int.from_bytes(data[at + 12 : at + 16], "little")
            first = int.from_bytes(data[at + 16 : at + 24], "little")
            if first <= record < first + count:
                return int(file.name) << 32 | at
    raise AssertionError(record)


def pruned_file(
    journal: forge.Journal, segment: int, minimum: int, record: int, address: int
) -> bytes:
    """The file `pruned`, with the partial tiles and the partial bundle at the cut."""
    records = journal.records[:minimum]
    hashes, partials = [forge.leaf_hash(one) for one in records], b""
    while hashes:
        whole = len(hashes) // 256 * 256
        partials += b"".join(hashes[whole:])
        hashes = [forge.Tree(hashes[at : at + 256]).root for at in range(0, whole, 256)]
    partials += forge.bundle(records[minimum // 256 * 256 :])
    numbers = b"".join(one.to_bytes(8, "little") for one in (segment, minimum, record, address))
    rest = (1).to_bytes(4, "little") + journal.log_id + numbers + partials
    return b"QFLOWPRN" + forge.crc32c(rest) + rest


@on_log("the front, without a word", family=PRUNED, claims=["H3", "H21"])
def front(honest: Honest, chance: random.Random, folder: Path) -> None:
    cut_before(folder, chance.randint(1, 2))


@on_log("the front, by a record that is none of a pruning", family=PRUNED, claims=["H3", "H21"])
def no_pruning(honest: Honest, chance: random.Random, folder: Path) -> None:
    launder(folder, chance.randint(1, 2), honest.size - 1 - chance.randrange(20))


@on_log("more than the record says", family=PRUNED, claims=["H3", "H21"])
def deeper(honest: Honest, chance: random.Random, folder: Path) -> None:
    log = open_log(honest, folder)
    record = record_pruning(log, 1)
    log.close()
    launder(folder, 2, record)


@on_log("the file that says so taken away", family=PRUNED, claims=["H21"])
def no_file(honest: Honest, chance: random.Random, folder: Path) -> None:
    prune(honest, chance, folder)
    (folder / "pruned").unlink()


@on_log("one byte changed in the file that says so", family=PRUNED, claims=["H1", "H21"])
def file_changed(honest: Honest, chance: random.Random, folder: Path) -> None:
    prune(honest, chance, folder)
    file = folder / "pruned"
    flip(file, chance.randrange(file.stat().st_size), chance)


@on_log("the partial tiles at the cut, checksum repaired", family=PRUNED, claims=["H1", "H21"])
def file_repaired(honest: Honest, chance: random.Random, folder: Path) -> None:
    prune(honest, chance, folder)
    file = folder / "pruned"
    data = bytearray(file.read_bytes())
    data[chance.randrange(56, len(data))] ^= chance.randint(1, 255)
    data[8:12] = forge.crc32c(bytes(data[12:]))
    file.write_bytes(data)


@on_log("a hash tile of what was pruned, changed", family=PRUNED, claims=["H1", "H21"])
def tile_changed(honest: Honest, chance: random.Random, folder: Path) -> None:
    # So far that a whole tile lies before the cut.
    log = open_log(honest, folder)
    record = record_pruning(log, log.segments[-2][0])
    log.prune(record)
    log.close()
    file = folder / "tile" / "0" / "000"
    flip(file, chance.randrange(file.stat().st_size), chance)


def lied(name: str, lie: Lie, alone: str = "INVALID", note: str = "", **other: Any) -> None:
    """A signed record of a pruning that is not true, and the cut made by hand."""

    @on_log(name, family=PRUNED, power=Power.KEY, claims=["H21"], alone=alone, note=note)
    def make(honest: Honest, chance: random.Random, folder: Path) -> None:
        segment, record = recorded(honest, chance, folder, lie, **other)
        launder(folder, segment, record)


lied("by a signed record that leaves out a chain", lambda carried: carried[1:])
lied("by a signed record that names no chain", lambda _: [])
lied(
    "by a signed record with another number in a chain",
    lambda carried: [(carried[0][0], carried[0][1] + 1, carried[0][2]), *carried[1:]],
)
lied(
    "by a signed record with another hash in a chain",
    lambda carried: [(carried[0][0], carried[0][1], GENESIS), *carried[1:]],
)
lied("by a signed record of another minimum", true, minimum=7)
lied("by a signed record with a head that was never signed", true, head="node.example/log\n1\n\n")


lied(
    "by a signed record with a chain too many",
    lambda carried: sorted([*carried, (b"\1" * 16, 3, b"\2" * 32)]),
)


def with_ended(carried: Carried) -> Carried:
    """One chain stands for two: what was its last record is said to be another's too."""
    _, due, last = carried[0]
    return sorted([*carried, (b"\1" * 16, due, last)])


lied(
    "by a signed record with a chain too many, which ends in a record that was pruned",
    with_ended,
    alone="-",
    note="whose record it was went with it",
)


@on_log(
    "a chain begins again that ended in what was pruned",
    family=PRUNED,
    power=Power.KEY,
    claims=["H21"],
    alone="-",
    note="that it ended went with it; who has its receipts knows",
)
def again(honest: Honest, chance: random.Random, folder: Path) -> None:
    log = open_log(honest, folder)
    # The last cut: what is before it has ends.
    segment = log.segments[-2][0]
    record = record_pruning(log, segment)
    gone = [_core.decode_record(one) for one in forge.read_journal(folder).records]
    gone = gone[: place_of(folder, segment)]
    ended = next(one["chain"] for one in gone if one["type"] == "q.qflow.exec.completed.v1")
    log.prune(record)
    one = Execution(0)
    one.id = ended
    log.append_durable(*one.next("created"))
    log.close()


@on_log(
    "by a true record",
    family=PRUNED,
    power=Power.KEY,
    claims=["H21"],
    alone="-",
    note="that is what pruning is: the record says how much went, why, and by whom",
)
def true_pruning(honest: Honest, chance: random.Random, folder: Path) -> None:
    prune(honest, chance, folder)


@on_log(
    "another history, signed, then pruned by a true record",
    family=PRUNED,
    power=Power.KEY,
    claims=["H16", "H21"],
    **OUTSIDE,
)
def rewritten(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: forge.Journal) -> None:
        early = forge.Journal(journal.log_id, 0, journal.commits[:6])
        splice(early, chance, other_actor)
        relink(journal)

    forge.rewrite(folder, change, honest.signer)
    prune(honest, chance, folder)
