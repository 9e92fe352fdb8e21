"""The bytes of changes and packs, written a second time from the page docs/formats/crdt.md."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Sequence
from hashlib import sha256
from struct import pack as pack_struct
from typing import Any

import pytest

from qflow import _core
from tests.core.vectors import load_vectors, untag
from tests.crdt.codec import column, deltas, number, zigzag

VECTORS = load_vectors("crdt-change.json")
SIGNED = b"qflow crdt change v1\n"

SCALARS = (type(None), bool, int, float, str, bytes, _core.Cid, list, dict)
WITHOUT_VALUE = {"set_map": 27, "delete": 28, "map": 30}


def value_kind(value: Any) -> int:
    if isinstance(value, bool):
        return 2 if value else 1
    kinds = {type(None): 0, int: 3, float: 4, str: 5, bytes: 6, _core.Cid: 7, list: 8, dict: 9}
    return kinds[type(value)]


class Content:
    """The columns of one change."""

    def __init__(self, operations: Sequence[Sequence[Any]]) -> None:
        self.paths: dict[tuple[str, ...], int] = {(): 0}
        self.places: list[int] = []
        self.kinds: list[int] = []
        self.ints: list[int] = []
        self.floats = b""
        self.texts: list[bytes] = []
        self.blobs: list[bytes] = []
        for action, pointer, *values in operations:
            parts = tuple(pointer.split("/")[1:])
            for length in range(1, len(parts) + 1):
                self.paths.setdefault(parts[:length], len(self.paths))
            self.places.append(self.paths[parts])
            self.add(action, values)

    def add(self, action: str, values: list[Any]) -> None:
        if action in WITHOUT_VALUE:
            self.kinds.append(WITHOUT_VALUE[action])
        elif action == "increment":
            self.kinds.append(29)
            self.ints += values
        elif len(values) > 1:
            self.kinds.append(26)
            self.blobs.append(_core.encode(values))
        else:
            self.kinds.append(value_kind(values[0]) + (16 if action == "append" else 0))
            self.add_value(values[0])

    def add_value(self, value: Any) -> None:
        match value:
            case None | bool():
                pass
            case int():
                self.ints.append(value)
            case float():
                self.floats += pack_struct(">d", value)
            case str():
                self.texts.append(value.encode())
            case bytes() | _core.Cid():
                self.blobs.append(bytes(value))
            case _:
                self.blobs.append(_core.encode(value))

    def columns(self) -> bytes:
        paths = list(self.paths)[1:]
        keys = [path[-1].encode() for path in paths]
        return b"".join(
            (
                number(len(paths)),
                column(self.paths[path[:-1]] for path in paths),
                column(map(len, keys)),
                *keys,
                column(deltas(self.places)),
                column(self.kinds),
                column(deltas(self.ints)),
                self.floats,
                column(map(len, self.texts)),
                *self.texts,
                column(map(len, self.blobs)),
                *self.blobs,
            )
        )


def body_of(change: dict[str, Any]) -> bytes:
    operations = untag(change["operations"])
    fields = {name: untag(change[name]) for name in ("doc", "replica", "prev", "deps", "seq0")}
    if "op" in change:
        fields["op"] = untag(change["op"])
    columns = Content(operations).columns()
    return _core.encode(fields | {"v": 1, "n": len(operations), "columns": columns})


@pytest.mark.parametrize("change", VECTORS["changes"], ids=lambda change: change["name"])
def test_a_body_has_the_bytes_of_the_page(change: dict[str, Any]) -> None:
    body = body_of(change)
    assert body.hex() == change["body"]
    cid = _core.cid_of(body)
    assert str(cid) == change["cid"]
    assert cid.digest == sha256(body).digest()


@pytest.mark.parametrize("change", VECTORS["changes"], ids=lambda change: change["name"])
def test_the_signature_is_over_the_cid_alone(change: dict[str, Any]) -> None:
    cid, signature = bytes(_core.Cid(change["cid"])), bytes.fromhex(change["signature"])
    replica = untag(change["replica"])
    assert _core.verify_signature(replica, SIGNED + cid, signature)
    assert not _core.verify_signature(replica, cid, signature)


def section(content: bytes) -> bytes:
    return number(len(content) << 1) + content


def numbers(values: Sequence[int]) -> bytes:
    """As they are or by their differences, whatever is shorter."""
    if not values:
        return section(b"")
    signed = min(values) < 0
    plain = bytes([signed]) + column(map(zigzag, values) if signed else values)
    by_difference = b"\2" + column(deltas(values))
    return section(by_difference if len(by_difference) < len(plain) else plain)


class Pack:
    """A pack, not deflated: what is in it is short."""

    def __init__(self, changes: Sequence[dict[str, Any]]) -> None:
        self.changes = changes
        self.at: dict[_core.Cid, int] = {}
        self.replicas: list[bytes] = []
        self.cids: list[_core.Cid] = []
        self.last: dict[bytes, tuple[int, int]] = {}
        self.origins: dict[str, list[int]] = {
            name: [] for name in ("by", "seqs", "counts", "prevs", "dep_counts", "deps", "op_lens")
        }
        self.paths: dict[tuple[str, ...], int] = {(): 0}
        self.names: dict[str, int] = {}
        self.places: list[int] = []
        self.contents = [Content(untag(change["operations"])) for change in changes]
        for index, change in enumerate(changes):
            self.add_origin(index, change)
            self.add_paths(self.contents[index])

    def reference(self, index: int, cid: _core.Cid) -> int:
        if cid in self.at:
            return 2 + 2 * (index - self.at[cid] - 1) + 1
        if cid not in self.cids:
            self.cids.append(cid)
        return 2 + 2 * self.cids.index(cid)

    def add_origin(self, index: int, change: dict[str, Any]) -> None:
        replica, prev, origins = untag(change["replica"]), untag(change["prev"]), self.origins
        last, seq_next = self.last.get(replica, (-1, 0))
        follows = prev is not None and self.at.get(prev) == last
        if replica not in self.replicas:
            self.replicas.append(replica)
        origins["by"].append(self.replicas.index(replica))
        origins["seqs"].append(change["seq0"] - (seq_next if follows else 0))
        origins["counts"].append(len(change["operations"]))
        unfollowed = 0 if prev is None else 1
        origins["prevs"].append(unfollowed if follows or not prev else self.reference(index, prev))
        deps = untag(change["deps"])
        origins["dep_counts"].append(len(deps))
        origins["deps"] += [self.reference(index, dep) for dep in deps]
        origins["op_lens"].append(len(untag(change["op"])) if "op" in change else 0)
        self.last[replica] = index, change["seq0"] + len(change["operations"])
        self.at[_core.Cid(change["cid"])] = index

    def add_paths(self, content: Content) -> None:
        for path in list(content.paths)[1:]:
            self.names.setdefault(path[-1], len(self.names))
            self.paths.setdefault(path, len(self.paths))
        by_place = list(content.paths)
        self.places += [self.paths[by_place[place]] for place in content.places]

    def spelled(self) -> tuple[list[int], list[int], bytes]:
        shared, lens, suffixes, before = list[int](), list[int](), b"", b""
        for name in map(str.encode, self.names):
            common = 0
            while name[: common + 1] == before[: common + 1] and common < len(name):
                common += 1
            shared.append(common)
            lens.append(len(name) - common)
            suffixes += name[common:]
            before = name
        return shared, lens, suffixes

    def packed(self) -> bytes:
        contents, paths = self.contents, list(self.paths)[1:]
        shared, lens, suffixes = self.spelled()
        floats = b"".join(content.floats for content in contents)
        texts = [text for content in contents for text in content.texts]
        blobs = [blob for content in contents for blob in content.blobs]
        return b"".join(
            (
                b"QFCP\x01",
                untag(self.changes[0]["doc"]),
                number(len(self.changes)),
                number(len(self.replicas)),
                number(len(self.cids)),
                *(bytes.fromhex(change["signature"]) for change in self.changes),
                *self.replicas,
                *(cid.digest for cid in self.cids),
                *map(numbers, self.origins.values()),
                section(b"".join(untag(change.get("op", [])) or b"" for change in self.changes)),
                numbers([self.paths[path[:-1]] for path in paths]),
                numbers([self.names[path[-1]] for path in paths]),
                numbers(shared),
                numbers(lens),
                section(suffixes),
                numbers(self.places),
                numbers([kind for content in contents for kind in content.kinds]),
                numbers([value for content in contents for value in content.ints]),
                section(b"".join(floats[plane::8] for plane in range(8))),
                numbers([len(text) for text in texts]),
                section(b"".join(texts)),
                numbers([len(blob) for blob in blobs]),
                section(b"".join(blobs)),
            )
        )


def test_a_pack_has_the_bytes_of_the_page() -> None:
    assert Pack(VECTORS["changes"]).packed().hex() == VECTORS["pack"]


GOLDEN = bytes.fromhex(VECTORS["pack"])
DOC = untag(VECTORS["changes"][0]["doc"])
# Reads a pack and says why it is refused and by how many KiB the process grew.
CHECKING = """
import resource, sys
from qflow import _core
pack = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    _core.check_changes(pack, doc=pack[5:21], members=None)
except ValueError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown, error)
"""


def forged(*operations: Sequence[Any]) -> Pack:
    """A pack of one change by nobody: refused before anybody asks who signed it."""
    change = VECTORS["changes"][1] | {"prev": None, "seq0": 0, "operations": operations}
    return Pack([change])


def deflate_bomb(said: int, size: int) -> bytes:
    """A pack whose first section inflates to `size` bytes and says `said`."""
    squeezer = zlib.compressobj(9, wbits=-15)
    deflated = squeezer.compress(bytes(size)) + squeezer.flush()
    head = b"QFCP\x01" + bytes(16) + b"\1\1\0" + bytes(96)
    return head + number(len(deflated) << 1 | 1) + number(said) + deflated + bytes(20)


def run_length_bomb() -> bytes:
    """A change that says it has 2**40 operations, in a run of ten bytes."""
    bomb = forged(["delete", "/a"]).packed()
    head, rest = bomb[: 24 + 64 + 32], bomb[24 + 64 + 32 :]
    by, seqs, counts = section(b"\0\3\0"), section(b"\0\3\0"), section(b"\0\3\1")
    assert rest.startswith(by + seqs + counts)
    claimed = section(b"\0\3" + number(2**40))
    return head + by + seqs + claimed + rest[len(by + seqs + counts) :]


def levels_bomb() -> bytes:
    bomb = forged(["set", "/a", []])
    bomb.contents[0].blobs = [b"\x81" * 20_000 + b"\x80"]
    return bomb.packed()


def deep_path() -> bytes:
    return forged(["delete", "/a" * 20_000]).packed()


@pytest.mark.holds("C15")
@pytest.mark.parametrize(
    ("bomb", "why"),
    [
        (deflate_bomb(1_000, 256 << 20), "pack"),
        (deflate_bomb(2**40, 256 << 20), "pack"),
        (run_length_bomb(), "pack"),
        (levels_bomb(), "64 levels"),
        (deep_path(), "pack"),
    ],
    ids=["deflated, and says less", "deflated, and says so", "run length", "levels", "path"],
)
def test_a_bomb_is_refused_in_bounded_memory(bomb: bytes, why: str) -> None:
    command = [sys.executable, "-c", CHECKING]
    found = subprocess.run(command, input=bomb, capture_output=True, check=True)
    grown_kib, error = found.stdout.decode().split(" ", 1)
    assert why in error
    assert int(grown_kib) < 8 << 10


@pytest.mark.holds("C8")
@pytest.mark.parametrize("part", [".", "..", "$a", "a\0", "a\x7f", "e\u0301", "\u212b", ""])
def test_a_change_with_an_unfit_part_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="part"):
        _core.check_changes(forged(["delete", f"/a/{part}"]).packed(), doc=DOC, members=None)


@pytest.mark.holds("C9")
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_float_that_is_not_finite_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="not finite"):
        _core.check_changes(forged(["set", "/a", float(value)]).packed(), doc=DOC, members=None)


@pytest.mark.holds("C10")
def test_what_is_not_signed_by_a_member_is_refused() -> None:
    cids = [bytes(_core.Cid(change["cid"])) for change in VECTORS["changes"]]
    assert _core.check_changes(GOLDEN, doc=DOC, members=None).refused == []
    tampered = bytearray(GOLDEN)
    tampered[24] ^= 1
    refused = _core.check_changes(bytes(tampered), doc=DOC, members=None).refused
    assert [cid for cid, _ in refused] == cids[:1]
    member = untag(VECTORS["changes"][0]["replica"])
    refused = _core.check_changes(GOLDEN, doc=DOC, members=[member]).refused
    assert [cid for cid, _ in refused] == [cids[2]]
    with pytest.raises(ValueError, match="another document"):
        _core.check_changes(GOLDEN, doc=bytes(16), members=None)
