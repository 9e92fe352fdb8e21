"""Versions made to fit: changed blocks and all that names them, with and without keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from qflow import _core
from qflow.trust import did_of_public, public_half
from tests.attacks.stored.attack import CAUGHT, Power
from tests.attacks.stored.forge import KINDS, Fields, Forgery, flipped, flipped_value, of_kind
from tests.attacks.stored.honest import Honest
from tests.attacks.stored.judge import on_car

FORGED, SPLICED = "a changed block, all that names it changed too", "spliced"
SIGNERS = (Power.DISK, Power.STRANGER, Power.SIGNER)
Change = Callable[[Forgery, random.Random], None]


def stranger(chance: random.Random) -> bytes:
    return chance.randbytes(32)


def enter(
    name: str,
    family: str,
    change: Change,
    *,
    powers: Iterable[Power] = SIGNERS,
    mended: bool = False,
) -> None:
    """The same change by whoever has no key, one of their own, and the node's."""
    for power in powers:
        claims = ["S14", "S5"] if power == Power.DISK else ["S14", "S6"]
        # The node's own signature may be what was changed: then it is made good again.
        use = f"{CAUGHT}|equal" if power == Power.SIGNER and mended else CAUGHT

        @on_car(
            f"{name}, {AS_SIGNED[power]}",
            family=family,
            power=power,
            claims=claims,
            tries=3,
            use=use,
        )
        def forge(honest: Honest, chance: random.Random, power: Power = power) -> bytes:
            forgery = Forgery(honest)
            change(forgery, chance)
            if power == Power.STRANGER:
                seed = stranger(chance)
                forgery.sign(
                    seed, did=did_of_public(public_half(seed)) if chance.random() < 0.5 else None
                )
            elif power == Power.SIGNER:
                forgery.sign(honest.signer)
            return forgery.car()


AS_SIGNED = {
    Power.DISK: "the old signature",
    Power.STRANGER: "signed by a stranger",
    Power.SIGNER: "signed by the node",
}


def byte_of(kind: str) -> Change:
    def change(forgery: Forgery, chance: random.Random) -> None:
        cid = chance.choice(of_kind(forgery.honest, kind))
        data = forgery.blocks[cid]
        is_raw = _core.Cid(cid).codec == "raw"
        if kind.endswith("root"):
            return reorder_parts(forgery, cid, chance)
        forgery.replace(cid, (flipped if is_raw else flipped_value)(data, chance))
        return None

    return change


def reorder_parts(forgery: Forgery, root: bytes, chance: random.Random) -> None:
    """A root has no byte strings: its size, or the order of its parts."""
    fields = _core.decode(forgery.blocks[root])
    parts = fields["parts"]
    if len(parts) > 1 and chance.random() < 0.5:
        parts = parts[1:] + parts[:1]
    else:
        fields["size"] += chance.choice([-1, 1])
    forgery.replace(root, _core.encode({**fields, "parts": parts}))


for kind in KINDS:
    enter(f"a byte of a {kind}", FORGED, byte_of(kind), mended=kind == "version")


def field(name: str, make: Callable[[Fields, random.Random], Any]) -> Change:
    def change(forgery: Forgery, chance: random.Random) -> None:
        at = chance.randrange(len(forgery.roots))
        forgery.edit(at, lambda fields: {**fields, name: make(fields, chance)})

    return change


def more(name: str) -> Callable[[Fields, random.Random], Any]:
    return lambda fields, chance: fields[name] + chance.randint(1, 9)


for name in ("epoch", "at", "key", "seq"):
    enter(f"another {name} in a version", FORGED, field(name, more(name)))
enter("another number in a version", FORGED, field("number", more("number")))
enter("another subnet in a version", FORGED, field("subnet", lambda *_: "beta"))
enter("another chain in a version", FORGED, field("chain", lambda _, chance: chance.randbytes(16)))
enter("another head in a version", FORGED, field("head", lambda _, chance: chance.randbytes(32)))
enter(
    "another previous in a version",
    FORGED,
    field("previous", lambda _, c: bytes(_core.cid_of(_core.encode(c.getrandbits(9))))),
)
enter(
    "another signature in a version, which is as it was",
    FORGED,
    field("sig", lambda _, chance: chance.randbytes(64)),
    powers=[Power.DISK],
)
enter(
    "no signature in a version",
    FORGED,
    lambda forgery, _: forgery.edit(0, lambda fields: {**fields, "sig": b""}),
    powers=[Power.DISK],
)


def link_of_the_other(name: str) -> Change:
    """The first execution's version with what the second one's has."""

    def change(forgery: Forgery, _: random.Random) -> None:
        other = _core.decode(forgery.blocks[forgery.roots[1]])
        forgery.edit(0, lambda fields: {**fields, name: other[name]})

    return change


for name in ("state", "history", "flow", "sealed", "head", "chain"):
    enter(f"the {name} of the other execution", SPLICED, link_of_the_other(name))


def part_of_the_other(forgery: Forgery, chance: random.Random) -> None:
    """A state that has a part of the other one's."""
    ours, theirs = of_kind(forgery.honest, "state root")
    fields = _core.decode(forgery.blocks[ours])
    parts = _core.decode(forgery.blocks[theirs])["parts"]
    forgery.replace(ours, _core.encode({**fields, "parts": [chance.choice(parts)]}))


def payload_of_the_other(forgery: Forgery, chance: random.Random) -> None:
    versions = [_core.decode(forgery.blocks[root]) for root in forgery.roots]
    ours, theirs = (bytes(version["history"]) for version in versions)
    fields = _core.decode(forgery.blocks[ours])
    links = _core.decode(forgery.blocks[theirs])["payloads"]
    payloads = [chance.choice(links), *fields["payloads"][1:]]
    forgery.replace(ours, _core.encode({**fields, "payloads": payloads}))


def segment_left_out(forgery: Forgery, chance: random.Random) -> None:
    """A history whose middle is missing."""
    newest = bytes(_core.decode(forgery.blocks[forgery.roots[0]])["history"])
    fields = _core.decode(forgery.blocks[newest])
    before = _core.decode(forgery.blocks[bytes(fields["previous"])])
    forgery.replace(newest, _core.encode({**fields, "previous": before["previous"]}))


def state_of_the_version_before(forgery: Forgery, _: random.Random) -> None:
    """The newest version with an older state: a roll back under the newest record."""
    own = forgery.honest
    older = [_core.decode(data) for _, data in own.pairs]
    ours = [one for one in older if one["chain"] == own.chains[0]]
    forgery.blocks.update(own.needed_by_older())
    forgery.edit(0, lambda fields: {**fields, "state": ours[0]["state"]})


enter("a part of the other execution's state", SPLICED, part_of_the_other)
enter("a payload of the other execution", SPLICED, payload_of_the_other)
enter("a segment left out of the history", SPLICED, segment_left_out)
enter("the state of an older version", SPLICED, state_of_the_version_before)
