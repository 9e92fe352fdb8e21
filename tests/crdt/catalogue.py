"""The attacks on documents: what a member, a stranger, or somebody on the way can send."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from tests.crdt import packs
from tests.crdt.attacks import Attack, Forge, Forgery, Outcome, Stage, one
from tests.crdt.canonical import Link
from tests.crdt.codec import Raw, number
from tests.crdt.packs import Packer, Signed, sealed
from tests.crdt.replicas import DOC, Author
from tests.crdt.specification import Change, Kind, Operation

MEMBER, STRANGER, WAY = "a member", "a stranger", "who carries it"
REFUSED, KEPT = frozenset({Outcome.REFUSED}), frozenset({Outcome.KEPT, Outcome.EQUAL})
CONTAINED = frozenset({Outcome.WAITS, Outcome.REFUSED})
ATTACKS: list[Attack] = []
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
FLOOD: Final = 5_000


def attack(
    family: str, name: str, power: str, expected: frozenset[Outcome], claims: str = "C15"
) -> Callable[[Forge], Forge]:
    def note(forge: Forge) -> Forge:
        ATTACKS.append(Attack(family, name, power, expected, claims, forge))
        return forge

    return note


def equivocation(name: str) -> Callable[[Forge], Forge]:
    return attack("Two histories of one replica", name, MEMBER, KEPT, "C14")


@equivocation("the same sequence number twice")
def twice(stage: Stage) -> Iterator[Forgery]:
    yield from (one(stage.lie()) for _ in range(2))


@equivocation("three times")
def thrice(stage: Stage) -> Iterator[Forgery]:
    first = stage.lie()
    yield one(first)
    yield from (one(stage.lie(first.change)) for _ in range(3))


@equivocation("in one pack")
def in_one_pack(stage: Stage) -> Iterator[Forgery]:
    yield one(*(stage.lie() for _ in range(4)))


@equivocation("forks of forks")
def forks_of_forks(stage: Stage) -> Iterator[Forgery]:
    level = [stage.lie(), stage.lie()]
    while len(level) < 16:
        yield from map(one, level)
        level = [stage.lie(above.change) for above in level for _ in range(2)]


@equivocation("branches that saw each other")
def branches_meet(stage: Stage) -> Iterator[Forgery]:
    left, right = stage.lie(), stage.lie()
    later = stage.lie(left.change, deps=(right.change.cid,))
    beside = stage.lie(left.change, deps=(later.change.cid,))
    yield from map(one, (left, right, later, beside))


@equivocation("the branch that comes later is sent first")
def later_first(stage: Stage) -> Iterator[Forgery]:
    first = stage.lie()
    second = stage.lie(first.change)
    beside = stage.lie(first.change)
    yield one(second, beside, first)


@equivocation("the same operations under two operation ids")
def two_names(stage: Stage) -> Iterator[Forgery]:
    change = stage.lie().change
    yield from (one(sealed(DOC, change, stage.liar.seed, name)) for name in (b"a", b"b"))


def misplaced(name: str) -> Callable[[Forge], Forge]:
    return attack("A place in the graph that is none", name, MEMBER, REFUSED)


@misplaced("a gap in the sequence")
def gap(stage: Stage) -> Iterator[Forgery]:
    honest = stage.history.changes[stage.heads[0]]
    for seq0 in (1, 5, 2**31, 2**32 - 1):
        yield refused(stage.lie(seq0=seq0))
    author = next(one for one in stage.honest if one.key == honest.replica)
    for seq0 in (0, honest.end - 1, honest.end + 1, 2**32 - 2):
        change = replace(stage.lie(honest, seq0=seq0).change, replica=author.key)
        yield refused(sealed(DOC, change, author.seed))


@misplaced("after a change of somebody else")
def after_another(stage: Stage) -> Iterator[Forgery]:
    for cid in sorted(stage.honest[0].has):
        prev = stage.history.changes[cid]
        yield refused(stage.lie(prev))


@misplaced("names one change twice, or the one before it")
def named_twice(stage: Stage) -> Iterator[Forgery]:
    cid = stage.heads[0]
    yield refused(stage.lie(deps=(cid, cid)))
    yield refused(stage.lie(prev=cid_only(cid), deps=(cid,)))


@misplaced("more operations, names or bytes than there may be")
def too_many(stage: Stage) -> Iterator[Forgery]:
    yield refused(stage.lie(operations=stage.operations(257)))
    yield refused(stage.lie(deps=tuple(stage.chance.randbytes(32) for _ in range(1_025))))
    yield refused(stage.lie(operations=(Operation(Kind.SET, ("k",), "x" * 70_000),)))
    yield refused(stage.lie(operations=(Operation(Kind.SET, ("k",), b"x" * 65_536),)))


@attack("Floods", "names changes that nobody has", MEMBER, CONTAINED)
def unknown(stage: Stage) -> Iterator[Forgery]:
    made = (stage.lie(deps=(stage.chance.randbytes(32),)) for _ in range(FLOOD))
    changes = list(made)
    for at in range(0, FLOOD, 1_000):
        yield one(*changes[at : at + 1_000], sound=False)


@attack("Floods", "the end of a line whose beginning is kept back", MEMBER, CONTAINED)
def beheaded(stage: Stage) -> Iterator[Forgery]:
    line = [stage.lie()]
    for _ in range(FLOOD):
        line.append(stage.lie(line[-1].change))
    for at in range(1, FLOOD, 1_000):
        yield one(*line[at : at + 1_000], sound=False)


@attack("Floods", "much that waits, in bytes", MEMBER, CONTAINED)
def heavy(stage: Stage) -> Iterator[Forgery]:
    for _ in range(30):
        blob = Operation(Kind.SET, ("k",), stage.chance.randbytes(60_000))
        lies = (
            stage.lie(deps=(stage.chance.randbytes(32),), operations=(blob,)) for _ in range(20)
        )
        yield one(*lies, sound=False)


def content(name: str) -> Callable[[Forge], Forge]:
    return attack("Content against the rules", name, MEMBER, REFUSED)


def refused(*changes: Signed) -> Forgery:
    return one(*changes, sound=False)


def at(stage: Stage, *operations: Operation) -> Forgery:
    return refused(stage.lie(operations=operations))


@content("20,000 levels")
def levels(stage: Stage) -> Iterator[Forgery]:
    for depth in (65, 20_000):
        yield at(stage, Operation(Kind.SET, ("k",), Raw(b"\x81" * depth + b"\xf6")))
        yield at(stage, Operation(Kind.SET, ("k",), Raw(b"\xa1\x61k" * depth + b"\xf6")))
        yield at(stage, Operation(Kind.SET, ("k",) * min(depth, 600), 1))


@content("keys that are reserved, empty, absolute or not NFC")
def keys(stage: Stage) -> Iterator[Forgery]:
    for part in ("", ".", "..", "/a", "$where", "e\u0301", "\u212b", "a\0", "a\x7f", "k" * 1_025):
        for path in ((part,), ("a", part), (part, "a")):
            yield at(stage, Operation(Kind.SET, path, 1))


@content("the root replaced, deleted or counted")
def root(stage: Stage) -> Iterator[Forgery]:
    for kind, value in (
        (Kind.SET, 1),
        (Kind.SET_MAP, None),
        (Kind.DELETE, None),
        (Kind.INCREMENT, 1),
        (Kind.APPEND, (1,)),
    ):
        yield at(stage, Operation(kind, (), value))


@content("numbers that are none, links that lead nowhere")
def numbers(stage: Stage) -> Iterator[Forgery]:
    values: list[Any] = [float("nan"), float("inf"), -float("inf"), Link(b""), Link(b"\1\2")]
    values += [[value] for value in values[:3]]
    for value in values:
        yield at(stage, Operation(Kind.SET, ("k",), value))


@content("other spellings of a list, and what is no list")
def spellings(stage: Stage) -> Iterator[Forgery]:
    for data in (
        b"\x81\x18\x05", b"\x9f\x01\xff", b"\x81\xf9\x3c\x00", b"\x81\xf7", b"\x81\xc1\x01",
        b"\xa0", b"\x01", b"", b"\x81", b"\x81\x01\x01", b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x81\xa2\x61b\x01\x61a\x01", b"\x81\xa2\x61a\x01\x61a\x01", b"\x81\x1b" + b"\xff" * 8,
        b"\x81\x62\xc3\x28",
    ):  # fmt: skip
        yield at(stage, Operation(Kind.SET, ("k",), Raw(data)))
    yield at(stage, Operation(Kind.APPEND, ("k",), ()))


def foreign(name: str, power: str = STRANGER) -> Callable[[Forge], Forge]:
    return attack("Who may write", name, power, REFUSED, "C10")


@foreign("a replica that is no member")
def no_member(stage: Stage) -> Iterator[Forgery]:
    stranger = Author(99)
    change = replace(stage.lie().change, replica=stranger.key)
    yield refused(sealed(DOC, change, stranger.seed))


@foreign("in a member's name")
def in_the_name_of(stage: Stage) -> Iterator[Forgery]:
    change = stage.lie().change
    for member in stage.members:
        yield refused(sealed(DOC, replace(change, replica=member), Author(99).seed))


@foreign("no signature, or one of another change", WAY)
def other_signature(stage: Stage) -> Iterator[Forgery]:
    first, second = stage.lie(), stage.lie()
    for signature in (b"\0" * 64, second.signature, first.signature[:32] + b"\0" * 32):
        yield refused(replace(first, signature=signature))


@foreign("another spelling of a good signature", WAY)
def malleable(stage: Stage) -> Iterator[Forgery]:
    good = stage.lie()
    scalar = int.from_bytes(good.signature[32:], "little") + ORDER
    yield refused(replace(good, signature=good.signature[:32] + scalar.to_bytes(32, "little")))


@foreign("a change of another document", MEMBER)
def other_document(stage: Stage) -> Iterator[Forgery]:
    made = sealed(b"another document", stage.lie().change, stage.liar.seed)
    yield refused(made)
    yield Forgery(packs.pack(b"another document", [made]))


def bomb(name: str) -> Callable[[Forge], Forge]:
    return attack("Bytes that claim more than they are", name, WAY, REFUSED)


def with_section(stage: Stage, which: int, data: bytes) -> Forgery:
    """A pack of a good change, one section of which is these bytes with their own head."""
    packer = Packer(DOC)
    packer.add(stage.lie())
    sections = [packs.section(section) for section in packer.sections()]
    sections[which] = data
    return Forgery(packer.head() + b"".join(sections))


@bomb("a section that inflates to 256 MiB")
def deflated(stage: Stage) -> Iterator[Forgery]:
    size = 256 << 20
    deflate = zlib.compressobj(9, wbits=-15)
    data = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(size >> 20)) + deflate.flush()
    for claimed in (size, 1_000, 2**62):
        head = number(len(data) << 1 | 1) + number(claimed)
        yield with_section(stage, 20, head + data)


@bomb("a run of 2^50 equal numbers")
def runs(stage: Stage) -> Iterator[Forgery]:
    for which in (0, 1, 2, 3, 4, 6, 8, 11, 13, 14, 15, 17, 19):
        for value in (0, 2**40):
            run = b"\0" + number(2**51) + number(value)
            yield with_section(stage, which, packs.section(run))


@bomb("counts of 2^50 changes, replicas and CIDs")
def counts(stage: Stage) -> Iterator[Forgery]:
    for at in range(3):
        claimed = [1, 1, 1]
        claimed[at] = 2**50
        head = packs.MAGIC + DOC + b"".join(map(number, claimed))
        yield Forgery(head + bytes(4_096))


@bomb("lengths beyond the end")
def lengths(stage: Stage) -> Iterator[Forgery]:
    for which in range(21):
        yield with_section(stage, which, number(2**62))
        yield with_section(stage, which, number(2**33) + b"\0" * 64)


@attack(
    "Bytes that claim more than they are", "one byte changed, or the end cut off", WAY,
    frozenset({Outcome.REFUSED, Outcome.EQUAL}), "C10 C15",
)  # fmt: skip
def mutated(stage: Stage) -> Iterator[Forgery]:
    for pack in stage.packs:
        for _ in range(20):
            at = stage.chance.randrange(len(pack))
            byte = pack[at] ^ 1 << stage.chance.randrange(8)
            yield Forgery(pack[:at] + bytes([byte]) + pack[at + 1 :])
            yield Forgery(pack[:at])


def cid_only(cid: bytes) -> Change:
    return Change(b"", 0, None, (), (), cid)
