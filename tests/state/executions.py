"""Executions as the engine makes them: chains of records with sealed payloads, and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qflow import _core
from qflow.errors import ErasedError, UnavailableError
from qflow.state import Block, Draft, States
from qflow.storage import Database, SqliteBlocks
from qflow.trust import NodeKey
from qflow.trust._signers import Signers, did_of_public

SUBNET = "default"
FLOW = "examples/orders/1.0.0"
DOCUMENT = b"document: {dsl: 1.0.3, namespace: examples, name: orders}\n" * 20
GENESIS = bytes(32)
NOW = 1_800_000_000_000

Recorded = tuple[bytes, Block | None]


def node(number: int = 1) -> NodeKey:
    """The same node for the same number."""
    seed = bytes((number * 37 + at * 11) % 256 for at in range(32))
    from nacl.signing import SigningKey

    return NodeKey(seed=seed, public=bytes(SigningKey(seed).verify_key))


class Keys:
    """Stands for the keyring: keys by chain and number."""

    def __init__(self) -> None:
        self.known: dict[tuple[bytes, int], _core.SealingKey] = {}
        self.erased: set[bytes] = set()

    def key_of(self, chain: bytes, number: int) -> _core.SealingKey:
        if chain in self.erased:
            raise ErasedError(f"key {number} was destroyed")
        try:
            return self.known[chain, number]
        except KeyError:
            raise UnavailableError(f"no key {number}") from None


class Execution:
    """One execution, its chain of records and its key."""

    def __init__(self, number: int, writer: NodeKey, keys: Keys, *, flow: str = FLOW) -> None:
        self.chain = number.to_bytes(16, "big")
        self.flow, self.writer, self.epoch = flow, writer, 0
        number %= 1 << 16
        self.key = _core.SealingKey(number, number.to_bytes(2, "big") * 16)
        keys.known[self.chain, number] = self.key
        self.records: list[Recorded] = []
        self.prev = GENESIS
        self.at = NOW
        self.subnet = SUBNET

    @property
    def seq(self) -> int:
        """The number of the next record."""
        return len(self.records)

    def facts(self, count: int, content: Any = None) -> None:
        """Go on by steps, every third without a payload."""
        for _ in range(count):
            value = {"of": self.seq, "more": content or "x" * 100}
            payload = None if self.seq % 3 == 2 else (value,)
            step = ("q.qflow.exec.step_completed.v1", "/do/0/a", 1, payload, {"frame": 1})
            self.append(step)

    def append(self, fact: Any) -> None:
        """Write one record."""
        self.at += 1
        records, blocks, self.prev = _core.encode_records(
            self.chain,
            self.seq,
            self.prev,
            self.flow,
            self.at,
            "local",
            self.writer.did,
            self.subnet,
            self.epoch,
            [fact],
            self.key,
        )
        self.records.append((records[0], blocks[0] if blocks else None))

    def checkpoint(
        self, text: bytes, *, since: int = 0, meta: Mapping[str, Any] | None = None, **more: Any
    ) -> Draft:
        """A checkpoint's record behind the others, and the draft with the records from `since`."""
        root, blocks = self.key.seal_state(text, subnet=self.subnet, chain=self.chain)
        said = {"state": str(_core.Cid(root)), "size": len(text), "frames": 3, "why": "facts"}
        said |= {**(meta or {}), **more}
        self.append(("q.qflow.checkpoint.created.v1", None, None, None, said))
        return Draft(
            key=self.key,
            records=self.records[since:],
            blocks=blocks,
            document=DOCUMENT,
            status="running",
        )


class Home:
    """A `state.db` with all that `States` needs of its neighbours."""

    def __init__(
        self, path: Path, keys: Keys, owner: NodeKey, *, trusted: tuple[NodeKey, ...] = ()
    ) -> None:
        self.path, self.keys, self.owner = path, keys, owner
        self.signers = Signers(owner.did, lambda: [did_of_public(one.public) for one in trusted])
        self.erased: set[bytes] = set()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.pins = Pins()
        self.open()

    def open(self, **more: Any) -> States:
        """Open the file, as after a restart."""
        self.database = Database(self.path)
        self.blocks = SqliteBlocks(self.database)
        given: dict[str, Any] = {
            "subnet": SUBNET,
            "keys": self.keys,
            "signer": self.owner,
            "signers": self.signers,
            "pins": self.pins,
            "is_erased": self.erased.__contains__,
            "tell": lambda name, data: self.told.append((name, data)),
        }
        self.states = States(self.blocks, **(given | more))
        return self.states

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def reopen(self, **more: Any) -> States:
        """Restart."""
        self.close()
        return self.open(**more)


class Pins:
    """Stands for the outbox: what other stores would be told."""

    def __init__(self) -> None:
        self.wanted: dict[bytes, str] = {}
        self.unwanted: list[bytes] = []
        self.erased: set[bytes] = set()

    def want_pin(self, _db: object, cid: bytes, name: str) -> None:
        self.wanted[cid] = name

    def is_erased(self, _db: object, chain: bytes) -> bool:
        return chain in self.erased

    def want_unpin(self, _db: object, cid: bytes) -> None:
        self.unwanted.append(cid)
