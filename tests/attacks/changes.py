"""One byte changed, and parts cut away."""

from __future__ import annotations

import random
from pathlib import Path

from tests.attacks import forge
from tests.attacks.forge import BLOB, RECORD, Item, Journal
from tests.attacks.honest import Honest
from tests.attacks.trial import on_log

CHANGE, CUT = "one byte changed", "cut"


def flip(file: Path, at: int, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= chance.randint(1, 255)
    file.write_bytes(data)


def flip_in(file: Path, needle: bytes, chance: random.Random) -> None:
    """Change one byte of a part of a file."""
    at = file.read_bytes().index(needle)
    flip(file, at + chance.randrange(len(needle)), chance)


def segments(folder: Path) -> list[Path]:
    """Those with frames; the last file is laid out ahead, and zeros."""
    found = sorted((folder / "journal").iterdir())
    return [file for file in found if file.read_bytes().startswith(b"QFLOWSEG")]


def segment_with(folder: Path, needle: bytes) -> Path:
    return next(file for file in segments(folder) if needle in file.read_bytes())


def some_item(folder: Path, chance: random.Random, kind: int) -> bytes:
    commits = forge.read_journal(folder).commits
    return chance.choice(
        [item.encoded for commit in commits for item in commit.items if item.kind == kind]
    )


@on_log("in a record", family=CHANGE, claims=["H1"])
def in_record(honest: Honest, chance: random.Random, folder: Path) -> None:
    item = some_item(folder, chance, RECORD)
    flip_in(segment_with(folder, item), item[9:], chance)


@on_log("in a block", family=CHANGE, claims=["H1"])
def in_block(honest: Honest, chance: random.Random, folder: Path) -> None:
    item = some_item(folder, chance, BLOB)
    flip_in(segment_with(folder, item), item[9:], chance)


@on_log("in a head of the journal", family=CHANGE, claims=["H1"])
def in_head(honest: Honest, chance: random.Random, folder: Path) -> None:
    head = chance.choice(forge.read_journal(folder).commits).head
    flip_in(segment_with(folder, head), head, chance)


@on_log("in a segment's header", family=CHANGE, claims=["H1"])
def in_segment(honest: Honest, chance: random.Random, folder: Path) -> None:
    flip(chance.choice(segments(folder)), chance.randrange(forge.BLOCK), chance)


@on_log("in the zeros between frames", family=CHANGE, claims=["H1"])
def in_padding(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(segments(folder))
    at, length = chance.choice(list(forge.frames(file.read_bytes())))
    flip(file, chance.randrange(at + length, at + forge.padded(length)), chance)


@on_log("in the segment that is laid out ahead", family=CHANGE, claims=["H1"])
def in_prepared(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = max((folder / "journal").iterdir())
    if file in segments(folder):
        file = file.with_name(f"{int(file.name) + 1:010}")
        file.write_bytes(bytes(honest.segment_bytes))
    flip(file, chance.randrange(honest.segment_bytes), chance)


@on_log("in a tile", family=CHANGE, claims=["H1"])
def in_tile(honest: Honest, chance: random.Random, folder: Path) -> None:
    tiles = [file for file in (folder / "tile").rglob("*") if file.is_file()]
    file = chance.choice(sorted(file for file in tiles if "entries" not in file.parts))
    flip(file, chance.randrange(file.stat().st_size), chance)


@on_log("in an entry bundle", family=CHANGE, claims=["H1"])
def in_bundle(honest: Honest, chance: random.Random, folder: Path) -> None:
    bundles = [file for file in (folder / "tile" / "entries").rglob("*") if file.is_file()]
    file = chance.choice(sorted(bundles))
    flip(file, chance.randrange(file.stat().st_size), chance)


@on_log("in the checkpoint", family=CHANGE, claims=["H1"])
def in_checkpoint(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = folder / "checkpoint"
    flip(file, chance.randrange(file.stat().st_size), chance)


def change_record(journal: Journal, chance: random.Random) -> None:
    """Another record in the place of one, with a good checksum."""
    commit = chance.choice(journal.commits)
    number = chance.choice([n for n, item in enumerate(commit.items) if item.kind == RECORD])
    data = bytearray(commit.items[number].data)
    data[chance.randrange(len(data))] ^= chance.randint(1, 255)
    commit.items[number] = Item(RECORD, bytes(data))


@on_log("in a record, checksums and tiles repaired", family=CHANGE, claims=["H1", "H2"])
def in_record_repaired(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: change_record(journal, chance))


def change_block(journal: Journal, chance: random.Random) -> None:
    places = [
        (commit, number)
        for commit in journal.commits
        for number, item in enumerate(commit.items)
        if item.kind == BLOB
    ]
    commit, number = chance.choice(places)
    data = bytearray(commit.items[number].data)
    data[chance.randrange(data[0] + 1, len(data))] ^= chance.randint(1, 255)
    commit.items[number] = Item(BLOB, bytes(data))


@on_log("in a block, checksums repaired", family=CHANGE, claims=["H1"])
def in_block_repaired(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, lambda journal: change_block(journal, chance))


@on_log("a stretch of bytes out of a segment", family=CUT, claims=["H3"])
def cut_bytes(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(segments(folder))
    data, (at, length) = file.read_bytes(), chance.choice(list(forge.frames(file.read_bytes())))
    start, count = at + chance.randrange(length), chance.randint(1, 4096)
    file.write_bytes(data[:start] + data[start + count :] + bytes(count))


@on_log("a frame made zeros", family=CUT, claims=["H3"])
def zero_frame(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(segments(folder))
    data = bytearray(file.read_bytes())
    at, length = chance.choice(list(forge.frames(data)))
    data[at : at + length] = bytes(length)
    file.write_bytes(data)


@on_log("a whole segment", family=CUT, claims=["H3"])
def cut_segment(honest: Honest, chance: random.Random, folder: Path) -> None:
    chance.choice(segments(folder)).unlink()


@on_log("the first commits, the rest laid out anew", family=CUT, claims=["H3"])
def cut_first(honest: Honest, chance: random.Random, folder: Path) -> None:
    count = chance.randint(1, 20)
    forge.rewrite(folder, lambda journal: journal.commits.__delitem__(slice(0, count)))


@on_log("a commit in the middle, the rest laid out anew", family=CUT, claims=["H3"])
def cut_middle(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(
        folder, lambda journal: journal.commits.pop(chance.randrange(1, len(journal.commits) - 1))
    )


@on_log("one record, the rest laid out anew", family=CUT, claims=["H3"])
def cut_record(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        items = chance.choice(journal.commits).items
        del items[chance.choice([n for n, item in enumerate(items) if item.kind == RECORD])]

    forge.rewrite(folder, change)


def cut_tail(folder: Path, commits: int) -> Journal:
    journal = forge.read_journal(folder)
    del journal.commits[-commits:]
    forge.publish(folder, journal)
    return journal


@on_log("the last commits, the checkpoint kept", family=CUT, claims=["H3"])
def cut_last(honest: Honest, chance: random.Random, folder: Path) -> None:
    cut_tail(folder, chance.randint(1, 30))
    (folder / "checkpoint").write_bytes(honest.heads[-1])


@on_log(
    "the last commits, and the head before them published",
    family=CUT,
    claims=["H3", "H16"],
    alone="-",
    known="DIVERGED",
    witness="DIVERGED",
)
def cut_last_published(honest: Honest, chance: random.Random, folder: Path) -> None:
    """With the newest head that was cosigned and is still in it."""
    # So many that the head which the auditor noted is cut too; see also `another history`.
    size = len(cut_tail(folder, chance.randint(17, 34)).records)
    for stage in honest.stages:
        note = (stage / "witnessed").read_bytes()
        if int(note.split(b"\n")[1]) <= size:
            (folder / "witnessed").write_bytes(note)


@on_log("the last commits, with a cosigned head of more left there", family=CUT, claims=["H3"],
        alone="DIVERGED")  # fmt: skip
def cut_last_witnessed(honest: Honest, chance: random.Random, folder: Path) -> None:
    note = (folder / "witnessed").read_bytes()
    cut_tail(folder, chance.randint(1, 30))
    (folder / "witnessed").write_bytes(note)


@on_log(
    "commits that were not published when the node was killed",
    family=CUT,
    claims=["H3"],
    source="crashed",
    alone="-",
    note="nobody has seen a head of them",
)
def cut_unpublished(honest: Honest, chance: random.Random, folder: Path) -> None:
    journal = forge.read_journal(folder)
    size = int((folder / "checkpoint").read_bytes().split(b"\n")[1])
    while len(journal.records) > size:
        journal.commits.pop()
    forge.write_journal(folder, journal)


@on_log("the same after the node was stopped", family=CUT, claims=["H3"])
def cut_unpublished_closed(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = segments(folder)[-1]
    data = bytearray(file.read_bytes())
    *_, (at, _) = forge.frames(data)
    data[at:] = bytes(len(data) - at)
    file.write_bytes(data)


@on_log(
    "a payload's block, checksums repaired",
    family=CUT,
    claims=["H3"],
    alone="-",
    note="counted as absent: payloads may be erased; what it was stays proven by its record",
)
def cut_block(honest: Honest, chance: random.Random, folder: Path) -> None:
    def change(journal: Journal) -> None:
        with_block = [c for c in journal.commits if any(i.kind == BLOB for i in c.items)]
        items = chance.choice(with_block).items
        del items[chance.choice([n for n, item in enumerate(items) if item.kind == BLOB])]

    forge.rewrite(folder, change)
