"""pycrdt, which is Yjs's Rust port (yrs) for Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from pycrdt import Array, Doc, Map

NAME = "pycrdt"
TYPES = (
    "root Map, root Array; there is no counter: a Map with a total for each replica, "
    "added up when it is read, as its users do"
)
COUNTS, INCREMENTS_MAX = False, 1 << 40
APPENDED_AT_ONCE = 100
"""It walks over what a transaction has appended so far, so a long one would be quadratic."""


class Document:
    def __init__(self, replica: int) -> None:
        self.doc: Any = Doc(client_id=replica)
        self.map: Any = Map()
        self.totals: Any = Map()
        self.list: Any = Array()
        self.doc["m"], self.doc["n"], self.doc["l"] = self.map, self.totals, self.list
        self.own, self.total = str(replica), 0

    def addresses(self, keys: Sequence[str]) -> Sequence[str]:
        return keys

    def set_keys(self, addresses: Sequence[str], values: Sequence[Any]) -> None:
        with self.doc.transaction():
            members = self.map
            for key, value in zip(addresses, values, strict=True):
                members[key] = value

    def set_nested(self, groups: int, parts: int, leaves: int) -> None:
        with self.doc.transaction():
            for group in range(groups):
                outer: Any = Map()
                self.map[f"g{group}"] = outer
                for part in range(parts):
                    made: Any = Map()
                    outer[f"p{part}"] = made
                    for leaf in range(leaves):
                        made[f"l{leaf}"] = leaf

    def set_object(self, key: str, value: dict[str, Any]) -> None:
        self.map[key] = value

    def delete(self, key: str) -> None:
        del self.map[key]

    def increment(self, times: int) -> None:
        with self.doc.transaction():
            totals, own = self.totals, self.own
            for total in range(self.total + 1, self.total + times + 1):
                totals[own] = total
        self.total += times

    def append(self, values: Sequence[Any]) -> None:
        for at in range(0, len(values), APPENDED_AT_ONCE):
            with self.doc.transaction():
                append = self.list.append
                for value in values[at : at + APPENDED_AT_ONCE]:
                    append(value)

    def clear(self) -> None:
        self.list.clear()

    def written(self) -> bytes:
        update: bytes = self.doc.get_update()
        return update

    def lacks(self, other: Document) -> bytes:
        update: bytes = self.doc.get_update(other.doc.get_state())
        return update

    def take(self, update: bytes) -> None:
        self.doc.apply_update(update)

    def take_batch(self, updates: Sequence[bytes]) -> None:
        with self.doc.transaction():
            for update in updates:
                self.doc.apply_update(update)

    def snapshot(self) -> bytes:
        return self.written()

    def read(self, parts: str = "mnl") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part, held in zip("mnl", (self.map, self.totals, self.list), strict=True):
            if part in parts:
                # Three times as fast as to_py, and whole numbers stay whole.
                found[part] = json.loads(str(held))
        if "n" in parts:
            found["n"] = sum(found["n"].values())
        return found

    def read_one(self, key: str) -> Any:
        return self.map.get(key)


def version() -> str:
    return metadata.version("pycrdt")


def create(replica: int) -> Document:
    return Document(replica)


def load(snapshot: bytes, replica: int) -> Document:
    document = Document(replica)
    document.doc.apply_update(snapshot)
    return document
