"""Receipts that were tampered with, and cosignatures that are not what they seem."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qflow import _core
from qflow.errors import VerificationError
from tests.attacks import forge
from tests.attacks.attack import NOT_FOUND, Outcome, Power, attack
from tests.attacks.honest import Honest, key_of
from tests.attacks.malformed import loose

RECEIPT, COSIGNED = "receipts", "cosignatures"


@dataclass(frozen=True)
class Receipt:
    """The lines of a receipt (C2SP tlog-proof)."""

    record: bytes
    index: str
    proof: tuple[bytes, ...]
    note: bytes

    @classmethod
    def parse(cls, data: bytes) -> Receipt:
        text, _, note = data.partition(b"\n\n")
        _, extra, index, *proof = text.decode().split("\n")
        record = base64.b64decode(extra.removeprefix("extra "))
        hashes = tuple(base64.b64decode(line) for line in proof)
        return cls(record, index.removeprefix("index "), hashes, note)

    def to_bytes(self) -> bytes:
        extra = base64.b64encode(self.record).decode()
        hashes = [base64.b64encode(line).decode() for line in self.proof]
        lines = ["c2sp.org/tlog-proof@v1", f"extra {extra}", f"index {self.index}", *hashes, "", ""]
        return "\n".join(lines).encode() + self.note


def receipt(honest: Honest, index: int, path: Path | None = None, **given: Any) -> Receipt:
    return Receipt.parse(_core.make_receipt(str(path or honest.closed), index, **given))


def judge(honest: Honest, data: bytes) -> Outcome:
    """What somebody says who has the receipt, the key, and then a policy."""
    alone = check(honest, data, None)
    return Outcome(alone, alone, check(honest, data, honest.policy))


def check(honest: Honest, data: bytes, policy: _core.Policy | None) -> str:
    try:
        proven = _core.check_receipt(data, honest.vkey, policy)
    except VerificationError:
        return "INVALID"
    # Without a policy nothing more than UNANCHORED can be said of a good receipt.
    accepted = "UNANCHORED" if policy is None else "WITNESSED"
    return NOT_FOUND if proven["verdict"] == accepted else str(proven["verdict"])


Tampering = Callable[[Honest, random.Random], bytes | Receipt]


def on_receipt(name: str, family: str = RECEIPT, **rest: Any) -> Callable[[Tampering], Tampering]:
    """Enter an attack on a receipt."""

    def enter(change: Tampering) -> Tampering:
        @attack(name, family=family, **rest)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Outcome:
            forged = change(honest, chance)
            return judge(honest, forged if isinstance(forged, bytes) else forged.to_bytes())

        return change

    return enter


def two(honest: Honest, chance: random.Random) -> tuple[Receipt, Receipt]:
    one, other = chance.sample(range(honest.size), 2)
    return receipt(honest, one), receipt(honest, other)


def one(honest: Honest, chance: random.Random) -> Receipt:
    return receipt(honest, chance.randrange(honest.size))


@on_receipt("one byte changed in a receipt", claims=["H1"])
def one_byte(honest: Honest, chance: random.Random) -> bytes:
    data = bytearray(one(honest, chance).to_bytes())
    # A changed byte in the lines of witnesses is a matter of the policy; see cosignatures.
    end = data.index(b"\n", data.index("\u2014".encode()))
    data[chance.randrange(end)] ^= chance.randint(1, 255)
    return bytes(data)


@on_receipt("a good proof under another record", claims=["H17"])
def other_record(honest: Honest, chance: random.Random) -> Receipt:
    mine, other = two(honest, chance)
    return replace(mine, record=other.record)


@on_receipt("a good record at another index", claims=["H17"])
def other_index(honest: Honest, chance: random.Random) -> Receipt:
    mine, other = two(honest, chance)
    return replace(mine, index=other.index)


@on_receipt("the proof of another record", claims=["H17"])
def other_proof(honest: Honest, chance: random.Random) -> Receipt:
    mine, other = two(honest, chance)
    return replace(mine, proof=other.proof)


@on_receipt("an earlier head of the same log", claims=["H17"])
def earlier_head(honest: Honest, chance: random.Random) -> Receipt:
    witnessed = (chance.choice(honest.stages) / "witnessed").read_bytes()
    return replace(one(honest, chance), note=witnessed)


@on_receipt("another size in the head", claims=["H17"])
def other_size(honest: Honest, chance: random.Random) -> Receipt:
    mine, size = one(honest, chance), str(honest.size).encode()
    changed = str(honest.size - chance.randint(1, 40)).encode()
    return replace(mine, note=mine.note.replace(b"\n" + size + b"\n", b"\n" + changed + b"\n", 1))


@on_receipt("a receipt of another log with the same name", claims=["H17"])
def other_log(honest: Honest, chance: random.Random) -> Receipt:
    return receipt(honest, chance.randrange(100), honest.other)


@on_receipt("a head signed by a stranger over a tree of one record", claims=["H5", "H17"])
def stranger_head(honest: Honest, chance: random.Random) -> Receipt:
    mine = one(honest, chance)
    stranger = forge.Signer(honest.signer.origin, key_of(honest.seed, of="stranger"))
    head = stranger.head(1, forge.leaf_hash(mine.record))
    return Receipt(mine.record, "0", (), head)


@on_receipt("a head without the log's signature, cosigned", claims=["H5"])
def unsigned_head(honest: Honest, chance: random.Random) -> Receipt:
    mine = one(honest, chance)
    text, _, lines = mine.note.partition(b"\n\n")
    return replace(mine, note=text + b"\n\n" + lines.split(b"\n", 1)[1])


@on_receipt("a node of the tree shown as a record", claims=["H17", "H18"])
def inner_node(honest: Honest, chance: random.Random) -> Receipt:
    """What hashes to a node is no leaf: leaves and nodes begin with another byte."""
    mine = receipt(honest, 2 * chance.randrange(honest.size // 2))
    children = b"\1" + forge.leaf_hash(mine.record) + mine.proof[0]
    return Receipt(children, str(int(mine.index) // 2), mine.proof[1:], mine.note)


@on_receipt("a proof with a hash more or less", claims=["H18"])
def wrong_length(honest: Honest, chance: random.Random) -> Receipt:
    mine = one(honest, chance)
    longer = (*mine.proof, chance.randbytes(32))
    return replace(mine, proof=chance.choice([mine.proof[:-1], mine.proof[1:], longer]))


@on_receipt("a proof of 64 hashes and more", claims=["H18"])
def giant_proof(honest: Honest, chance: random.Random) -> Receipt:
    more = tuple(chance.randbytes(32) for _ in range(chance.randint(55, 3000)))
    mine = one(honest, chance)
    return replace(mine, proof=mine.proof + more)


@on_receipt("an index with a leading zero, a sign or beyond the tree", claims=["H18"])
def odd_index(honest: Honest, chance: random.Random) -> Receipt:
    mine = one(honest, chance)
    odd = ["0" + mine.index, "+" + mine.index, "-1", str(honest.size), str(2**64), "", " 1", "1e2"]
    return replace(mine, index=chance.choice(odd))


@on_receipt("CRLF, white space or a missing newline", claims=["H18"])
def odd_lines(honest: Honest, chance: random.Random) -> bytes:
    data = one(honest, chance).to_bytes()
    odd = [
        data.replace(b"\n", b"\r\n"),
        data[:-1],
        b"\n" + data,
        data.replace(b"\nindex", b" index"),
    ]
    return chance.choice(odd)


@on_receipt("a record in base 64 that is not canonical", claims=["H18"])
def odd_base64(honest: Honest, chance: random.Random) -> bytes:
    mine = one(honest, chance)
    while len(mine.record) % 3 == 0:
        mine = one(honest, chance)
    extra = base64.b64encode(mine.record)
    return mine.to_bytes().replace(extra, loose(extra, chance))


@on_receipt(
    "a receipt against a forked head",
    power=Power.KEY,
    claims=["H16"],
    alone="-",
    known="-",
    witness="UNANCHORED",
    note="a receipt is not compared with a known head: that takes the log",
)
def forked_head(honest: Honest, chance: random.Random) -> Receipt:
    mine = one(honest, chance)
    fields = _core.decode_record(mine.record)
    lie = _core.encode({**fields, "actor": "somebody else"})
    return Receipt(lie, "0", (), honest.signer.head(1, forge.leaf_hash(lie)))


# What a receipt carries of witnesses, by a policy that wants two of three.

WITNESSED = {"family": COSIGNED, "alone": "-"}


def bare(honest: Honest, chance: random.Random) -> tuple[Receipt, bytes, list[bytes]]:
    """A receipt whose head nobody cosigned, its text, and the lines of the witnesses."""
    mine = one(honest, chance)
    text, _, lines = mine.note.partition(b"\n\n")
    own, *cosignatures = lines.splitlines(keepends=True)
    note = text + b"\n\n" + own
    return replace(mine, note=note), note, cosignatures


def cosigned(honest: Honest, head: bytes, name: str, seed: bytes, time_s: int) -> bytes:
    return _core.cosign(head, honest.vkey, name, seed, time_s).encode()


TIME_S = 1_750_000_000


@on_receipt("none at all", claims=["H16"], witness="UNANCHORED", **WITNESSED)
def no_cosignature(honest: Honest, chance: random.Random) -> Receipt:
    return bare(honest, chance)[0]


@on_receipt("one where the policy wants two", claims=["H16"], witness="UNANCHORED", **WITNESSED)
def too_few(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    return replace(mine, note=note + chance.choice(lines))


@on_receipt(
    "by witnesses that the policy does not know", claims=["H16"], witness="UNANCHORED", **WITNESSED
)
def unknown_witness(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    for number in range(chance.randint(1, 5)):
        lines.append(cosigned(honest, note, f"w{number}.evil", chance.randbytes(32), TIME_S))
    return replace(mine, note=note + b"".join([lines[0], *lines[3:]]))


@on_receipt(
    "by a stranger under a witness's name", claims=["H16"], witness="UNANCHORED", **WITNESSED
)
def witness_name(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    name = honest.cosigners.names[1].origin
    return replace(
        mine, note=note + lines[0] + cosigned(honest, note, name, chance.randbytes(32), TIME_S)
    )


@on_receipt("the same witness twice", claims=["H16"], witness="INVALID", **WITNESSED)
def same_witness(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    return replace(mine, note=note + lines[0] * 2)


@on_receipt(
    "the same witness at two times",
    power=Power.WITNESS,
    claims=["H16"],
    witness="INVALID",
    **WITNESSED,
)
def same_witness_again(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    w1 = honest.cosigners.names[0]
    again = cosigned(honest, note, w1.origin, w1.seed, TIME_S + chance.randint(1, 9))
    return replace(mine, note=note + lines[0] + again)


@on_receipt("those of an earlier head", claims=["H16"], witness="INVALID", **WITNESSED)
def moved_cosignatures(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, _ = bare(honest, chance)
    earlier = (chance.choice(honest.stages) / "witnessed").read_bytes()
    lines = earlier.partition(b"\n\n")[2].splitlines(keepends=True)
    return replace(mine, note=note + b"".join(lines[1:]))


@on_receipt("another time in them", claims=["H6", "H16"], witness="INVALID", **WITNESSED)
def other_time(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    dash, name, encoded = lines[0].split(b" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[chance.randrange(4, 12)] ^= chance.randint(1, 255)
    lines[0] = b" ".join((dash, name, base64.b64encode(raw) + b"\n"))
    return replace(mine, note=note + b"".join(lines))


@on_receipt(
    "the log's own key as a witness's",
    power=Power.KEY,
    claims=["H16"],
    witness="UNANCHORED",
    **WITNESSED,
)
def own_key(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    own = cosigned(honest, note, honest.signer.origin, honest.signer.seed, TIME_S)
    return replace(mine, note=note + lines[0] + own)


@on_receipt(
    "a witness's key that signed as a log does",
    power=Power.WITNESS,
    claims=["H16"],
    witness="UNANCHORED",
    **WITNESSED,
)
def as_log(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, lines = bare(honest, chance)
    w2 = honest.cosigners.names[1]
    text = note.partition(b"\n\n")[0] + b"\n"
    return replace(mine, note=note + lines[0] + forge.Signer(w2.origin, w2.seed).line(text))


@on_receipt(
    "by one witness and the log's holder, over a forked head",
    power=Power.WITNESS,
    claims=["H16"],
    witness="UNANCHORED",
    **WITNESSED,
)
def one_colludes(honest: Honest, chance: random.Random) -> Receipt:
    return colluding(honest, chance, 1)


@on_receipt(
    "by a quorum of witnesses and the log's holder, over a forked head",
    power=Power.QUORUM,
    claims=["H16"],
    witness="-",
    note="a policy asks for as many as would have to lie together",
    **WITNESSED,
)
def quorum_colludes(honest: Honest, chance: random.Random) -> Receipt:
    return colluding(honest, chance, 2)


def colluding(honest: Honest, chance: random.Random, count: int) -> Receipt:
    forked = forked_head(honest, chance)
    assert isinstance(forked, Receipt)
    note = forked.note
    for name in honest.cosigners.names[:count]:
        note += cosigned(honest, forked.note, name.origin, name.seed, TIME_S)
    return replace(forked, note=note)


@on_receipt(
    "a time in the future",
    power=Power.QUORUM,
    claims=["H16"],
    witness="-",
    note="the time is the witness's word; no clock is asked when a receipt is checked",
    **WITNESSED,
)
def future(honest: Honest, chance: random.Random) -> Receipt:
    mine, note, _ = bare(honest, chance)
    later = TIME_S + 10**9 + chance.randrange(10**9)
    lines = [
        cosigned(honest, note, name.origin, name.seed, later) for name in honest.cosigners.names
    ]
    return replace(mine, note=note + b"".join(lines))


@attack(
    "a policy of one witness sent along",
    family=COSIGNED,
    claims=["H16"],
    alone="-",
    known="-",
    witness="UNANCHORED",
    note="the policy is the auditor's own; one that comes with the log proves nothing",
)
def lower_quorum(honest: Honest, chance: random.Random, folder: Path) -> Outcome:
    mine, note, lines = bare(honest, chance)
    forged = replace(mine, note=note + chance.choice(lines)).to_bytes()
    theirs = _core.Policy(honest.cosigners.policy_text(1))
    assert check(honest, forged, theirs) == NOT_FOUND
    return judge(honest, forged)
