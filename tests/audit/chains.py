"""Chains for tests: real records, made of facts, put on any log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qflow import _core, model
from qflow.audit import Index
from qflow.audit._source import Source
from qflow.errors import CorruptError

FLOW = "test/greet/1.0.0"
NODE_CHAIN = b"n" * 16
GENESIS = bytes(32)

Frame = tuple[list[bytes], list[tuple[bytes, bytes]]]


def record_type(kind: str) -> str:
    return kind if kind.startswith("q.qflow.") else f"q.qflow.exec.{kind}.v1"


class Chain:
    """Makes the next records of one chain. The records are real, whoever stores them."""

    def __init__(self, chain: bytes, flow: str = FLOW, at: int = 1_700_000_000_000) -> None:
        self.id, self.flow, self.at = chain, flow, at
        self.seq, self.prev = 0, GENESIS
        self.hashes: list[bytes] = []

    def frame(self, *facts: str | tuple[Any, ...]) -> Frame:
        """The records of facts: a kind, or (kind, meta), or (kind, meta, payload)."""
        rows = []
        for fact in facts:
            kind, meta, *payload = (fact, {}) if isinstance(fact, str) else fact
            rows.append((record_type(kind), "/do/0/a", 1, tuple(payload) or None, meta))
        self.at += 1
        records, blocks, self.prev = _core.encode_records(
            self.id, self.seq, self.prev, self.flow, self.at, "ann", "node", "default", 1, rows
        )
        self.seq += len(records)
        return records, blocks


def chain_id(number: int) -> bytes:
    """Ids that sort as the numbers do."""
    return number.to_bytes(6, "big") + number.to_bytes(10, "big")


class MemorySource:
    """A log in memory: the second implementation of `Source`, beside the files."""

    def __init__(self) -> None:
        self.frames: list[tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]]]] = []
        self.bytes: dict[int, bytes] = {}
        self.size = self.first = 0

    def append(self, records: Sequence[bytes], blocks: Sequence[tuple[bytes, bytes]] = ()) -> None:
        placed, kept = [], []
        for data in records:
            address = self._keep(data)
            placed.append((self.size, address, data))
            self.size += 1
        for cid, data in blocks:
            kept.append((cid, self._keep(data), len(data)))
        self.frames.append((placed, kept))

    def scan(
        self, address: int, bytes_max: int
    ) -> tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]], int]:
        records: list[tuple[int, int, bytes]] = []
        blocks: list[tuple[bytes, int, int]] = []
        taken = 0
        while address < len(self.frames) and (taken == 0 or taken < bytes_max):
            frame = self.frames[address]
            records += frame[0]
            blocks += frame[1]
            taken += sum(len(item[2]) for item in frame[0]) or 1
            address += 1
        return records, blocks, address

    def read(self, address: int) -> bytes:
        if address not in self.bytes:
            raise CorruptError(f"nothing was written at {address}")
        return self.bytes[address]

    def read_many(self, addresses: Sequence[int]) -> list[bytes]:
        return [self.read(address) for address in addresses]

    def _keep(self, data: bytes) -> int:
        address = 1000 + len(self.bytes)
        self.bytes[address] = data
        return address


def put(source: MemorySource, chain: Chain, *facts: str | tuple[Any, ...]) -> None:
    """One commit of facts of one chain."""
    source.append(*chain.frame(*facts))


def facts_of(source: Source) -> list[Mapping[str, Any]]:
    """All records of a log, decoded."""
    records, _, after = source.scan(0, 1 << 30)
    assert source.scan(after, 1)[2] == after
    return [_core.decode_record(data) for _, _, data in records]


def begin(source: MemorySource, number: int, *facts: Any, flow: str = "test/greet/1.0.0") -> str:
    """An execution with some facts behind its creation; its id."""
    chain = Chain(chain_id(number), flow)
    put(source, chain, ("created", {"definition": ""}, {"n": number}), *facts)
    return model.id_text(chain.id)


def some_of_each(source: MemorySource) -> None:
    begin(source, 1)
    begin(source, 2, ("suspended", {"wake_at": 5, "listen": ["a.b"]}))
    begin(source, 3, "paused")
    begin(source, 4, ("completed", {}, "out"))
    begin(source, 5, ("faulted", {}, {"title": "Broken", "status": 500}))
    begin(source, 6, ("aborted", {"reason": "enough"}))


def everything(index: Index) -> list[Any]:
    return [index.executions(), index.counts(), index.waiting(), index.schedules(), index.size]
