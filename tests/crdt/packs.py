"""Packs as somebody else would write them: no compression, nothing by reference but by CID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from nacl.signing import SigningKey

from tests.crdt import codec
from tests.crdt.canonical import Link, encode
from tests.crdt.codec import column, number, zigzag
from tests.crdt.specification import Change, Path, cid_of_change

MAGIC: Final = b"QFCP\x01"
SIGNED: Final = b"qflow crdt change v1\n"


def signed(seed: bytes, cid: bytes) -> bytes:
    """The signature of a change by the digest of its CID."""
    return SigningKey(seed).sign(SIGNED + cid_of_change(cid)).signature


@dataclass(frozen=True)
class Signed:
    change: Change
    signature: bytes
    op: bytes | None = None


def sealed(doc: bytes, change: Change, seed: bytes, op: bytes | None = None) -> Signed:
    """The change with the CID that it gets, signed."""
    cid = codec.digest(codec.body(doc, change, op))
    return Signed(replace(change, cid=cid), signed(seed, cid), op)


def numbers(values: Sequence[int]) -> bytes:
    if not values:
        return b""
    if min(values) < 0:
        return b"\x01" + column([zigzag(value) for value in values])
    return b"\x00" + column(values)


def section(data: bytes) -> bytes:
    return number(len(data) << 1) + data


def planes(floats: bytes) -> bytes:
    return b"".join(floats[plane::8] for plane in range(8))


class Packer:
    """Columns over all changes."""

    def __init__(self, doc: bytes) -> None:
        self.doc = doc
        self.signatures: list[bytes] = []
        self.replicas: list[bytes] = []
        self.cids: list[bytes] = []
        self.names: list[bytes] = []
        self.paths: dict[Path, int] = {(): 0}
        self.path_columns: list[tuple[int, int]] = []
        self.rows: list[tuple[int, int, int, int, int, int]] = []
        self.deps: list[int] = []
        self.ops = b""
        self.places: list[int] = []
        self.kinds: list[int] = []
        self.ints: list[int] = []
        self.floats = b""
        self.texts: list[bytes] = []
        self.blobs: list[bytes] = []

    def add(self, one: Signed) -> None:
        change, op = one.change, one.op or b""
        self.signatures.append(one.signature)
        if change.replica not in self.replicas:
            self.replicas.append(change.replica)
        prev = 0 if change.prev is None else self.reference(change.prev)
        by, n = self.replicas.index(change.replica), len(change.operations)
        self.rows.append((by, change.seq0, n, prev, len(change.deps), len(op)))
        self.deps += [self.reference(cid) for cid in sorted(change.deps)]
        self.ops += op
        columns = codec.Columns(change.operations)
        for operation in change.operations:
            self.place(operation.path)
        self.kinds += columns.kinds
        self.ints += columns.ints
        self.floats += columns.floats
        self.texts += columns.texts
        self.blobs += columns.blobs

    def reference(self, cid: bytes) -> int:
        if cid not in self.cids:
            self.cids.append(cid)
        return 2 + 2 * self.cids.index(cid)

    def place(self, path: Path) -> None:
        for depth in range(1, len(path) + 1):
            if path[:depth] in self.paths:
                continue
            name = path[depth - 1].encode()
            if name not in self.names:
                self.names.append(name)
            self.path_columns.append((self.paths[path[: depth - 1]], self.names.index(name)))
            self.paths[path[:depth]] = len(self.paths)
        self.places.append(self.paths[path])

    def sections(self) -> list[bytes]:
        by, seqs, counts, prevs, dep_counts, op_lens = (
            [row[at] for row in self.rows] for at in range(6)
        )
        return [
            numbers(by), numbers(seqs), numbers(counts), numbers(prevs), numbers(dep_counts),
            numbers(self.deps), numbers(op_lens), self.ops,
            numbers([parent for parent, _ in self.path_columns]),
            numbers([name for _, name in self.path_columns]),
            numbers([0] * len(self.names)),
            numbers([len(name) for name in self.names]), b"".join(self.names),
            numbers(self.places), numbers(self.kinds), numbers(self.ints), planes(self.floats),
            numbers([len(text) for text in self.texts]), b"".join(self.texts),
            numbers([len(blob) for blob in self.blobs]), b"".join(self.blobs),
        ]  # fmt: skip

    def head(self) -> bytes:
        counts = (len(self.signatures), len(self.replicas), len(self.cids))
        fixed = [*self.signatures, *self.replicas, *self.cids]
        return MAGIC + self.doc + b"".join(map(number, counts)) + b"".join(fixed)

    def __bytes__(self) -> bytes:
        return self.head() + b"".join(map(section, self.sections()))


def pack(doc: bytes, changes: Iterable[Signed]) -> bytes:
    packer = Packer(doc)
    for one in changes:
        packer.add(one)
    return bytes(packer)


def clock(*heads: tuple[bytes, int, bytes]) -> bytes:
    """A clock as it goes over the wire; the last field of a head is the bytes of a CID."""
    return encode([[replica, seq, Link(cid)] for replica, seq, cid in heads])
