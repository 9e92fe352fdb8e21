"""Automerge, by the pre-release of its own Python package: the releases before it cannot save.

Three things that its Rust core has and the package does not are done from outside. A counter is an
integer whose tag in the encoded change was replaced. A counter's value is read out of the text of
a patch. Changes are imported as a message of its sync protocol that holds them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from automerge import core

NAME = "automerge"
TYPES = "maps and lists of one first change that all replicas share, and its own counter type"
COUNTS, INCREMENTS_MAX = True, 20_000
"""Each walks over those before it: 100,000 take two minutes."""
INT, COUNTER = b"\x14", b"\x18"
"""The tags of an integer and of a counter, with the length 1."""
CHECKSUM_AT, CONTENT_AT = 4, 8
CURRENT = re.compile(r"Counter \{ start: -?\d+, current: (-?\d+) \}")


@functools.cache
def first() -> tuple[bytes, bytes, bytes]:
    """The first changes, and the ids of the map and the list that they make."""
    document: Any = core.Document(bytes(16))
    with document.transaction() as transaction:
        members = transaction.put_object(core.ROOT, "m", core.ObjType.Map)
        elements = transaction.put_object(core.ROOT, "l", core.ObjType.List)
    with document.transaction() as transaction:
        transaction.put(core.ROOT, "n", core.ScalarType.Int, 0)
    made, number = (bytes(change.raw_bytes) for change in document.get_changes([]))
    before, _, behind = number.rpartition(INT)
    content = (before + COUNTER + behind)[CONTENT_AT:]
    checksum = hashlib.sha256(content).digest()[: CONTENT_AT - CHECKSUM_AT]
    return made + number[:CHECKSUM_AT] + checksum + content, members, elements


def leb128(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def chunks(joined: bytes) -> list[bytes]:
    """The changes that one update joins: four bytes, a checksum, a type, a length, the content."""
    found, at = [], 0
    while at < len(joined):
        length = shift = 0
        end = at + CONTENT_AT + 1
        while True:
            byte = joined[end]
            length |= (byte & 0x7F) << shift
            shift, end = shift + 7, end + 1
            if byte < 0x80:
                break
        found.append(joined[at : end + length])
        at = end + length
    return found


def scalar(value: Any) -> Any:
    if isinstance(value, bool):
        return core.ScalarType.Boolean
    if isinstance(value, int):
        return core.ScalarType.Int
    if isinstance(value, float):
        return core.ScalarType.F64
    return core.ScalarType.Null if value is None else core.ScalarType.Str


class Document:
    def __init__(self, replica: int, saved: bytes | None = None) -> None:
        begun, self.map, self.list = first()
        self.doc: Any = core.Document.load(saved or begun)
        self.doc.set_actor(replica.to_bytes(16, "big"))

    def addresses(self, keys: Sequence[str]) -> Sequence[str]:
        return keys

    def set_keys(self, addresses: Sequence[str], values: Sequence[Any]) -> None:
        with self.doc.transaction() as transaction:
            put, members = transaction.put, self.map
            for key, value in zip(addresses, values, strict=True):
                put(members, key, scalar(value), value)

    def set_nested(self, groups: int, parts: int, leaves: int) -> None:
        with self.doc.transaction() as transaction:
            put, make, number = transaction.put, transaction.put_object, core.ScalarType.Int
            for group in range(groups):
                outer = make(self.map, f"g{group}", core.ObjType.Map)
                for part in range(parts):
                    inner = make(outer, f"p{part}", core.ObjType.Map)
                    for leaf in range(leaves):
                        put(inner, f"l{leaf}", number, leaf)

    def set_object(self, key: str, value: dict[str, Any]) -> None:
        with self.doc.transaction() as transaction:
            made = transaction.put_object(self.map, key, core.ObjType.Map)
            for name, member in value.items():
                transaction.put(made, name, scalar(member), member)

    def delete(self, key: str) -> None:
        with self.doc.transaction() as transaction:
            transaction.delete(self.map, key)

    def increment(self, times: int) -> None:
        with self.doc.transaction() as transaction:
            increment, root = transaction.increment, core.ROOT
            for _ in range(times):
                increment(root, "n", 1)

    def append(self, values: Sequence[Any]) -> None:
        length = self.doc.length(self.list)
        with self.doc.transaction() as transaction:
            insert, elements = transaction.insert, self.list
            for index, value in enumerate(values, length):
                insert(elements, index, scalar(value), value)

    def clear(self) -> None:
        with self.doc.transaction() as transaction:
            for index in reversed(range(self.doc.length(self.list))):
                transaction.delete(self.list, index)

    def written(self) -> bytes:
        return b"".join(bytes(change.bytes) for change in self.doc.get_changes([])[2:])

    def lacks(self, other: Document) -> bytes:
        theirs = {change.hash for change in other.doc.get_changes([])}
        changes = self.doc.get_changes([])
        return b"".join(bytes(change.bytes) for change in changes if change.hash not in theirs)

    def take(self, update: bytes) -> None:
        self.take_batch([update])

    def take_batch(self, updates: Sequence[bytes]) -> None:
        changes = [change for update in updates for change in chunks(update)]
        listed = b"".join(leb128(len(change)) + change for change in changes)
        # No heads, no needs, nothing had: only changes.
        message = core.Message.decode(b"\x42\0\0\0" + leb128(len(changes)) + listed)
        self.doc.receive_sync_message(core.SyncState(), message)

    def snapshot(self) -> bytes:
        saved: bytes = self.doc.save()
        return saved

    def read(self, parts: str = "mnl") -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "m" in parts:
            found["m"] = self.members(self.map)
        if "n" in parts:
            found["n"] = self.counted()
        if "l" in parts:
            found["l"] = [value[1] for value, _ in self.doc.values(self.list)]
        return found

    def members(self, made: bytes) -> dict[str, Any]:
        pairs = zip(self.doc.keys(made), self.doc.values(made), strict=True)
        return {
            key: value[1] if isinstance(value, tuple) else self.members(inner)
            for key, (value, inner) in pairs
        }

    def counted(self) -> int:
        """Out of the patches of the whole document; where speed counts it is not asked for."""
        patches = self.doc.diff([], self.doc.get_heads())
        found = [match for patch in patches if (match := CURRENT.search(str(patch)))]
        return int(found[-1][1]) if found else 0

    def read_one(self, key: str) -> Any:
        found = self.doc.get(self.map, key)
        if found is None:
            return None
        value, inner = found
        return value[1] if isinstance(value, tuple) else self.members(inner)


def version() -> str:
    return metadata.version("automerge")


def create(replica: int) -> Document:
    return Document(replica)


def load(snapshot: bytes, replica: int) -> Document:
    return Document(replica, snapshot)
