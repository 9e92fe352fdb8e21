"""Sealed payloads that are not where they were sealed.

Without the key of the log nobody moves a payload: records name them by their hashes. So here the
holder of the log's key writes the record, and lacks only the key that the payload is sealed with.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qflow import _core, audit
from qflow.audit import History, Index
from qflow.errors import CorruptError, VerificationError
from qflow.trust import Keyring
from tests.attacks.attack import NOT_FOUND, Outcome, Power, attack
from tests.attacks.honest import AT_MS, GENESIS, ORIGIN, Honest
from tests.attacks.orders import decoded, encoded

SEALED = "sealed payloads"
Fields = dict[str, Any]


@dataclass
class Written:
    """One record of an execution, and its sealed payload."""

    fields: Fields
    block: bytes

    def encoded(self) -> tuple[bytes, bytes, bytes]:
        """The record that names this block, the block's CID, and the block."""
        cid = _core.cid_of(self.block, "raw")
        return encoded({**self.fields, "payload": cid}), bytes(cid), self.block


@dataclass
class Home:
    """A node's keys and what two of its executions wrote last."""

    keys: Keyring
    mine: Written
    before: Written
    """The record before it, of the same execution."""
    theirs: Written
    """Of another execution."""
    first: bytes
    """The first record of `mine`'s execution."""


def written(number: int, key: _core.SealingKey, chance: random.Random) -> list[bytes | Written]:
    """The first record of an execution, which seals nothing here, and two that do."""
    chain, prev, made = number.to_bytes(16, "big"), GENESIS, list[bytes | Written]()
    for seq, kind in enumerate(("created", "step_completed", "step_completed")):
        content = None if kind == "created" else ({"card": chance.getrandbits(60)},)
        row = (f"q.qflow.exec.{kind}.v1", "/do/0/pay", 1, content, {"key": key.number})
        [record], blocks, prev = _core.encode_records(
            chain, seq, prev, "shop/pay/1.0.0", AT_MS, "ann", "node", "alpha", 1, [row],
            sealing=key,
        )  # fmt: skip
        made.append(Written(decoded(record), blocks[0][1]) if blocks else record)
    return made


def home(honest: Honest, chance: random.Random, folder: Path) -> Home:
    keys = Keyring(folder, lambda: honest.signer.seed)
    number = chance.randrange(1 << 60)
    first, before, mine = written(number, keys.take(), chance)
    _, _, theirs = written(number + 1, keys.take(), chance)
    assert isinstance(first, bytes)
    assert isinstance(before, Written)
    assert isinstance(mine, Written)
    assert isinstance(theirs, Written)
    return Home(keys, mine, before, theirs, first)


Exchange = Callable[[Home, random.Random], None]


def on_payload(name: str, *claims: str, **rest: Any) -> Callable[[Exchange], Exchange]:
    """Enter an attack: `exchange` changes what is written last, and somebody reads it."""

    def enter(exchange: Exchange) -> Exchange:
        due = {"family": SEALED, "power": Power.KEY, "claims": claims, "alone": "REFUSED"} | rest

        @attack(name, **due)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Outcome:
            node = home(honest, chance, folder)
            try:
                assert read(honest, node, folder / "good") == NOT_FOUND
                exchange(node, chance)
                said = read(honest, node, folder / "forged")
            finally:
                node.keys.close()
            return Outcome(said, said, said)

        return exchange

    return enter


def read(honest: Honest, node: Home, folder: Path) -> str:
    """Write the execution, verify the log, and read the execution with the node's keys."""
    folder.mkdir()
    log = _core.Log(str(folder / "log"), origin=ORIGIN, seed=honest.signer.seed)
    log.append_durable([node.first])
    for one in (node.before, node.mine):
        record, cid, block = one.encoded()
        log.append_durable([record], [(cid, block)])
    log.close()
    if not audit.verify(folder / "log", honest.vkey).ok:
        return "INVALID"
    source, index = _core.LogReader(str(folder / "log")), Index(folder / "index")
    try:
        index.catch_up(source)
        list(History(index, source, node.keys).replay_source(node.mine.fields["chain"]))
    except (VerificationError, CorruptError):
        return "REFUSED"
    finally:
        index.close()
    return NOT_FOUND


@on_payload("that of another execution", "H17", "H21")
def of_another(node: Home, chance: random.Random) -> None:
    node.mine.block = node.theirs.block


@on_payload("that of the record before", "H17", "H21")
def of_before(node: Home, chance: random.Random) -> None:
    node.mine.block = node.before.block


@on_payload("under another epoch", "H17", "H21")
def other_epoch(node: Home, chance: random.Random) -> None:
    node.mine.fields["epoch"] += chance.randint(1, 9)


@on_payload("in another subnet", "H17", "H21")
def other_subnet(node: Home, chance: random.Random) -> None:
    node.mine.fields["subnet"] = "beta"


@on_payload("behind another record than it was written behind", "H17", "H21")
def other_past(node: Home, chance: random.Random) -> None:
    node.before.fields["actor"] = "somebody else"
    node.mine.fields["prev"] = _core.record_hash(node.before.encoded()[0])


@on_payload("one byte changed, the record made to name it", "H1", "H21")
def one_byte(node: Home, chance: random.Random) -> None:
    data = bytearray(node.mine.block)
    data[chance.randrange(40, len(data))] ^= chance.randint(1, 255)
    node.mine.block = bytes(data)


@on_payload("sealed by somebody with keys of their own", "H17", "H21")
def other_keys(node: Home, chance: random.Random) -> None:
    fields = node.mine.fields
    key = _core.SealingKey(_core.sealed_with(node.mine.block), chance.randbytes(32))
    place = {name: fields[name] for name in ("subnet", "chain", "seq", "epoch", "prev")}
    node.mine.block = key.seal(_core.encode({"card": 1}), **place)
