"""Versions that are whole: made by who can read the executions, and who can sign them as well."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from qflow import _core
from qflow.state import _commit
from qflow.state._segment import Segment, _plain
from qflow.state._version import Version, make_version
from qflow.trust import NodeKey, public_half
from tests.attacks.stored.attack import Power
from tests.attacks.stored.forge import Forgery
from tests.attacks.stored.honest import Honest, car
from tests.attacks.stored.judge import on_car
from tests.stored import SUBNET, Execution

MADE = "made whole, with the key of the execution"
Change = Callable[[Forgery, random.Random], None]


def node_key(seed: bytes) -> NodeKey:
    return NodeKey(seed=seed, public=public_half(seed))


def remake(forgery: Forgery, place: int, seed: bytes, **changed: Any) -> None:
    """The newest version of an execution with other fields, sealed and signed for them."""
    root, key = forgery.roots[place], forgery.honest.data_keys[place]
    version = Version.parse(forgery.blocks[root])
    fields = version.fields() | changed
    del fields["sealed"], fields["sig"]
    forgery.replace(root, make_version(fields, version.summary(key), key, seed))


def on_whole(name: str, power: Power, *claims: str) -> Callable[[Change], Change]:
    def enter(change: Change) -> Change:
        @on_car(name, family=MADE, power=power, claims=["S14", *claims], tries=2, use="refused")
        def forge(honest: Honest, chance: random.Random) -> bytes:
            forgery = Forgery(honest)
            change(forgery, chance)
            return forgery.car()

        return change

    return enter


@on_whole("the newest versions, signed in a reader's own name", Power.READER, "S6")
def in_own_name(forgery: Forgery, chance: random.Random) -> None:
    for at in range(len(forgery.roots)):
        seed = chance.randbytes(32)
        remake(forgery, at, seed, node=node_key(seed).did)


@on_whole("the same in the node's name", Power.READER, "S6", "S5")
def in_its_name(forgery: Forgery, chance: random.Random) -> None:
    for at in range(len(forgery.roots)):
        remake(forgery, at, chance.randbytes(32))


@on_car("a state and a history that never were, in a reader's own name", family=MADE,
        power=Power.READER, claims=["S6", "S14"], tries=2, use="refused")  # fmt: skip
def invented(honest: Honest, chance: random.Random) -> bytes:
    seed = chance.randbytes(32)
    number = int.from_bytes(honest.chains[0], "big")
    one = Execution(number, node_key(seed), honest.data_keys[0])
    one.act(9, {"card": 1})
    draft = one.checkpoint({"n": "invented"})
    last = _commit.checkpoint(draft, subnet=SUBNET, did=one.signer.did)
    made = _commit.prepare(draft, last, None, subnet=SUBNET, signer=one.signer)
    keys = honest.envelopes
    return car([made.saved.cid, *(cid for cid, _ in keys)], [*keys, *made.blocks])


@on_whole("the state of an older version under the newest record", Power.BOTH)
def older_state(forgery: Forgery, chance: random.Random) -> None:
    own = forgery.honest
    forgery.blocks.update(own.needed_by_older())
    for at, chain in enumerate(own.chains):
        older = next(
            fields for _, data in own.pairs if (fields := _core.decode(data))["chain"] == chain
        )
        remake(forgery, at, own.signer, state=bytes(older["state"]))


def reseal(forgery: Forgery, at: int, change: Callable[[list[bytes], list[bytes]], None]) -> None:
    """The newest segment with other records or payloads, sealed for them, and its version."""
    root, key = forgery.roots[at], forgery.honest.data_keys[at]
    cid = Version.parse(forgery.blocks[root]).history
    segment = Segment.parse(forgery.blocks[cid])
    records, payloads = segment.unseal(key), list(segment.payloads)
    change(records, payloads)
    plain = _plain(segment.chain, segment.first, segment.previous, payloads)
    bound = b"QFSH\x01" + _core.encode(plain)
    sealed = key.seal_bytes(_core.encode(records), bound=bound)
    data = _core.encode({**plain, "sealed": sealed})
    del forgery.blocks[cid]
    new = bytes(_core.cid_of(data))
    forgery.blocks[new] = data
    remake(forgery, at, forgery.honest.signer, history=new)


@on_whole("a record of the newest segment by another actor", Power.BOTH)
def other_record(forgery: Forgery, chance: random.Random) -> None:
    def change(records: list[bytes], payloads: list[bytes]) -> None:
        at = chance.randrange(len(records))
        records[at] = _core.encode({**_core.decode(records[at]), "actor": "somebody else"})

    for at in range(len(forgery.roots)):
        reseal(forgery, at, change)


@on_whole("a record of the newest segment left out", Power.BOTH)
def no_record(forgery: Forgery, chance: random.Random) -> None:
    def change(records: list[bytes], payloads: list[bytes]) -> None:
        del records[chance.randrange(len(records))]

    for at in range(len(forgery.roots)):
        reseal(forgery, at, change)


@on_whole("no link to a payload that a record names", Power.BOTH)
def no_payload(forgery: Forgery, chance: random.Random) -> None:
    for at in range(len(forgery.roots)):
        reseal(forgery, at, lambda _, payloads: payloads.clear())


@on_whole("another epoch or time than the record has", Power.BOTH, "S13")
def other_fields(forgery: Forgery, chance: random.Random) -> None:
    name = chance.choice(["epoch", "at"])
    for at in range(len(forgery.roots)):
        fields = Version.parse(forgery.blocks[forgery.roots[at]]).fields()
        remake(forgery, at, forgery.honest.signer, **{name: fields[name] + 1})
