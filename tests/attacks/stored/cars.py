"""A CAR file on its way: changed, cut, in another order, with other things in it."""

from __future__ import annotations

import random
from pathlib import Path

from qflow import _core
from tests.attacks.stored.attack import ANY_BUT_LIES, Tries, attack
from tests.attacks.stored.forge import codec_of, flipped
from tests.attacks.stored.honest import Honest, car
from tests.attacks.stored.judge import Imports, on_car
from tests.stored import Block, Home

CAR = "a CAR file"


def blocks_of(honest: Honest) -> list[Block]:
    return [*honest.envelopes, *honest.blocks.items()]


def roots_of(honest: Honest) -> list[bytes]:
    return [*honest.roots, *(cid for cid, _ in honest.envelopes)]


def some(honest: Honest, chance: random.Random) -> int:
    """The place of a block that is needed, and is no key."""
    return chance.randrange(len(honest.envelopes), len(blocks_of(honest)))


@on_car("one byte changed anywhere", family=CAR, tries=40, use="refused|equal")
def flip(honest: Honest, chance: random.Random) -> bytes:
    return flipped(honest.car, chance)


@on_car("cut anywhere", family=CAR, tries=20, use="refused")
def cut(honest: Honest, chance: random.Random) -> bytes:
    return honest.car[: chance.randrange(len(honest.car))]


@attack("cut between two blocks, at every one", family=CAR, use="refused")
def cut_between(honest: Honest, chance: random.Random, folder: Path) -> Tries:
    blocks = blocks_of(honest)
    with Imports(honest, folder) as imports:
        for count in range(len(blocks)):
            yield imports(car(roots_of(honest), blocks[:count]))


@on_car("a block left out", family=CAR, tries=12, use="refused")
def left_out(honest: Honest, chance: random.Random) -> bytes:
    blocks = blocks_of(honest)
    del blocks[some(honest, chance)]
    return car(roots_of(honest), blocks)


@on_car("the keys left out", family=CAR, use="refused", check="found", tries=1)
def without_keys(honest: Honest, chance: random.Random) -> bytes:
    return car(honest.roots, list(honest.blocks.items()))


@on_car("the keys of the other execution instead", family=CAR, use="refused", tries=1)
def other_key(honest: Honest, chance: random.Random) -> bytes:
    key = chance.choice(honest.envelopes)
    return car([*honest.roots, key[0]], [key, *honest.blocks.items()])


@on_car("the blocks in another order", family=CAR, use="equal", check="nothing")
def other_order(honest: Honest, chance: random.Random) -> bytes:
    blocks = blocks_of(honest)
    chance.shuffle(blocks)
    return car(roots_of(honest), blocks)


@on_car("a block twice", family=CAR, use="equal", check="nothing")
def twice(honest: Honest, chance: random.Random) -> bytes:
    blocks = blocks_of(honest)
    return car(roots_of(honest), [*blocks, blocks[some(honest, chance)]])


@on_car("two blocks with each other's names", family=CAR, use="refused")
def swapped_names(honest: Honest, chance: random.Random) -> bytes:
    blocks = blocks_of(honest)
    a, b = chance.sample(range(len(blocks)), 2)
    (one, data), (two, other) = blocks[a], blocks[b]
    blocks[a], blocks[b] = (one, other), (two, data)
    return car(roots_of(honest), blocks)


@on_car("a block under the name of its hash by another codec", family=CAR, use="refused")
def other_codec(honest: Honest, chance: random.Random) -> bytes:
    blocks = blocks_of(honest)
    at = some(honest, chance)
    cid, data = blocks[at]
    other = b"\x71" if codec_of(cid) == "raw" else b"\x55"
    blocks[at] = cid[:1] + other + cid[2:], data
    return car(roots_of(honest), blocks)


@on_car("every version also as a raw block, which has no links", family=CAR, use=ANY_BUT_LIES)
def raw_version(honest: Honest, chance: random.Random) -> bytes:
    raw = [(cid[:1] + b"\x55" + cid[2:], honest.blocks[cid]) for cid in honest.roots]
    return car([cid for cid, _ in raw], [*blocks_of(honest), *raw])


@on_car("another file behind it", family=CAR, use="refused", tries=1)
def appended(honest: Honest, chance: random.Random) -> bytes:
    return honest.car + honest.car


@on_car("bytes of chance behind it", family=CAR, use="refused")
def junk(honest: Honest, chance: random.Random) -> bytes:
    return honest.car + chance.randbytes(chance.randint(1, 100))


@on_car("blocks beside it that nothing names", family=CAR, use="equal", check="nothing")
def beside(honest: Honest, chance: random.Random) -> bytes:
    data = chance.randbytes(50)
    return car(roots_of(honest), [*blocks_of(honest), (bytes(_core.cid_of(data, "raw")), data)])


@on_car("roots in its header that are not in it", family=CAR, use="equal|refused")
def other_roots(honest: Honest, chance: random.Random) -> bytes:
    return car([bytes(_core.cid_of(chance.randbytes(9), "raw"))], blocks_of(honest))


@on_car("nothing in it", family=CAR, use="refused", tries=1)
def empty(honest: Honest, chance: random.Random) -> bytes:
    return car(roots_of(honest), [])


@on_car("of a node whose keys were not imported", family=CAR, use="refused", tries=1,
        claims=["S6", "S14"])  # fmt: skip
def of_a_stranger(honest: Honest, chance: random.Random) -> bytes:
    return honest.foreign[0]


@on_car("of another subnet of the same node", family=CAR, use="refused", tries=1)
def of_another_subnet(honest: Honest, chance: random.Random) -> bytes:
    return honest.foreign[1]


@attack("an older version imported over a newer one", family=CAR, use="equal", check="nothing",
        claims=["S14", "S13"])  # fmt: skip
def roll_back(honest: Honest, chance: random.Random, folder: Path) -> Tries:
    with Home(honest.copy(honest.older, folder)) as home:
        versions = [home.states.newest(chain) for chain in honest.chains]
        roots = [one.cid for one in versions if one is not None]
        older = car(roots, home.reach(*roots))
    with Imports(honest, folder) as imports:
        yield imports(honest.car, then=older)
