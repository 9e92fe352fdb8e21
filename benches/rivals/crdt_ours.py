"""Qflow's documents, as `qflow.state.Document` holds them in memory: signed, nothing on a disk."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from nacl.signing import SigningKey

from qflow import _core

NAME = "qflow"
TYPES = "one tree of paths; signed changes, each checked before it is applied"
COUNTS, INCREMENTS_MAX = True, 1 << 40
DOC = hashlib.sha256(b"a document to measure").digest()[:16]
HASH_KEY = bytes(32)
KEYS = 2048
"""More replicas than any measurement has that write."""


@functools.cache
def keys() -> list[tuple[bytes, bytes]]:
    """Public keys and their seeds, so that a greater replica has a greater key."""
    seeds = [hashlib.sha256(b"replica %d" % number).digest() for number in range(KEYS)]
    return sorted((bytes(SigningKey(seed).verify_key), seed) for seed in seeds)


class Document:
    def __init__(self, replica: int, doc: _core.CrdtDocument | None = None) -> None:
        key, self.seed = keys()[min(replica, KEYS - 1)]
        self.doc = doc or _core.CrdtDocument(DOC, replica=key, hash_key=HASH_KEY)

    def write(self, fill: Callable[[_core.CrdtTransaction], None]) -> None:
        transaction = self.doc.begin()
        fill(transaction)
        self.doc.apply(transaction.close(self.seed))

    def addresses(self, keys: Sequence[str]) -> Sequence[str]:
        return ["/m/" + key for key in keys]

    def set_keys(self, addresses: Sequence[str], values: Sequence[Any]) -> None:
        transaction = self.doc.begin()
        put = transaction.set
        for path, value in zip(addresses, values, strict=True):
            put(path, value)
        self.doc.apply(transaction.close(self.seed))

    def set_nested(self, groups: int, parts: int, leaves: int) -> None:
        transaction = self.doc.begin()
        put = transaction.set
        for group in range(groups):
            for part in range(parts):
                before = f"/m/g{group}/p{part}/l"
                for leaf in range(leaves):
                    put(f"{before}{leaf}", leaf)
        self.doc.apply(transaction.close(self.seed))

    def set_object(self, key: str, value: dict[str, Any]) -> None:
        self.write(lambda transaction: transaction.set(f"/m/{key}", value))

    def delete(self, key: str) -> None:
        self.write(lambda transaction: transaction.delete(f"/m/{key}"))

    def increment(self, times: int) -> None:
        transaction = self.doc.begin()
        increment = transaction.increment
        for _ in range(times):
            increment("/n", 1)
        self.doc.apply(transaction.close(self.seed))

    def append(self, values: Sequence[Any]) -> None:
        transaction = self.doc.begin()
        append = transaction.append
        for value in values:
            append("/l", value)
        self.doc.apply(transaction.close(self.seed))

    def clear(self) -> None:
        self.write(lambda transaction: transaction.delete("/l"))

    def written(self) -> bytes:
        return self.doc.delta(None)

    def lacks(self, other: Document) -> bytes:
        return self.doc.delta(other.doc.clock())

    def take(self, update: bytes) -> None:
        self.apply(checked([update]))

    def take_batch(self, updates: Sequence[bytes]) -> None:
        self.apply(checked(updates))

    def apply(self, every: Sequence[_core.CheckedChanges]) -> None:
        for changes in every:
            done = self.doc.apply(changes)
            if changes.refused or done.refused or done.waiting:
                raise AssertionError("an update was not taken")

    def snapshot(self) -> bytes:
        return self.doc.snapshot()

    def read(self, parts: str = "mnl") -> dict[str, Any]:
        empty: dict[str, Any] = {"m": {}, "n": 0, "l": []}
        return {part: self.doc.get(f"/{part}", empty[part]) for part in parts}

    def read_one(self, key: str) -> Any:
        return self.doc.get(f"/m/{key}", None)


def checked(updates: Sequence[bytes]) -> list[_core.CheckedChanges]:
    """Decoded, and every signature verified."""
    return [_core.check_changes(update, doc=DOC, members=None) for update in updates]


def version() -> str:
    return metadata.version("anarq-qflow")


def create(replica: int) -> Document:
    return Document(replica)


def load(snapshot: bytes, replica: int) -> Document:
    key, _ = keys()[min(replica, KEYS - 1)]
    return Document(replica, _core.CrdtDocument.load(snapshot, replica=key, hash_key=HASH_KEY))
