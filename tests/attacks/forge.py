"""The tools of a skilled attacker: takes a log's files apart and lays them out again.

Everything that needs no key is made as the log would have made it: checksums, places, subtree
roots, padding, tiles. Written from docs/formats/log.md and the C2SP pages, with none of Qflow's
code, so that it is a second reading of them.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nacl.signing import SigningKey

BLOCK = 4096
HEAD_BYTES_MAX = 1024
RECORD, BLOB = 0, 1
EMPTY_ROOT = hashlib.sha256(b"").digest()


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc32c(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def leaf_hash(record: bytes) -> bytes:
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """The roots of the complete subtrees of a growing RFC 6962 tree, the smallest last."""

    def __init__(self, leaves: Sequence[bytes] = ()) -> None:
        self.size, self.subtrees = 0, list[bytes]()
        for leaf in leaves:
            self.push(leaf)

    def push(self, leaf: bytes) -> None:
        size, self.size = self.size, self.size + 1
        while size & 1:
            leaf, size = node_hash(self.subtrees.pop(), leaf), size >> 1
        self.subtrees.append(leaf)

    @property
    def root(self) -> bytes:
        if not self.subtrees:
            return EMPTY_ROOT
        *above, root = self.subtrees
        for subtree in reversed(above):
            root = node_hash(subtree, root)
        return root


@dataclass(frozen=True)
class Item:
    """A record, or a block with its CID, as it lies in a frame."""

    kind: int
    data: bytes

    @cached_property
    def encoded(self) -> bytes:
        rest = len(self.data).to_bytes(4, "little") + bytes([self.kind]) + self.data
        return crc32c(rest) + rest

    @classmethod
    def parse(cls, data: bytes, at: int) -> Item:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        item = cls(data[at + 8], data[at + 9 : at + 9 + length])
        # The checksum that lies there is kept: computing them all would take most of the time.
        item.__dict__["encoded"] = data[at : at + 9 + length]
        return item


@dataclass
class Commit:
    """What one frame holds."""

    items: list[Item]
    head: bytes

    @property
    def records(self) -> list[bytes]:
        return [item.data for item in self.items if item.kind == RECORD]


@dataclass
class Journal:
    """A journal without its layout."""

    log_id: bytes
    segment_bytes: int
    commits: list[Commit] = field(default_factory=list)

    @property
    def records(self) -> list[bytes]:
        return [record for commit in self.commits for record in commit.records]


def read_journal(folder: Path) -> Journal:
    """Take a good journal apart."""
    segments = sorted((folder / "journal").iterdir())
    first = segments[0].read_bytes()
    journal = Journal(first[32:40], len(first))
    for segment in segments:
        data = segment.read_bytes()
        for at, length in frames(data):
            head = int.from_bytes(data[at + 36 : at + 40], "little")
            journal.commits.append(_read_commit(data[at : at + length], head))
    return journal


def frames(segment: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where the frames of a segment begin, and how long they are without their padding."""
    at = BLOCK
    while at < len(segment) and segment[at : at + 4] == b"QFR1":
        length = int.from_bytes(segment[at + 8 : at + 12], "little")
        yield at, length
        at += padded(length)


def padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _read_commit(frame: bytes, head: int) -> Commit:
    at, items = 48, []
    while at < len(frame) - head:
        items.append(Item.parse(frame, at))
        at += len(items[-1].encoded)
    return Commit(items, frame[len(frame) - head :])


def encode_frame(commit: Commit, first: int, address: int, log_id: bytes) -> bytes:
    """One frame with good checksums, whatever it says."""
    items = [item.encoded for item in commit.items]
    length = 48 + sum(map(len, items)) + len(commit.head)
    header = length.to_bytes(4, "little") + len(commit.records).to_bytes(4, "little")
    header += first.to_bytes(8, "little") + address.to_bytes(8, "little")
    header += (len(items) - len(commit.records)).to_bytes(4, "little")
    header += len(commit.head).to_bytes(4, "little") + log_id
    checksum = crc32c(b"".join(item[:8] for item in items) + commit.head + header)
    frame = b"QFR1" + checksum + header + b"".join(items) + commit.head
    return frame + bytes(padded(length) - length)


def segment_header(number: int, length: int, log_id: bytes, tree: Tree) -> bytes:
    """The first block of a segment that begins with `tree`."""
    rest = (1).to_bytes(4, "little") + number.to_bytes(8, "little") + length.to_bytes(8, "little")
    rest += log_id + tree.size.to_bytes(8, "little") + bytes(8)
    rest += b"".join(reversed(tree.subtrees))
    rest += bytes(BLOCK - 12 - len(rest))
    return b"QFLOWSEG" + crc32c(rest) + rest


def write_journal(folder: Path, journal: Journal) -> None:
    """Lay the commits out as the log does, each in the place that it has now."""
    path, prepared = folder / "journal", len(list((folder / "journal").iterdir()))
    shutil.rmtree(path)
    path.mkdir()
    tree, length = Tree(), journal.segment_bytes
    segments: list[bytearray] = []
    for commit in journal.commits:
        # The log begins a segment before it knows how long the head will be.
        need = padded(_frame_length(commit) - len(commit.head) + HEAD_BYTES_MAX)
        if not segments or len(segments[-1]) + need > length:
            header = segment_header(len(segments), length, journal.log_id, tree)
            segments.append(bytearray(header))
        address = len(segments) - 1 << 32 | len(segments[-1])
        segments[-1] += encode_frame(commit, tree.size, address, journal.log_id)
        for record in commit.records:
            tree.push(leaf_hash(record))
    for number in range(max(prepared, len(segments))):
        data = bytes(segments[number]) if number < len(segments) else b""
        (path / f"{number:010}").write_bytes(data + bytes(length - len(data)))


def _frame_length(commit: Commit) -> int:
    return 48 + sum(len(item.encoded) for item in commit.items) + len(commit.head)


def write_tiles(folder: Path, records: Sequence[bytes]) -> None:
    """The tiles and bundles of a published tree of less than 65,536 records."""
    shutil.rmtree(folder / "tile", ignore_errors=True)
    hashes = [leaf_hash(record) for record in records]
    roots = []
    for index in range(-(-len(records) // 256)):
        part = slice(256 * index, 256 * (index + 1))
        width = len(hashes[part])
        name = f"{index:03}" if width == 256 else f"{index:03}.p/{width}"
        _write(folder / "tile" / "0" / name, b"".join(hashes[part]))
        _write(folder / "tile" / "entries" / name, bundle(records[part]))
        if width == 256:
            roots.append(Tree(hashes[part]).root)
    if roots:
        _write(folder / "tile" / "1" / f"000.p/{len(roots)}", b"".join(roots))


def bundle(records: Sequence[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


@dataclass(frozen=True)
class Signer:
    """A key, whoever's, under a name, whosever."""

    origin: str
    seed: bytes

    @cached_property
    def _key(self) -> SigningKey:
        return SigningKey(self.seed)

    @property
    def key_id(self) -> bytes:
        public = bytes(self._key.verify_key)
        return hashlib.sha256(f"{self.origin}\n".encode() + b"\1" + public).digest()[:4]

    @property
    def log_id(self) -> bytes:
        key = base64.b64encode(b"\1" + bytes(self._key.verify_key)).decode()
        vkey = f"{self.origin}+{self.key_id.hex()}+{key}"
        return hashlib.sha256(vkey.encode()).digest()[:8]

    def head(self, size: int, root: bytes) -> bytes:
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()
        return text + b"\n" + self.line(text)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message).signature

    def line(self, text: bytes) -> bytes:
        """The signature line of a note's text."""
        signature = base64.b64encode(self.key_id + self.sign(text)).decode()
        return f"\u2014 {self.origin} {signature}\n".encode()


def resign(journal: Journal, signer: Signer, start: int = 0) -> None:
    """Sign the heads anew from one commit on; the journal becomes the signer's."""
    journal.log_id, tree = signer.log_id, Tree()
    for number, commit in enumerate(journal.commits):
        for record in commit.records:
            tree.push(leaf_hash(record))
        if number >= start:
            commit.head = signer.head(tree.size, tree.root)


def publish(folder: Path, journal: Journal) -> None:
    """Write journal, tiles and checkpoint of its last head; a cosigned head that says otherwise
    goes."""
    write_journal(folder, journal)
    write_tiles(folder, journal.records)
    (folder / "checkpoint").write_bytes(journal.commits[-1].head)
    witnessed = folder / "witnessed"
    if witnessed.exists() and not is_head_of(journal, witnessed.read_bytes()):
        witnessed.unlink()


def is_head_of(journal: Journal, note: bytes) -> bool:
    """Whether the journal has that tree."""
    size, root = note.split(b"\n")[1:3]
    records = journal.records
    tree = Tree([leaf_hash(record) for record in records[: int(size)]])
    return tree.size == int(size) and base64.b64encode(tree.root) == root


def rewrite(
    folder: Path, change: Callable[[Journal], object], signer: Signer | None = None
) -> None:
    """Change a journal and make all that follows: with a key, the heads too."""
    journal = read_journal(folder)
    change(journal)
    if signer is not None:
        resign(journal, signer)
    publish(folder, journal)
