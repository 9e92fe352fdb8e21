"""Tiles, bundles and the checkpoint: what other people's tools read."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from nacl.signing import VerifyKey

from qflow.errors import CorruptError
from tests.log.logs import ORIGIN, VKEY, files, frames, open_log, read_all, report, write_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def leaf_hash(record: bytes) -> bytes:
    return hashlib.sha256(b"\0" + record).digest()


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


def bundle(records: list[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


def expected_tiles(records: list[bytes]) -> dict[str, bytes]:
    """Every tile of a tree of less than 65,536 records, from the specification."""
    hashes = [leaf_hash(record) for record in records]
    tiles: dict[str, bytes] = {}
    for start in range(0, len(records), 256):
        part = records[start : start + 256]
        name = f"{start // 256:03}" + ("" if len(part) == 256 else f".p/{len(part)}")
        tiles[f"tile/entries/{name}"] = bundle(part)
        tiles[f"tile/0/{name}"] = b"".join(hashes[start : start + 256])
    full = len(records) // 256
    if full:
        roots = [tree_hash(hashes[256 * n : 256 * (n + 1)]) for n in range(full)]
        tiles[f"tile/1/000.p/{full}"] = b"".join(roots)
    return tiles


def check_published(path: Path, records: list[bytes]) -> None:
    """Read a published log with nothing of ours."""
    text, _, line = (path / "checkpoint").read_text().partition("\n\n")
    origin, size, root = text.split("\n")
    assert (origin, int(size)) == (ORIGIN, len(records))
    assert base64.b64decode(root) == tree_hash([leaf_hash(record) for record in records])
    dash, name, signature = line.rstrip("\n").split(" ")
    key = base64.b64decode(VKEY.split("+", 2)[2])
    key_id = hashlib.sha256(f"{ORIGIN}\n".encode() + key).digest()[:4]
    assert (dash, name, base64.b64decode(signature)[:4]) == ("\u2014", ORIGIN, key_id)
    assert VKEY.split("+")[1] == key_id.hex()
    VerifyKey(key[1:]).verify(f"{text}\n".encode(), base64.b64decode(signature)[4:])
    for name, data in expected_tiles(records).items():
        assert (path / name).read_bytes() == data, name


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_tiles_and_checkpoint_are_those_of_the_specification(path: Path, count: int) -> None:
    check_published(path, write_log(path, count, group=37))


def test_publish_makes_the_present_head_readable(path: Path) -> None:
    log = open_log(path)
    records: list[bytes] = []
    for written, blocks in frames(300):
        log.append_durable(written, blocks)
        records += written
        if len(records) % 60 == 0:
            log.publish()
            assert (path / "checkpoint").read_text() == log.head
            check_published(path, records)
    log.close()


def test_only_the_partial_tiles_of_two_heads_are_kept(path: Path) -> None:
    log = open_log(path)
    for written, blocks in frames(50):
        log.append_durable(written, blocks)
        log.publish()
    log.close()
    assert {file.name for file in (path / "tile" / "0").rglob("*")} == {"000.p", "49", "50"}


def test_lost_tiles_are_made_again_from_the_journal(path: Path) -> None:
    records = write_log(path, 600)
    for file in files(path / "tile"):
        if file.name == "600" or file.parent.name == "001.p":
            continue
        file.write_bytes(file.read_bytes()[:-1])
    (path / "tile" / "0" / "002.p" / str(600 - 512)).unlink()
    log = open_log(path)
    log.append_durable(*frames(1, chains=1)[0])
    log.publish()
    check_published(path, read_all(log))
    assert read_all(log)[:600] == records
    log.close()
    assert report(path)["findings"] != []  # a chain that begins twice, and nothing else
    assert [one["where"] for one in report(path)["findings"]] == ["record 600"], report(path)


def test_a_checkpoint_that_somebody_else_wrote_stops_the_log(path: Path) -> None:
    log = open_log(path)
    log.append_durable([b"ours"])
    log.publish()
    note = (path / "checkpoint").read_text()
    (path / "checkpoint").write_text(note + "\u2014 other AAAAAAAA\n")
    log.append_durable([b"more"])
    with pytest.raises(CorruptError):
        log.publish()
    log.close()
