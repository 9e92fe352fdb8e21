"""Records and commits in another order, in another chain, again, and under another key."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from qflow import _core
from tests.attacks import forge
from tests.attacks.attack import Power
from tests.attacks.changes import segments
from tests.attacks.forge import RECORD, Item, Journal, Signer
from tests.attacks.honest import ORIGIN, Honest, key_of
from tests.attacks.trial import on_log

REORDER, SPLICE, SIGN, REPLAY = "reordered", "spliced", "signed by another", "replayed"


def decoded(record: bytes) -> dict[str, Any]:
    return _core.decode_record(record)


def encoded(fields: dict[str, Any]) -> bytes:
    """The canonical bytes of a record, whatever it says."""
    return _core.encode(fields)


def places(journal: Journal) -> list[tuple[list[Item], int]]:
    """Where each record is."""
    return [
        (commit.items, number)
        for commit in journal.commits
        for number, item in enumerate(commit.items)
        if item.kind == RECORD
    ]


def replace(place: tuple[list[Item], int], record: bytes) -> None:
    items, number = place
    items[number] = Item(RECORD, record)


def record_at(place: tuple[list[Item], int]) -> bytes:
    items, number = place
    return items[number].data


def relink(journal: Journal) -> None:
    """Make every chain fit together again: numbers and hashes, from the first record on."""
    heads: dict[bytes, tuple[int, bytes]] = {}
    for place in places(journal):
        fields = decoded(record_at(place))
        seq, prev = heads.get(fields["chain"], (0, bytes(32)))
        if (fields["seq"], fields["prev"]) != (seq, prev):
            replace(place, encoded({**fields, "seq": seq, "prev": prev}))
        heads[fields["chain"]] = seq + 1, _core.record_hash(record_at(place))


def swap(chance: random.Random, list_: list[Any], apart: int = 1) -> None:
    at = chance.randrange(len(list_) - apart)
    list_[at], list_[at + apart] = list_[at + apart], list_[at]


@on_log("two frames swapped as they lie", family=REORDER, claims=["H3"])
def swap_frames(honest: Honest, chance: random.Random, folder: Path) -> None:
    files = [file for file in segments(folder) if len(frames_of(file)) > 1]
    file = chance.choice(files)
    data, found = file.read_bytes(), frames_of(file)
    swap(chance, found)
    moved = b"".join(data[at : at + forge.padded(length)] for at, length in found)
    file.write_bytes(data[: forge.BLOCK] + moved + data[forge.BLOCK + len(moved) :])


def frames_of(file: Path) -> list[tuple[int, int]]:
    return list(forge.frames(file.read_bytes()))


@on_log("two commits swapped, laid out anew", family=REORDER, claims=["H3"])
def swap_commits(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: swap(chance, journal.commits))


def swap_records(journal: Journal, chance: random.Random, same_chain: bool) -> None:
    """Two neighbours in one commit, of one chain or of two."""
    pairs = []
    for commit in journal.commits:
        numbers = [n for n, item in enumerate(commit.items) if item.kind == RECORD]
        for first, second in pairwise(numbers):
            one, two = (decoded(commit.items[n].data)["chain"] for n in (first, second))
            if (one == two) is same_chain:
                pairs.append((commit.items, first, second))
    items, first, second = chance.choice(pairs)
    items[first], items[second] = items[second], items[first]


@on_log("two records of one chain in a frame", family=REORDER, claims=["H3"])
def swap_in_chain(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: swap_records(journal, chance, same_chain=True))


@on_log("two records of different chains in a frame", family=REORDER, claims=["H3"])
def swap_across_chains(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: swap_records(journal, chance, same_chain=False))


def splice(
    journal: Journal, chance: random.Random, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """One record says something else, and every later record of its chain is hashed anew."""
    place = chance.choice(places(journal))
    fields = decoded(record_at(place))
    while (changed := change(fields)) == fields:
        place = chance.choice(places(journal))
        fields = decoded(record_at(place))
    replace(place, encoded(changed))
    relink(journal)


def other_subnet(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "subnet": "beta" if fields["subnet"] == "alpha" else "alpha"}


def other_epoch(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "epoch": fields["epoch"] + 1}


def other_actor(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "actor": "somebody else"}


def into_chain(journal: Journal, chance: random.Random, same_subnet: bool | None) -> None:
    """A record of one chain takes the place of one of another, numbers and hashes made to fit."""
    mine, theirs = (chance.choice(places(journal)) for _ in range(2))
    while not _fits(mine, theirs, same_subnet):
        mine, theirs = (chance.choice(places(journal)) for _ in range(2))
    foreign, there = decoded(record_at(theirs)), decoded(record_at(mine))
    if same_subnet is None:
        replace(mine, record_at(theirs))
    else:
        replace(mine, encoded({**foreign, "chain": there["chain"]}))
        relink(journal)


def _fits(
    mine: tuple[list[Item], int], theirs: tuple[list[Item], int], same_subnet: bool | None
) -> bool:
    one, two = decoded(record_at(mine)), decoded(record_at(theirs))
    if one["chain"] == two["chain"]:
        return False
    return same_subnet is None or (one["subnet"] == two["subnet"]) is same_subnet


@on_log("a record of another chain, as it is", family=SPLICE, claims=["H17"])
def foreign_record(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: into_chain(journal, chance, None))


@on_log("a record of another chain, its chain hashed anew", family=SPLICE, claims=["H2", "H17"])
def foreign_record_linked(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: into_chain(journal, chance, True))


@on_log("a record of another subnet, hashed anew", family=SPLICE, claims=["H17"])
def foreign_subnet(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: into_chain(journal, chance, False))


@on_log("a record said to be of another subnet", family=SPLICE, claims=["H17"])
def renamed_subnet(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: splice(journal, chance, other_subnet))


@on_log("a record said to be of another epoch", family=SPLICE, claims=["H17"])
def renamed_epoch(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: splice(journal, chance, other_epoch))


@on_log("a record by another actor, all later ones hashed anew", family=SPLICE, claims=["H2"])
def renamed_actor(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: splice(journal, chance, other_actor))


@on_log(
    "a record that was not published when the node was killed, hashed anew",
    family=SPLICE,
    claims=["H1", "H2"],
    source="crashed",
)
def unpublished(honest: Honest, chance: random.Random, folder: Path) -> None:
    """Tiles and checkpoint say nothing of it: the heads in the journal do."""
    journal = forge.read_journal(folder)
    size = int((folder / "checkpoint").read_bytes().split(b"\n")[1])
    later = places(journal)[size:]
    place = chance.choice(later)
    replace(place, encoded(other_actor(decoded(record_at(place)))))
    relink(journal)
    forge.write_journal(folder, journal)


@on_log("a commit of another log with the same name", family=SPLICE, claims=["H17"])
def foreign_commit(honest: Honest, chance: random.Random, folder: Path) -> None:
    other = forge.read_journal(honest.other)

    def change(journal: Journal) -> None:
        at = chance.randrange(min(len(journal.commits), len(other.commits)))
        journal.commits[at] = other.commits[at]

    forge.rewrite(folder, change)


@on_log("the checkpoint of another log with the same name", family=SPLICE, claims=["H17"])
def foreign_checkpoint(honest: Honest, chance: random.Random, folder: Path) -> None:
    (folder / "checkpoint").write_bytes((honest.other / "checkpoint").read_bytes())


def change_anything(journal: Journal, chance: random.Random) -> None:
    splice(journal, chance, other_actor)


def stranger(honest: Honest) -> Signer:
    return Signer(ORIGIN, key_of(honest.seed, of="stranger"))


@on_log("all heads, by a stranger", family=SIGN, claims=["H5", "H6", "H17"])
def signed_by_stranger(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: change_anything(journal, chance), stranger(honest))


@on_log("all heads, by a stranger who keeps the log's id", family=SIGN, claims=["H5", "H17"])
def signed_by_stranger_same_id(honest: Honest, chance: random.Random, folder: Path) -> None:
    journal = forge.read_journal(folder)
    mine = journal.log_id
    change_anything(journal, chance)
    forge.resign(journal, stranger(honest))
    journal.log_id = mine
    forge.publish(folder, journal)


@on_log(
    "all heads, by a later key of the same node", family=SIGN, power=Power.OLD_KEY, claims=["H17"]
)
def signed_by_newer_key(honest: Honest, chance: random.Random, folder: Path) -> None:
    newer = Signer(ORIGIN, key_of(honest.seed, of="newer"))
    forge.rewrite(folder, lambda journal: change_anything(journal, chance), newer)


@on_log(
    "some heads in the middle, nothing else changed, by a later key",
    family=SIGN,
    power=Power.OLD_KEY,
    claims=["H17"],
)
def signed_by_newer_key_from(honest: Honest, chance: random.Random, folder: Path) -> None:
    journal = forge.read_journal(folder)
    kept, last = journal.log_id, journal.commits[-1].head
    start = chance.randrange(len(journal.commits) - 1)
    forge.resign(journal, Signer(ORIGIN, key_of(honest.seed, of="newer")), start)
    journal.log_id, journal.commits[-1].head = kept, last
    forge.publish(folder, journal)


@on_log(
    "all heads, by an earlier key of the same node",
    family=SIGN,
    power=Power.OLD_KEY,
    claims=["H17"],
)
def signed_by_older_key(honest: Honest, chance: random.Random, folder: Path) -> None:
    older = Signer(ORIGIN, key_of(honest.seed, of="older"))
    forge.rewrite(folder, lambda journal: change_anything(journal, chance), older)


@on_log("heads without their signature lines", family=SIGN, claims=["H5"])
def unsigned(honest: Honest, chance: random.Random, folder: Path) -> None:
    journal = forge.read_journal(folder)
    for commit in journal.commits[chance.randrange(len(journal.commits) - 1) : -1]:
        commit.head = commit.head.partition(b"\n\n")[0] + b"\n\n"
    forge.publish(folder, journal)


@on_log("heads that carry the signatures of other heads", family=SIGN, claims=["H6"])
def signatures_moved(honest: Honest, chance: random.Random, folder: Path) -> None:
    journal = forge.read_journal(folder)
    one, two = chance.sample(journal.commits, 2)
    text, other = (commit.head.partition(b"\n\n") for commit in (one, two))
    one.head = b"".join((*text[:2], other[2]))
    forge.publish(folder, journal)


@on_log("an old frame put at the end as it is", family=REPLAY, claims=["H17"])
def replay_frame(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(segments(folder))
    data, last = file.read_bytes(), segments(folder)[-1]
    at, length = chance.choice(frames_of(file))
    end = max(start + forge.padded(count) for start, count in frames_of(last))
    room = last.read_bytes()
    if end + forge.padded(length) > len(room):
        last = last.with_name(f"{int(last.name) + 1:010}")
        room, end = bytes(len(room)), forge.BLOCK
    frame = data[at : at + forge.padded(length)]
    last.write_bytes(room[:end] + frame + room[end + len(frame) :])


@on_log("an old commit at the end, laid out anew", family=REPLAY, claims=["H17"])
def replay_commit(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: journal.commits.append(chance.choice(journal.commits)))


@on_log("an old commit at the end, its head that of the last", family=REPLAY, claims=["H17"])
def replay_commit_head(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        old, last = chance.choice(journal.commits), journal.commits[-1]
        journal.commits.append(forge.Commit(list(old.items), last.head))

    forge.rewrite(folder, change)
