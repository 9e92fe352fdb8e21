"""The body of a change, written and read once more by the page docs/formats/crdt.md."""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.crdt import canonical
from tests.crdt.canonical import Link
from tests.crdt.specification import Change, Kind, Operation, Path, cid_of_change

NULL, FALSE, TRUE, INT, FLOAT, TEXT, BYTES, LINK, LIST, MAP = range(10)
APPEND: Final = 16
NUMBERS: Final = {
    Kind.APPEND: 26,
    Kind.SET_MAP: 27,
    Kind.DELETE: 28,
    Kind.INCREMENT: 29,
    Kind.MAP: 30,
}
KINDS: Final = {number: kind for kind, number in NUMBERS.items()}


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def number(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> int:
    """A difference that wraps at 64 bits, as a number without a sign."""
    value = (value + 2**63) % 2**64 - 2**63
    return value << 1 if value >= 0 else -1 - (value << 1)


def unzigzag(value: int) -> int:
    return value >> 1 if value & 1 == 0 else -1 - (value >> 1)


def column(values: Iterable[int]) -> bytes:
    """Runs of two or more equal numbers, and stretches of those without equal neighbours."""
    out, stretch = bytearray(), list[int]()

    def close() -> None:
        if stretch:
            out.extend(number(len(stretch) << 1 | 1) + b"".join(map(number, stretch)))
            stretch.clear()

    for value, run in itertools.groupby(values):
        length = len(list(run))
        if length == 1:
            stretch.append(value)
            continue
        close()
        out.extend(number(length << 1) + number(value))
    close()
    return bytes(out)


def deltas(values: Iterable[int]) -> list[int]:
    return [zigzag(after - before) for before, after in itertools.pairwise([0, *values])]


class Raw(bytes):
    """Bytes that a liar puts where the canonical bytes of a list belong."""


class Columns:
    """The content of one change on its way to bytes."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.paths: dict[Path, int] = {(): 0}
        self.places: list[int] = []
        self.kinds: list[int] = []
        self.ints: list[int] = []
        self.floats = b""
        self.texts: list[bytes] = []
        self.blobs: list[bytes] = []
        for one in operations:
            for depth in range(1, len(one.path) + 1):
                self.paths.setdefault(one.path[:depth], len(self.paths))
            self.places.append(self.paths[one.path])
            self.kinds.append(self.kind(one))

    def kind(self, one: Operation) -> int:
        if one.kind == Kind.SET:
            return self.value(one.value)
        if one.kind == Kind.APPEND and len(one.value) == 1:
            return APPEND + self.value(one.value[0])
        if one.kind == Kind.APPEND:
            self.blobs.append(canonical.encode(one.value))
        elif one.kind == Kind.INCREMENT:
            self.ints.append(one.value)
        return NUMBERS[one.kind]

    def value(self, value: Any) -> int:
        match value:
            case Raw():
                self.blobs.append(bytes(value))
                return LIST
            case None:
                return NULL
            case bool():
                return TRUE if value else FALSE
            case int():
                self.ints.append(value)
                return INT
            case float():
                self.floats += struct.pack(">d", value)
                return FLOAT
            case str():
                self.texts.append(value.encode())
                return TEXT
            case list() | tuple() | dict():
                self.blobs.append(canonical.encode(value))
                return MAP if isinstance(value, dict) else LIST
        self.blobs.append(bytes(value))
        return BYTES if isinstance(value, bytes) and not isinstance(value, Link) else LINK

    def __bytes__(self) -> bytes:
        paths = [path for path in self.paths if path]
        keys = [path[-1].encode() for path in paths]
        written = [
            number(len(paths)),
            column([self.paths[path[:-1]] for path in paths]),
            column([len(key) for key in keys]),
            *keys,
            column(deltas(self.places)),
            column(self.kinds),
            column(deltas(self.ints)),
            self.floats,
            column([len(text) for text in self.texts]),
            *self.texts,
            column([len(blob) for blob in self.blobs]),
            *self.blobs,
        ]
        return b"".join(written)


def fields(doc: bytes, change: Change, op: bytes | None = None) -> dict[str, Any]:
    """The body of a change as a map; the CID of `change` is not looked at."""
    made = {
        "v": 1,
        "doc": doc,
        "replica": change.replica,
        "seq0": change.seq0,
        "n": len(change.operations),
        "prev": None if change.prev is None else Link(cid_of_change(change.prev)),
        "deps": [Link(cid_of_change(cid)) for cid in sorted(change.deps)],
        "columns": bytes(Columns(change.operations)),
    }
    return made if op is None else {**made, "op": op}


def body(doc: bytes, change: Change, op: bytes | None = None) -> bytes:
    return canonical.encode(fields(doc, change, op))


class Reader:
    """Reads columns that have no mistakes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def column(self, count: int) -> list[int]:
        values: list[int] = []
        while len(values) < count:
            chunk = self.number()
            length = chunk >> 1
            values += (
                [self.number() for _ in range(length)] if chunk & 1 else [self.number()] * length
            )
        return values

    def signed(self, count: int) -> list[int]:
        """Of differences, the numbers."""
        sums = itertools.accumulate(map(unzigzag, self.column(count)))
        return [(value + 2**63) % 2**64 - 2**63 for value in sums]

    def blobs(self, count: int) -> list[bytes]:
        return [self.take(length) for length in self.column(count)]


def operations(data: bytes, n: int) -> tuple[Operation, ...]:
    """What the columns say."""
    reader = Reader(data)
    count = reader.number()
    parents = reader.column(count)
    paths: list[Path] = [()]
    for parent, key in zip(parents, reader.blobs(count), strict=True):
        paths.append((*paths[parent], key.decode()))
    places = reader.signed(n)
    kinds = reader.column(n)
    values = [kind - APPEND if APPEND <= kind < NUMBERS[Kind.APPEND] else kind for kind in kinds]
    ints = iter(reader.signed(sum(value in (INT, NUMBERS[Kind.INCREMENT]) for value in values)))
    floats = iter(struct.unpack(f">{(k := values.count(FLOAT))}d", reader.take(8 * k)))
    texts = iter(reader.blobs(values.count(TEXT)))
    held = (BYTES, LINK, LIST, MAP, NUMBERS[Kind.APPEND])
    blobs = iter(reader.blobs(sum(value in held for value in values)))
    assert reader.at == len(data), "bytes after the columns"
    read: dict[int, Callable[[], Any]] = {
        NULL: lambda: None,
        FALSE: lambda: False,
        TRUE: lambda: True,
        INT: lambda: next(ints),
        FLOAT: lambda: next(floats),
        TEXT: lambda: next(texts).decode(),
        BYTES: lambda: next(blobs),
        LINK: lambda: Link(next(blobs)),
        LIST: lambda: canonical.decode(next(blobs)),
        MAP: lambda: canonical.decode(next(blobs)),
        NUMBERS[Kind.INCREMENT]: lambda: next(ints),
        NUMBERS[Kind.APPEND]: lambda: tuple(canonical.decode(next(blobs))),
    }
    found = []
    for place, kind, value in zip(places, kinds, values, strict=True):
        made = read[value]() if value in read else None
        if kind in KINDS:
            found.append(Operation(KINDS[kind], paths[place], made))
        elif kind >= APPEND:
            found.append(Operation(Kind.APPEND, paths[place], (made,)))
        else:
            found.append(Operation(Kind.SET, paths[place], made))
    return tuple(found)


def change(data: bytes) -> Change:
    """The change of a body, which has no other spelling."""
    held = canonical.decode(data)
    prev = held["prev"]
    made = Change(
        replica=held["replica"],
        seq0=held["seq0"],
        prev=None if prev is None else bytes(prev[4:]),
        deps=tuple(bytes(link[4:]) for link in held["deps"]),
        operations=operations(held["columns"], held["n"]),
        cid=digest(data),
    )
    assert body(held["doc"], made, held.get("op")) == data, "another spelling of a change"
    return made
