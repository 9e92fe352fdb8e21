"""Homes with stored states, for tests: real records, keys, files and checkpoints, and no engine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from qflow import _core
from qflow.state import Draft, Saved, States
from qflow.storage import Database, SqliteBlocks
from qflow.trust import Keyring, NodeKey, Signers, load_or_create_key

AT_MS = 1_750_000_000_000
GENESIS = bytes(32)
FLOW = "shop/orders/1.0.0"
SUBNET = "default"
DOCUMENT = _core.encode({"document": {"namespace": "shop", "name": "orders", "version": "1.0.0"}})
CHECKPOINT = "q.qflow.checkpoint.created.v1"
Block = tuple[bytes, bytes]


class Home:
    """The keys and `state.db` of a home, open while entered."""

    def __init__(self, folder: Path, *, subnet: str = SUBNET) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.subnet = folder, subnet
        self.key: NodeKey = load_or_create_key(folder)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.keys = Keyring(self.path, lambda: self.key.seed)
            stack.callback(self.keys.close)
            database = stack.enter_context(Database(self.path / "state.db"))
            self.blocks = SqliteBlocks(database)
            self.signers = Signers(self.key.did, self.keys.subnet.nodes)
            self.states = States(
                self.blocks,
                subnet=self.subnet,
                keys=self.keys,
                signer=self.key,
                signers=self.signers,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, number: int) -> Execution:
        """An execution with a data key of its own."""
        return Execution(number, self.key, self.keys.take(), subnet=self.subnet)

    def reach(self, *roots: bytes) -> list[Block]:
        """The blocks of these roots and of all beneath them, each once."""
        return list(self.blocks.walk(roots))


class Execution:
    """One chain: what it writes, and the checkpoints of it."""

    def __init__(
        self, number: int, signer: NodeKey, key: _core.SealingKey, *, subnet: str = SUBNET
    ) -> None:
        self.chain = number.to_bytes(16, "big")
        self.signer, self.key, self.subnet, self.epoch = signer, key, subnet, 1
        self.records: list[tuple[bytes, Block | None]] = []
        self._prev = GENESIS

    @classmethod
    def resumed(cls, home: Home, saved: Saved) -> Self:
        """As a version has it."""
        number = home.states.version(saved.cid).key
        key = home.keys.key_of(saved.chain, number)
        one = cls(int.from_bytes(saved.chain, "big"), home.key, key, subnet=home.subnet)
        for records, payloads in home.states.records(saved.cid):
            blocks = dict(payloads)
            for data in records:
                cid = _core.decode_record(data)["payload"]
                payload = None if cid is None else (bytes(cid), blocks[bytes(cid)])
                one.records.append((data, payload))
        one._prev = saved.head
        return one

    def act(self, count: int = 1, payload: object = None) -> None:
        """Go some records on, each with a sealed payload if there is one."""
        for _ in range(count):
            kind = "step_completed" if self.records else "created"
            content = None if payload is None else ({"of": len(self.records), "is": payload},)
            self._write(f"q.qflow.exec.{kind}.v1", "/do/0/pay", content, {})

    def checkpoint(self, state: object, **words: Any) -> Draft:
        """Write the record of a checkpoint of this state; what it takes to keep it."""
        text = _core.encode(state)
        root, blocks = self.key.seal_state(text, subnet=self.subnet, chain=self.chain)
        meta = {"frames": 1, "size": len(text), "state": str(_core.Cid(root)), "why": "asked"}
        self._write(CHECKPOINT, None, None, meta | words)
        return Draft(key=self.key, records=[*self.records], blocks=blocks, document=DOCUMENT)

    def kept_by(self, home: Home, state: object, **words: Any) -> Saved:
        """A version of this state in a home."""
        return home.states.commit(self.checkpoint(state, **words))

    def _write(
        self, kind: str, step: str | None, content: tuple[Any] | None, meta: dict[str, Any]
    ) -> None:
        seq = len(self.records)
        row = (kind, step, None if step is None else 1, content, meta)
        [record], blocks, self._prev = _core.encode_records(
            self.chain, seq, self._prev, FLOW, AT_MS + seq, "ann", self.signer.did, self.subnet,
            self.epoch, [row], self.key,
        )  # fmt: skip
        self.records.append((record, blocks[0] if blocks else None))
