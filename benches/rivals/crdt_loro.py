"""Loro."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

from loro import ExportMode, LoroDoc, VersionVector

NAME = "loro"
TYPES = (
    "root LoroMap, LoroCounter (a float), LoroList; nested maps by ensure_mergeable_map, "
    "so that two replicas make one map as in Qflow"
)
COUNTS, INCREMENTS_MAX = True, 1 << 40


class Document:
    def __init__(self, replica: int) -> None:
        self.doc = LoroDoc()
        self.doc.peer_id = replica
        self.hold()

    def hold(self) -> None:
        self.map = self.doc.get_map("m")
        self.counter = self.doc.get_counter("n")
        self.list = self.doc.get_list("l")

    def addresses(self, keys: Sequence[str]) -> Sequence[str]:
        return keys

    def set_keys(self, addresses: Sequence[str], values: Sequence[Any]) -> None:
        insert = self.map.insert
        for key, value in zip(addresses, values, strict=True):
            insert(key, value)
        self.doc.commit()

    def set_nested(self, groups: int, parts: int, leaves: int) -> None:
        for group in range(groups):
            outer = self.map.ensure_mergeable_map(f"g{group}")
            for part in range(parts):
                insert = outer.ensure_mergeable_map(f"p{part}").insert
                for leaf in range(leaves):
                    insert(f"l{leaf}", leaf)
        self.doc.commit()

    def set_object(self, key: str, value: dict[str, Any]) -> None:
        self.map.insert(key, value)
        self.doc.commit()

    def delete(self, key: str) -> None:
        self.map.delete(key)
        self.doc.commit()

    def increment(self, times: int) -> None:
        increment = self.counter.increment
        for _ in range(times):
            increment(1)
        self.doc.commit()

    def append(self, values: Sequence[Any]) -> None:
        push = self.list.push
        for value in values:
            push(value)
        self.doc.commit()

    def clear(self) -> None:
        self.list.clear()
        self.doc.commit()

    def written(self) -> bytes:
        return bytes(self.doc.export(ExportMode.Updates(VersionVector())))

    def lacks(self, other: Document) -> bytes:
        return bytes(self.doc.export(ExportMode.Updates(other.doc.oplog_vv)))

    def take(self, update: bytes) -> None:
        self.doc.import_(update)

    def take_batch(self, updates: Sequence[bytes]) -> None:
        self.doc.import_batch(updates)

    def snapshot(self) -> bytes:
        return bytes(self.doc.export(ExportMode.Snapshot()))

    def read(self, parts: str = "mnl") -> dict[str, Any]:
        found: Any = self.doc.get_deep_value()
        whole = {"m": found.get("m", {}), "n": int(found.get("n", 0)), "l": found.get("l", [])}
        return {part: whole[part] for part in parts}

    def read_one(self, key: str) -> Any:
        found = self.map.get(key)
        return None if found is None else found.value


def version() -> str:
    return metadata.version("loro")


def create(replica: int) -> Document:
    return Document(replica)


def load(snapshot: bytes, replica: int) -> Document:
    document = Document(replica)
    document.doc.import_(snapshot)
    return document
