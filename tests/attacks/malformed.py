"""Notes and tiles that are almost right."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.attacks import forge
from tests.attacks.attack import Power
from tests.attacks.changes import segments
from tests.attacks.forge import BLOB, RECORD, Item, Journal
from tests.attacks.honest import Honest
from tests.attacks.trial import on_log

NOTE, TILE, FRAME = "malformed notes", "malformed tiles", "malformed frames"
Spelling = Callable[[Honest, random.Random, bytes], bytes]


def spelled(
    name: str, *, signed: bool = False, accepted: bool = False
) -> Callable[[Spelling], Spelling]:
    """A checkpoint that says the same, or nearly. `signed`: its text was signed as it stands."""

    def enter(change: Spelling) -> Spelling:
        power = Power.KEY if signed else Power.DISK
        verdict = "-" if accepted else "INVALID"

        @on_log(name, family=NOTE, power=power, claims=["H18"], alone=verdict)
        def make(honest: Honest, chance: random.Random, folder: Path) -> None:
            file = folder / "checkpoint"
            note = change(honest, chance, file.read_bytes())
            if signed:
                text = note.partition(b"\n\n")[0] + b"\n"
                note = text + b"\n" + honest.signer.line(text)
            assert note != file.read_bytes()
            file.write_bytes(note)

        return change

    return enter


def lines(note: bytes) -> list[bytes]:
    return note.split(b"\n")


def with_line(note: bytes, number: int, line: bytes) -> bytes:
    parts = lines(note)
    parts[number] = line
    return b"\n".join(parts)


@spelled("CRLF for newlines")
def crlf(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return note.replace(b"\n", b"\r\n")


@spelled("one CRLF, signed", signed=True)
def crlf_signed(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    number = chance.randrange(3)
    return with_line(note, number, lines(note)[number] + b"\r")


@spelled("a size with a leading zero, signed", signed=True)
def leading_zero(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return with_line(note, 1, b"0" * chance.randint(1, 5) + lines(note)[1])


@spelled("a size with a sign or a space, signed", signed=True)
def signed_size(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    size = lines(note)[1]
    return with_line(note, 1, chance.choice([b"+" + size, b"-" + size, b" " + size, size + b" "]))


@spelled("a size of 10^18 and more, signed", signed=True)
def giant_size(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return with_line(note, 1, str(10**18 + chance.randrange(10**19)).encode())


@spelled("no newline at the end")
def no_newline(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return note[:-1]


@spelled("two signatures of its own key")
def two_own(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return note + note.partition(b"\n\n")[2]


@spelled("a root in base 64 with a tail that is not zero, signed", signed=True)
def loose_root(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    """Another spelling of the same bytes."""
    return with_line(note, 2, loose(lines(note)[2], chance))


def loose(text: bytes, chance: random.Random) -> bytes:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip(b"=")
    unused = 2 if len(text) - len(body) == 1 else 4
    at = alphabet.index(body[-1]) + chance.randrange(1, 1 << unused)
    return body[:-1] + alphabet[at : at + 1] + text[len(body) :]


@spelled("a root without its padding, signed", signed=True)
def unpadded_root(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return with_line(note, 2, lines(note)[2].rstrip(b"="))


@spelled("a root of 31 or 33 bytes, signed", signed=True)
def short_root(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    root = base64.b64decode(lines(note)[2])
    return with_line(note, 2, base64.b64encode(chance.choice([root[:-1], root + b"\0"])))


@spelled("a signature in base 64 with white space")
def spaced_signature(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    at = len(note) - chance.randint(2, 80)
    return note[:at] + b" " + note[at:]


@spelled("a hyphen for the dash")
def hyphen(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return note.replace("\u2014".encode(), b"-")


@spelled("another origin above the same signature line")
def other_origin(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return with_line(note, 0, b"node.example/lag")


@spelled("another origin, signed", signed=True)
def other_origin_signed(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return with_line(note, 0, b"node.example/lag")


@spelled("another size, signed", signed=True)
def other_size(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    return with_line(note, 1, str(int(lines(note)[1]) - chance.randint(1, 3)).encode())


@spelled("more than 100 signatures")
def many_signatures(honest: Honest, chance: random.Random, note: bytes) -> bytes:
    stranger = base64.b64encode(chance.randbytes(68)).decode()
    return note + f"\u2014 other.example {stranger}\n".encode() * 100


def tiles(folder: Path) -> list[Path]:
    return sorted(file for file in (folder / "tile").rglob("*") if file.is_file())


@on_log("a partial tile under another width", family=TILE, claims=["H18"])
def other_width(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice([file for file in tiles(folder) if file.parent.name.endswith(".p")])
    file.rename(file.with_name(str(int(file.name) % 255 + 1)))


@on_log("a partial tile more, too wide for the tree", family=TILE, claims=["H18"])
def wider(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice([one for one in tiles(folder) if one.parent.name == "001.p"])
    width = max(int(one.name) for one in file.parent.iterdir())
    file.with_name(str(width + 1)).write_bytes(file.read_bytes() + chance.randbytes(32))


@on_log("bytes after the end of a tile", family=TILE, claims=["H18"])
def trailing(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(tiles(folder))
    file.write_bytes(file.read_bytes() + chance.randbytes(chance.randint(1, 64)))


@on_log("a tile cut short", family=TILE, claims=["H18"])
def shorter(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(tiles(folder))
    file.write_bytes(file.read_bytes()[: -chance.randint(1, 32)])


@on_log("a tile that is missing", family=TILE, claims=["H18"])
def missing(honest: Honest, chance: random.Random, folder: Path) -> None:
    widest = [file for file in tiles(folder) if is_due(file, folder)]
    chance.choice(widest).unlink()


def is_due(file: Path, folder: Path) -> bool:
    """Whether the published tree needs it: not what is left of the head before."""
    size = int((folder / "checkpoint").read_bytes().split(b"\n")[1])
    due = {"000", "001", str(size % 256), str(size // 256)}
    return file.name in due


@on_log("a tile of another log", family=TILE, claims=["H17"])
def foreign(honest: Honest, chance: random.Random, folder: Path) -> None:
    level = chance.choice(("0", "entries"))
    file = Path("tile") / level / "000"
    (folder / file).write_bytes((honest.other / file).read_bytes())


@on_log("a tile whose path is not in its one spelling", family=TILE, claims=["H18"])
def other_path(honest: Honest, chance: random.Random, folder: Path) -> None:
    source = folder / "tile" / "0" / "000"
    name = chance.choice(["0000", "00", "x000/000", "000.p/256", "000.p/0", "-01", "000.p/01"])
    target = folder / "tile" / "0" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


@on_log("a file that no log has", family=TILE, claims=["H18"])
def extra(honest: Honest, chance: random.Random, folder: Path) -> None:
    name = chance.choice(["notes", "journal/9", "journal/0000000099.x", "tile/9x", "tile/64/000"])
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(chance.randbytes(10))


@on_log("a tile above the root", family=TILE, claims=["H18"])
def above(honest: Honest, chance: random.Random, folder: Path) -> None:
    root = forge.Tree([forge.leaf_hash(one) for one in forge.read_journal(folder).records]).root
    target = folder / "tile" / "2" / "000.p" / "1"
    target.parent.mkdir(parents=True)
    target.write_bytes(root)


FRAME_FIELDS = {"length": 8, "records": 12, "first": 16, "address": 24, "blocks": 32, "head": 36}


def field(name: str, field_name: str) -> None:
    """A field of a frame's header that lies, under a good checksum."""

    @on_log(name, family=FRAME, claims=["H18"])
    def make(honest: Honest, chance: random.Random, folder: Path) -> None:
        file = chance.choice(segments(folder))
        data = bytearray(file.read_bytes())
        at, length = chance.choice(list(forge.frames(data)))
        place = at + FRAME_FIELDS[field_name]
        before = int.from_bytes(data[place : place + 4], "little")
        lie = chance.choice([before + 1, max(before - 1, 0), 0, 2**31, 2**32 - 1])
        while lie == before:
            lie = chance.randrange(2**32)
        data[place : place + 4] = lie.to_bytes(4, "little")
        frame = bytes(data[at : at + length])
        data[at + 4 : at + 8] = checksum(frame)
        file.write_bytes(data)


def checksum(frame: bytes) -> bytes:
    """Of a frame whose items are where they were, whatever its header says of them."""
    at, firsts, head = 48, b"", frame.rindex(b"node.example/log\n")
    while at < head:
        firsts += frame[at : at + 8]
        at += 9 + int.from_bytes(frame[at + 4 : at + 8], "little")
    return forge.crc32c(firsts + frame[head:] + frame[8:48])


field("the length of a frame", "length")
field("the number of its records", "records")
field("the index of its first record", "first")
field("the place of a frame", "address")
field("the number of its blocks", "blocks")
field("the length of its head", "head")


@on_log("an item of an unknown kind", family=FRAME, claims=["H18"])
def unknown_kind(honest: Honest, chance: random.Random, folder: Path) -> None:
    item = Item(chance.randrange(2, 256), chance.randbytes(20))
    forge.rewrite(folder, lambda journal: chance.choice(journal.commits).items.append(item))


@on_log("an entry of more than 8,000 bytes, signed", family=FRAME, power=Power.KEY, claims=["H18"])
def giant_record(honest: Honest, chance: random.Random, folder: Path) -> None:
    item = Item(RECORD, chance.randbytes(chance.randint(8001, 20_000)))
    change = partial(append, item=item)
    forge.rewrite(folder, change, honest.signer)


@on_log("an empty entry, signed", family=FRAME, power=Power.KEY, claims=["H18"])
def empty_record(honest: Honest, chance: random.Random, folder: Path) -> None:
    forge.rewrite(folder, partial(append, item=Item(RECORD, b"")), honest.signer)


@on_log("a block without a CID, signed", family=FRAME, power=Power.KEY, claims=["H18"])
def no_cid(honest: Honest, chance: random.Random, folder: Path) -> None:
    data = chance.choice([b"", b"\0", b"\xff", b"\0data", b"\x24" + chance.randbytes(30)])
    forge.rewrite(folder, partial(append, item=Item(BLOB, data)), honest.signer)


def append(journal: Journal, item: Item) -> None:
    journal.commits[-1].items.append(item)


@on_log("a segment under another number", family=FRAME, claims=["H18"])
def renamed_segment(honest: Honest, chance: random.Random, folder: Path) -> None:
    one, two = chance.sample(segments(folder), 2)
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


@on_log("a segment's subtree roots, checksum repaired", family=FRAME, claims=["H18"])
def wrong_subtrees(honest: Honest, chance: random.Random, folder: Path) -> None:
    file = chance.choice(segments(folder)[1:])
    data = bytearray(file.read_bytes())
    data[56 + chance.randrange(32)] ^= chance.randint(1, 255)
    data[8:12] = forge.crc32c(bytes(data[12 : forge.BLOCK]))
    file.write_bytes(data)
