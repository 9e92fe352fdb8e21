"""The file `subnet.keys`: sealed for one node, and never older than the keyring knows it."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from qflow import _core
from qflow.errors import CorruptError, SigningKeyError, UnavailableError, VerificationError
from qflow.trust import SubnetKeys
from tests.core.vectors import load_vectors
from tests.trust.rings import Party, chain_of, key_named, mark, outcome, refuse

VECTORS = load_vectors("keys.json")
CASE = VECTORS["subnet_keys"]
SEED = bytes.fromhex(VECTORS["seed"])
KEY = bytes(range(32))


def opened(home: Path, seed: bytes = SEED) -> SubnetKeys:
    return SubnetKeys(home, lambda: seed)


def put(home: Path, content: bytes) -> SubnetKeys:
    path = home / "subnet.keys"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
    return opened(home)


def test_golden_bytes(tmp_path: Path) -> None:
    keys = put(tmp_path, bytes.fromhex(CASE["file"]))
    ring = keys.ring
    assert (ring.generation, ring.oldest, ring.forget, ring.epoch) == (3, 0, 0, 1)
    assert [(key.epoch, key.key.hex()) for key in ring.own] == [
        (key["epoch"], key["key"]) for key in CASE["own"]
    ]
    assert [(key.node, key.epoch, key.key.hex()) for key in ring.imported] == [
        (key["node"], key["epoch"], key["key"]) for key in CASE["imported"]
    ]
    assert keys.exported()[0] == (0, bytes.fromhex(VECTORS["wrapping"]))
    # The same content, written by this version, is the same bytes.
    again = opened(tmp_path)
    again._write(msgspec.structs.replace(again.ring, generation=2))
    assert (tmp_path / "subnet.keys").read_bytes().hex() == CASE["file"]


def test_without_a_file_there_is_epoch_0(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    assert (keys.epoch, keys.nodes()) == (0, set())
    assert keys.own(0).commitment == _core.WrappingKey(SEED).commitment
    assert not (tmp_path / "subnet.keys").exists()
    with pytest.raises(UnavailableError, match="not in this file"):
        keys.own(1)


def test_epochs_grow_and_are_forgotten(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    assert [keys.advance(forget=False) for _ in range(3)] == [1, 2, 3]
    marks = {keys.own(epoch).commitment for epoch in range(4)}
    assert len(marks) == 4
    again = opened(tmp_path)
    assert {again.own(epoch).commitment for epoch in range(4)} == marks
    again.want_forget()
    assert {again.own(epoch).commitment for epoch in range(4)} == marks
    again.forget()
    for epoch in range(3):
        with pytest.raises(UnavailableError, match="was destroyed"):
            again.own(epoch)
    # Another process has it open: it sees what there is now.
    assert keys.exported() == again.exported()
    assert [epoch for epoch, _ in keys.exported()] == [3]
    assert (tmp_path / "subnet.keys").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["subnet.keys"]


def test_no_key_stands_in_the_file_or_its_objects(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    keys.advance(forget=False)
    keys.add("did:key:zOther", [(0, KEY)])
    secrets = [key for _, key in keys.exported()] + [KEY]
    content = (tmp_path / "subnet.keys").read_bytes()
    shown = repr(keys) + repr(keys.ring) + repr(keys.own(1))
    for secret in secrets:
        assert secret not in content
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_what_is_imported_twice_is_kept_once(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    assert keys.add("a", [(0, KEY), (1, KEY[::-1])]) == 2
    assert keys.add("a", [(0, KEY), (2, bytes(32))]) == 1
    assert keys.add("b", [(0, KEY)]) == 1
    assert keys.nodes() == {"a", "b"}
    with pytest.raises(VerificationError, match="another key of epoch 1 of a"):
        keys.add("a", [(1, KEY)])
    assert opened(tmp_path).ring == keys.ring


def test_a_nodes_own_epochs_come_back_from_an_export(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    keys.advance(forget=False)
    keys.advance(forget=False)
    exported = keys.exported()
    (tmp_path / "subnet.keys").unlink()
    again = opened(tmp_path)
    assert again.bring_back("us", exported) == 2
    assert again.exported() == exported
    assert again.bring_back("us", exported) == 0
    with pytest.raises(VerificationError, match="another key of epoch 0"):
        again.bring_back("us", [(0, KEY)])
    again.want_forget()
    again.forget()
    assert again.bring_back("us", exported) == 0
    assert [epoch for epoch, _ in again.exported()] == [2]


@pytest.mark.holds("S17")
def test_a_home_that_lost_its_file_is_held_again_after_its_export_came_back(
    tmp_path: Path,
) -> None:
    us = Party(tmp_path / "us")
    us.ring.hold()
    key = us.ring.take()
    for _ in range(3):
        us.ring.rotate()
        us.ring.note_ring()
    old = us.ring.subnet.exported()[:-1]
    us.ring.rotate()
    us.ring.note_ring()
    exported = us.ring.subnet.exported()
    us.ring.close()
    (us.home / "subnet.keys").unlink()
    with pytest.raises(CorruptError, match="qflow keys import"):
        us.opened().ring.hold()
    assert us.opened().ring.bring_back("us", old) == 2
    with pytest.raises(CorruptError, match="qflow keys import"):
        us.opened().ring.hold()
    assert us.opened().ring.bring_back("us", exported) == 2
    us.opened().ring.hold()
    assert mark(us.ring.key(key.number)) == mark(key)
    assert us.ring.rotate().epoch == 5


@pytest.mark.holds("S14")
def test_a_changed_and_a_cut_file_and_another_nodes_are_refused(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    keys.advance(forget=False)
    whole = (tmp_path / "subnet.keys").read_bytes()
    met: Counter[str] = Counter()

    def look(content: bytes, seed: bytes = SEED) -> str:
        (tmp_path / "subnet.keys").write_bytes(content)
        return outcome(lambda: opened(tmp_path, seed).own(1))

    for at in range(len(whole)):
        for bit in (1, 0x80):
            met[look(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])] += 1
        met[look(whole[:at])] += 1
    met[look(whole + b"\0")] += 1
    met[look(whole, key_named("another").seed)] += 1
    assert set(met) == {"CorruptError"}
    assert met.total() == 3 * len(whole) + 2
    assert look(whole) == "fine"


@pytest.mark.holds("S14")
def test_an_older_copy_is_refused_once_the_keyring_knows_a_newer_one(tmp_path: Path) -> None:
    us = Party(tmp_path / "us")
    us.ring.hold()
    key = us.ring.take()
    us.ring.rotate()
    us.ring.note_ring()
    first = (us.home / "subnet.keys").read_bytes()
    us.ring.rotate()
    us.ring.note_ring()
    us.ring.close()
    for content in (first, None):
        path = us.home / "subnet.keys"
        newest = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        again = us.opened()
        with pytest.raises(CorruptError, match="older copy"):
            again.ring.hold()
        with pytest.raises(UnavailableError):
            us.opened().ring.key(key.number)
        path.touch(mode=0o600)
        path.write_bytes(newest)
    # Also one that lacks an import and no epoch.
    us.opened().ring.hold()
    before = (us.home / "subnet.keys").read_bytes()
    us.ring.subnet.add("did:key:zOther", [(0, KEY)])
    us.ring.note_ring()
    (us.home / "subnet.keys").write_bytes(before)
    with pytest.raises(CorruptError, match="older copy"):
        us.opened().ring.hold()


@pytest.mark.holds("S14")
def test_an_older_copy_that_is_put_back_under_a_process_is_refused(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    keys.advance(forget=False)
    before = (tmp_path / "subnet.keys").read_bytes()
    keys.advance(forget=False)
    newest = (tmp_path / "subnet.keys").read_bytes()
    reader = opened(tmp_path)
    assert reader.epoch == 2
    for content in (before, None):
        put(tmp_path, before) if content else (tmp_path / "subnet.keys").unlink()
        for process in (keys, reader):
            with pytest.raises(CorruptError, match="older copy, or removed"):
                process.own(1)
            with pytest.raises(CorruptError, match="older copy, or removed"):
                process.advance(forget=True)
    put(tmp_path, newest)
    assert keys.epoch == reader.epoch == 2


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    opened(tmp_path).advance(forget=False)
    (tmp_path / "subnet.keys").chmod(0o644)
    with pytest.raises(SigningKeyError, match="open to others"):
        opened(tmp_path).own(1)


@pytest.mark.holds("S17")
@pytest.mark.parametrize("call", ["fsync", "pwrite", "link", "open"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    keys = opened(tmp_path)
    keys.advance(forget=False)
    before = keys.exported()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(code))
        with pytest.raises(OSError, match=os.strerror(code)):
            keys.advance(forget=False)
    assert keys.exported()[: len(before)] == before
    assert opened(tmp_path).exported() == keys.exported()
    assert keys.advance(forget=False) in (2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["subnet.keys"]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="longer than"):
        put(tmp_path, bytes((1 << 20) + 1)).own(0)


def test_a_key_under_any_known_epoch_is_opened(tmp_path: Path) -> None:
    us, them = Party(tmp_path / "us"), Party(tmp_path / "them", "them")
    us.ring.hold()
    key = us.ring.take()
    blocks = [us.envelope(chain_of(1), key.number)]
    for _ in range(3):
        us.ring.rotate()
        blocks.append(us.envelope(chain_of(1), key.number))
    assert len(set(blocks)) == 4
    them.trust(us)
    for block in blocks:
        them.adopt(block)
        assert mark(them.ring.key_of(chain_of(1), key.number)) == mark(key)
    assert them.ring.count_adopted() == 1
