"""Proofs from the tiles of a log's folder: right, or an error that names the tile; never false."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflow import _core
from qflow.errors import CorruptError, VerificationError
from tests.log.logs import ORIGIN, VKEY, change_byte, files, frames, open_log

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
LARGE = 256 * 256 + 3 * 256 + 77
"""Leaves of a tree with full tiles of two levels, and partial ones of three."""


def leaf(record: bytes) -> bytes:
    return sha256(b"\0" + record).digest()


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


def root_of(path: Path) -> bytes:
    return _core.peek_checkpoint((path / "checkpoint").read_bytes())[2]


def make(path: Path, *counts: int) -> list[bytes]:
    """A log whose head was published after each of these numbers of records; the records."""
    log = open_log(path, segment_bytes=4 << 20)
    made: list[bytes] = []
    for count in counts:
        new = [b"record %d" % number for number in range(len(made), len(made) + count)]
        for start in range(0, count, 10_000):
            log.append_durable(new[start : start + 10_000])
        log.publish()
        made += new
    log.close()
    return made


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("proofs") / "log"
    make(path, LARGE)
    return path


def check_inclusion(path: Path, records: list[bytes], index: int, size: int) -> None:
    proof = _core.inclusion_proof(str(path), index, size)
    root = tree_hash([leaf(record) for record in records[:size]])
    _core.verify_inclusion(index, size, leaf(records[index]), proof, root)


def test_every_record_is_in_every_tree_that_has_it(tmp_path: Path) -> None:
    records = make(tmp_path / "log", 40)
    for size in range(1, 41):
        for index in range(size):
            check_inclusion(tmp_path / "log", records, index, size)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 511, 512, 700])
def test_trees_of_sizes_around_a_tile_are_proven(tmp_path: Path, count: int) -> None:
    records = make(tmp_path / "log", count)
    sizes = {1, count // 2, count - 1, count, 256, 257, 512} & set(range(1, count + 1))
    for size in sizes:
        for index in {0, size // 2, size - 1}:
            check_inclusion(tmp_path / "log", records, index, size)


def test_every_tree_begins_with_every_smaller_one(tmp_path: Path) -> None:
    records = make(tmp_path / "log", 300)
    leaves = [leaf(record) for record in records]
    path = str(tmp_path / "log")
    for second in (*range(1, 30), 255, 256, 257, 299, 300):
        for first in {0, *range(1, second, 7), second // 2, second - 1, second}:
            proof = _core.consistency_proof(path, first, second)
            if first == 0:
                assert proof == []
                continue
            roots = tree_hash(leaves[:first]), tree_hash(leaves[:second])
            _core.verify_consistency(first, second, proof, *roots)


def test_what_is_not_published_is_not_proven(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    make(tmp_path / "log", 10)
    for ask in (
        lambda: _core.inclusion_proof(path, 0, 11),
        lambda: _core.inclusion_proof(path, 10, 10),
        lambda: _core.inclusion_proof(path, 0, 0),
        lambda: _core.consistency_proof(path, 3, 11),
        lambda: _core.consistency_proof(path, 4, 3),
        lambda: _core.make_receipt(path, 10),
        lambda: _core.make_receipt(str(tmp_path / "nowhere"), 0),
    ):
        with pytest.raises(ValueError, match=r"published|among|begin"):
            ask()


def needed(index: int, size: int) -> set[str]:
    """The tiles on the way of a leaf, and those at the right edge of the tree."""
    paths = set()
    for level in range(3):
        for at in {index >> 8 * (level + 1), size >> 8 * (level + 1)}:
            width = min(256, (size >> 8 * level) - 256 * at)
            if width > 0:
                suffix = "" if width == 256 else f".p/{width}"
                name = f"{at:03}" if at < 1000 else f"x{at // 1000:03}/{at % 1000:03}"
                paths.add(f"tile/{level}/{name}{suffix}")
    return paths


@pytest.mark.parametrize("index", [0, 40_000, 65_535, 65_536, LARGE - 78, LARGE - 1])
def test_only_the_tiles_on_the_way_are_read(large: Path, tmp_path: Path, index: int) -> None:
    wanted = needed(index, LARGE)
    assert len(wanted) <= 6
    for name in (*wanted, "checkpoint"):
        target = tmp_path / "log" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(large / name, target)
    proof = _core.inclusion_proof(str(tmp_path / "log"), index, LARGE)
    _core.verify_inclusion(index, LARGE, leaf(b"record %d" % index), proof, root_of(large))


@pytest.mark.holds("H18")
@settings(max_examples=60)
@given(st.data())
def test_a_damaged_tile_is_named_and_never_a_false_proof(large: Path, data: st.DataObject) -> None:
    tiles = [path for path in files(large / "tile") if "entries" not in path.parts]
    edge = [path for path in tiles if ".p" in str(path) or path.parent.name in ("1", "2")]
    file = data.draw(st.sampled_from(edge) | st.sampled_from(tiles))
    index = data.draw(st.sampled_from([0, 300, 40_000, 65_536, LARGE - 1]))
    size = data.draw(st.sampled_from([LARGE, LARGE - 1, 65_536]).filter(lambda size: index < size))
    before = file.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    change_byte(file, at, data.draw(st.integers(1, 255)))
    try:
        proof = _core.inclusion_proof(str(large), index, size)
    except CorruptError as error:
        assert str(file.relative_to(large)) in str(error)  # noqa: PT017
        return
    finally:
        file.write_bytes(before)
    assert proof == _core.inclusion_proof(str(large), index, size)


@pytest.mark.holds("H18")
@pytest.mark.parametrize("damage", [b"", b"x" * 31, b"x" * 8193, b"x" * 100_000])
def test_a_tile_of_another_width_is_named(tmp_path: Path, damage: bytes) -> None:
    make(tmp_path / "log", 300)
    (tmp_path / "log/tile/0/000").write_bytes(damage)
    with pytest.raises(CorruptError, match=r"tile/0/000"):
        _core.inclusion_proof(str(tmp_path / "log"), 0, 300)


def test_a_checkpoint_of_another_tree_proves_nothing(tmp_path: Path) -> None:
    make(tmp_path / "log", 300)
    make(tmp_path / "other", 10, 290)
    other = open_log(tmp_path / "forged")
    other.append_durable([b"another %d" % number for number in range(300)])
    other.close()
    shutil.copyfile(tmp_path / "forged/checkpoint", tmp_path / "log/checkpoint")
    with pytest.raises(CorruptError, match="checkpoint"):
        _core.inclusion_proof(str(tmp_path / "log"), 7, 300)
    with pytest.raises(CorruptError, match="checkpoint"):
        _core.make_receipt(str(tmp_path / "log"), 7)


def test_a_changed_record_gets_no_receipt(tmp_path: Path) -> None:
    make(tmp_path / "log", 300)
    bundle = tmp_path / "log/tile/entries/000"
    change_byte(bundle, 5)
    with pytest.raises(CorruptError, match=r"tile/entries/000: record 0"):
        _core.make_receipt(str(tmp_path / "log"), 0)
    assert b"index 1\n" in _core.make_receipt(str(tmp_path / "log"), 1)


def test_a_missing_tile_is_named_and_a_full_one_serves_for_a_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    make(path, 300)
    partial = path / "tile/0/001.p/44"
    hashes = partial.read_bytes()
    shutil.rmtree(partial.parent)
    with pytest.raises(CorruptError, match=r"tile/0/001\.p/44 is missing"):
        _core.inclusion_proof(str(path), 299, 300)
    (path / "tile/0/001").write_bytes(hashes + bytes(8192 - len(hashes)))
    assert len(_core.inclusion_proof(str(path), 299, 300)) > 0


def test_proofs_are_made_while_a_node_publishes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(path, segment_bytes=4 << 20)
    log.append_durable([b"record 0"])
    log.publish()
    stop = threading.Event()

    def write() -> None:
        number = 1
        while not stop.is_set():
            log.append_durable([b"record %d" % at for at in range(number, number + 7)])
            log.publish()
            number += 7

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(400):
            note = (path / "checkpoint").read_bytes()
            _, size, root = _core.peek_checkpoint(note)
            proof = _core.inclusion_proof(str(path), size - 1, size)
            _core.verify_inclusion(size - 1, size, leaf(b"record %d" % (size - 1)), proof, root)
    finally:
        stop.set()
        writer.join()
        log.close()


def cosigned(log: _core.Log, time_s: int = 5) -> str:
    head = log.head
    return head + _core.cosign(head.encode(), VKEY, "witness.example", bytes(32), time_s)


def test_a_witnessed_head_is_kept_and_receipts_use_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(path)
    for records, blocks in frames(3):
        log.append_durable(records, blocks)
    note = cosigned(log)
    log.save_witnessed(note)
    assert (path / "witnessed").read_text() == note
    log.append_durable(*frames(4)[3])
    log.publish()
    assert _core.make_receipt(str(path), 2).decode().endswith(note)
    assert _core.make_receipt(str(path), 3).decode().endswith(log.head)
    head = log.head.encode()
    assert _core.make_receipt(str(path), 0, head=head).endswith(head)
    log.close()
    open_log(path).close()


def refused_heads(path: Path, log: _core.Log, older: str) -> dict[str, str]:
    stranger = _core.Log(str(path / "stranger"), origin=ORIGIN, seed=bytes(32))
    stranger.append_durable([b"record"] * 6)
    fork = open_log(path / "fork")
    fork.append_durable([b"another", b"history", b"of", b"the same", b"length", b"as it"])
    far = open_log(path / "far")
    far.append_durable([b"record"] * 50)
    heads = {
        "of another key": stranger.head,
        "not signed": log.head.split("\n\n")[0] + "\n\n" + stranger.head.split("\n\n")[1],
        "of another history": fork.head,
        "of more records": far.head,
        "smaller than before": older,
        "malformed": log.head.replace("\n", "\r\n"),
        "changed": log.head.replace("\n6\n", "\n5\n"),
        "nothing": "",
    }
    for other in (stranger, fork, far):
        other.close()
    return heads


@pytest.mark.holds("H16")
def test_a_head_that_is_not_of_this_history_is_not_kept(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.append_durable([b"record"] * 3)
    older = log.head
    log.append_durable([b"record"] * 3)
    note = cosigned(log)
    log.save_witnessed(note)
    for why, head in refused_heads(tmp_path, log, older).items():
        with pytest.raises(VerificationError):
            log.save_witnessed(head)
        assert (tmp_path / "log/witnessed").read_text() == note, why
    again = cosigned(log, 9)
    log.save_witnessed(again)
    assert (tmp_path / "log/witnessed").read_text() == again
    log.close()


@pytest.mark.holds("H16")
def test_a_log_with_fewer_records_than_were_witnessed_is_not_opened(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.append_durable([b"record"])
    log.publish()
    log.close()
    backup = Path(shutil.copytree(tmp_path / "log", tmp_path / "backup"))
    log = open_log(tmp_path / "log")
    log.append_durable([b"record"])
    log.save_witnessed(cosigned(log))
    log.close()
    shutil.copyfile(tmp_path / "log/witnessed", backup / "witnessed")
    with pytest.raises(CorruptError, match="witnessed"):
        open_log(backup)


@pytest.mark.holds("H16")
def test_a_head_of_another_history_makes_no_receipt(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(path)
    log.append_durable([b"record"] * 6)
    older = log.head
    log.publish()
    for why, head in refused_heads(tmp_path, log, older).items():
        # No key is at hand here: who checks the receipt finds the signature of a stranger.
        if why in ("of another key", "not signed", "of more records", "smaller than before"):
            continue
        with pytest.raises(VerificationError):
            _core.make_receipt(str(path), 0, head=head.encode())
    log.close()
    (path / "witnessed").write_text(log.head.replace("\n6\n", "\n5\n"))
    with pytest.raises(CorruptError, match="witnessed"):
        _core.make_receipt(str(path), 0)


# Proofs that other people made: tests/vectors/merkle.


def cases(name: str) -> list[dict[str, Any]]:
    lines = (VECTORS / "merkle" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def root_in(case: dict[str, Any], name: str) -> bytes:
    """A root. Where the case does not care which it is, one is made of it."""
    raw = decoded(case[name])
    return raw if len(raw) == 32 else sha256(case[name].encode()).digest()


def includes(case: dict[str, Any]) -> None:
    start = case.get("start", 0)
    size = case.get("end", case.get("treeSize")) - start
    if start % (1 << max(0, size - 1).bit_length()):
        raise VerificationError("such a subtree is none")
    proof = [decoded(text) for text in case["proof"] or []]
    leaf_hash = decoded(case["leafHash"])
    _core.verify_inclusion(case["leafIdx"] - start, size, leaf_hash, proof, decoded(case["root"]))


def is_consistent(case: dict[str, Any]) -> None:
    names = ("end", "size") if "end" in case else ("size1", "size2")
    first, second = (case[name] for name in names)
    proof = [decoded(text) for text in case["proof"] or []]
    _core.verify_consistency(first, second, proof, root_in(case, "root1"), root_in(case, "root2"))


@pytest.mark.holds("H18")
@pytest.mark.parametrize(
    ("name", "check", "count"),
    [
        ("inclusion", includes, 98),
        ("consistency", is_consistent, 98),
        ("subtreeinclusion", includes, 204),
        ("subtreeconsistency", is_consistent, 91),
    ],
)
def test_proofs_of_others_are_taken_and_refused_as_there(
    name: str, check: Callable[[dict[str, Any]], None], count: int
) -> None:
    # A subtree's consistency is ours where it begins with the tree and is not empty.
    ours = [
        case for case in cases(name) if "size" not in case or (case["start"] == 0 < case["end"])
    ]
    assert len(ours) == count
    for case in ours:
        try:
            check(case)
            refused = False
        except (VerificationError, OverflowError):
            refused = True
        assert refused == case["wantErr"], case
