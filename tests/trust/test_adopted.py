"""The file `adopted.keys`: keys by chain, and nothing but what was adopted in this home."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import CorruptError, ErasedError, SigningKeyError, UnavailableError
from qflow.trust import Keyring, _slots
from tests.core.vectors import load_vectors
from tests.trust.crashes import WAYS, Crash, KilledError
from tests.trust.rings import Party, chain_of, mark, outcome
from tests.trust.test_rotation import fail_once

CASE = load_vectors("keys.json")["adopted"]
COUNT = 4


class Pair:
    """Keys of `them` that `us` may adopt."""

    def __init__(self, folder: Path) -> None:
        self.us, self.them = Party(folder / "us"), Party(folder / "them", "them")
        self.us.trust(self.them)
        self.keys = {
            (chain_of(number), key.number): mark(key)
            for number in range(COUNT)
            for key in [self.them.begin(chain_of(number))]
        }
        self.blocks = {name: self.them.envelope(*name) for name in self.keys}
        self.names = list(self.keys)

    @property
    def path(self) -> Path:
        return self.us.home / "adopted.keys"

    def adopt_all(self) -> None:
        for name in self.names:
            assert self.us.adopt(self.blocks[name])

    def readable(self, ring: Keyring) -> list[str]:
        """What comes of reading each key; the right key is `fine`."""

        def read(name: tuple[bytes, int]) -> None:
            assert mark(ring.key_of(*name)) == self.keys[name]

        return [outcome(partial(read, name)) for name in self.names]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_golden_bytes() -> None:
    name = bytes.fromhex(CASE["chain"]), CASE["number"]
    slot = _slots.parse_adopted(bytes.fromhex(CASE["slot"]))
    assert (slot.chain, slot.number, slot.state, slot.epoch) == (*name, _slots.KEY, CASE["epoch"])
    assert _slots.encode_adopted(slot).hex() == CASE["slot"]
    vectors = load_vectors("keys.json")["subnet_keys"]
    wrapping = _core.WrappingKey.of(bytes.fromhex(vectors["own"][0]["key"]))
    bound = _slots.adopted_bound_of(*name, CASE["epoch"])
    key = wrapping.unwrap_bound(CASE["number"], slot.wrapped, bound)
    assert mark(key) == mark(_core.SealingKey(0, bytes.fromhex(CASE["key"])))
    gone = _slots.AdoptedSlot(*name, _slots.GONE)
    assert _slots.encode_adopted(gone).hex() == CASE["destroyed"]
    head = CASE["header"]
    header = _slots.Header(
        generation=head["generation"],
        applied=head["applied"],
        applied_hash=bytes.fromhex(head["applied_hash"]),
        epoch=head["epoch"],
        ring=head["ring"],
    )
    assert _slots.encode_header(header, _slots.ADOPTED_MAGIC).hex() == head["bytes"]
    assert _slots.parse_header(bytes.fromhex(head["bytes"]), _slots.ADOPTED_MAGIC) == header
    with pytest.raises(ValueError, match="damaged"):
        _slots.parse_header(bytes.fromhex(head["bytes"]), _slots.MAGIC)


def test_they_are_there_for_another_process_too(pair: Pair) -> None:
    reader = Party(pair.us.home).ring
    assert pair.readable(reader) == ["UnavailableError"] * COUNT
    for count, name in enumerate(pair.names, 1):
        pair.us.adopt(pair.blocks[name])
        assert pair.readable(reader) == ["fine"] * count + ["UnavailableError"] * (COUNT - count)
    assert pair.path.stat().st_mode & 0o777 == 0o600
    pair.path.chmod(0o640)
    with pytest.raises(SigningKeyError, match="open to others"):
        Party(pair.us.home).ring.key_of(*pair.names[0])


@pytest.mark.holds("S14")
def test_a_changed_byte_and_a_cut_are_found(pair: Pair) -> None:
    """A damaged slot is damage, or, where its name was hit, a key that is not here; never another
    key, and the others stay readable."""
    pair.adopt_all()
    whole = pair.path.read_bytes()
    met: Counter[str] = Counter()
    at = _slots.HEADER_BYTES + _slots.ADOPTED_BYTES
    for place in range(at, at + _slots.ADOPTED_BYTES):
        for bit in (1, 0x80):
            pair.path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            found = pair.readable(Party(pair.us.home).ring)
            assert found[0] == found[2] == found[3] == "fine"
            met[found[1]] += 1
    assert met == {"CorruptError": 2 * (256 - 24), "UnavailableError": 2 * 24}
    for place in range(80):
        pair.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = pair.readable(Party(pair.us.home).ring)
        assert found == ["CorruptError" if place < 76 else "fine"] * COUNT
    for cut in range(_slots.HEADER_BYTES, len(whole), 64):
        pair.path.write_bytes(whole[:cut])
        there = (cut - _slots.HEADER_BYTES) // _slots.ADOPTED_BYTES
        found = pair.readable(Party(pair.us.home).ring)
        assert found == ["fine"] * there + ["UnavailableError"] * (COUNT - there)


@pytest.mark.holds("S14")
def test_slots_of_two_executions_are_not_exchanged(pair: Pair) -> None:
    pair.adopt_all()
    whole = bytearray(pair.path.read_bytes())
    first, second = (_slots.HEADER_BYTES + n * _slots.ADOPTED_BYTES for n in (0, 1))
    one = _slots.parse_adopted(bytes(whole[first : first + 256]))
    two = _slots.parse_adopted(bytes(whole[second : second + 256]))
    for changed in (
        one._replace(wrapped=two.wrapped),
        one._replace(epoch=1),
        two._replace(chain=one.chain, number=one.number),
    ):
        whole[first : first + 256] = _slots.encode_adopted(changed)
        pair.path.write_bytes(whole)
        found = pair.readable(Party(pair.us.home).ring)
        assert found[0] in ("VerificationError", "UnavailableError", "SigningKeyError")
        assert found[1:] == ["fine"] * (COUNT - 1)


@pytest.mark.holds("S14")
def test_another_homes_files_open_nothing(tmp_path: Path, pair: Pair) -> None:
    pair.adopt_all()
    pair.us.ring.take()
    other = Party(tmp_path / "other", "other")
    other.trust(pair.them)
    met: Counter[str] = Counter()
    for names in (["adopted.keys"], ["subnet.keys"], ["keys"], ["adopted.keys", "subnet.keys"]):
        home = tmp_path / "-".join(names)
        shutil.copytree(other.home, home)
        for name in names:
            shutil.copy(pair.us.home / name, home / name)
        ring = Party(home, "other").ring
        found = [*pair.readable(ring), outcome(ring.take)]
        if names == ["keys"]:
            assert found[-1] == "SigningKeyError"
        met.update(found[:COUNT])
    assert "fine" not in met
    assert met.total() == 4 * COUNT


@pytest.mark.holds("S16")
def test_destroying_that_was_cut_short_is_done_again(pair: Pair) -> None:
    pair.adopt_all()
    whole = pair.path.read_bytes()
    name = pair.names[1]
    pair.us.ring.shred_adopted([name])
    gone = pair.path.read_bytes()
    at = _slots.HEADER_BYTES + _slots.ADOPTED_BYTES
    for cut in range(_slots.ADOPTED_BYTES + 1):
        pair.path.write_bytes(gone[: at + cut] + whole[at + cut :])
        ring = Party(pair.us.home).ring
        ring.shred_adopted([name])
        assert ring.is_destroyed_of(*name)
        found = pair.readable(ring)
        assert found == ["fine", "ErasedError", "fine", "fine"]
        ring.close()


def test_what_is_damaged_is_adopted_again_where_it_is(pair: Pair) -> None:
    pair.adopt_all()
    whole = pair.path.read_bytes()
    at = _slots.HEADER_BYTES + 100
    pair.path.write_bytes(whole[:at] + b"\xff\xfe" + whole[at + 2 :])
    us = pair.us.opened()
    with pytest.raises(CorruptError):
        us.ring.key_of(*pair.names[0])
    assert us.ring.has_of(*pair.names[0])
    assert us.adopt(pair.blocks[pair.names[0]])
    assert pair.path.read_bytes() == whole


@pytest.mark.holds("S16")
def test_an_older_copy_is_looked_through_for_erasures_from_its_own_mark(pair: Pair) -> None:
    pair.us.ring.take()
    pair.adopt_all()
    pair.us.ring.mark_applied(5, bytes([5]) * 32)
    older = pair.path.read_bytes()
    pair.us.ring.mark_applied(9, bytes([9]) * 32)
    assert pair.us.ring.applied == (9, bytes([9]) * 32)
    pair.us.ring.close()
    pair.path.write_bytes(older)
    assert Party(pair.us.home).ring.applied == (5, bytes([5]) * 32)
    pair.path.unlink()
    again = pair.us.opened()
    assert again.ring.applied == (9, bytes([9]) * 32)
    pair.us.adopt(pair.blocks[pair.names[0]])
    assert again.ring.applied == (0, bytes(32))


@pytest.mark.holds("S17")
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "link"])
def test_a_disk_that_refuses_loses_nothing(tmp_path: Path, call: str, code: int) -> None:
    failed, at = 0, 0
    while True:
        at += 1
        pair = Pair(fresh(tmp_path / "now"))
        done = set()
        with pytest.MonkeyPatch.context() as patch:
            made = fail_once(patch, call, at, code)
            for number, name in enumerate(pair.names):
                try:
                    pair.us.adopt(pair.blocks[name])
                    done.add(number)
                except UnavailableError as error:
                    assert os.strerror(code) in str(error)  # noqa: PT017 - it may not be raised
                    failed += 1
            if made[0] < at:
                break
        found = pair.readable(Party(pair.us.home).ring)
        assert all(found[number] == "fine" for number in done)
        for name in pair.names:
            pair.us.adopt(pair.blocks[name])
        assert pair.readable(pair.us.opened().ring) == ["fine"] * COUNT
    assert failed == at - 1 >= 1


@pytest.mark.holds("S17")
@pytest.mark.parametrize("way", WAYS)
def test_death_in_any_call_loses_nothing_that_was_adopted(tmp_path: Path, way: str) -> None:
    at = 0
    while True:
        at += 1
        pair = Pair(fresh(tmp_path / "now"))
        done = set()
        with pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch, at, way)
            try:
                for number, name in enumerate(pair.names):
                    pair.us.adopt(pair.blocks[name])
                    done.add(number)
            except KilledError:
                pass
            if not crash.dead:
                break
        again = Party(pair.us.home)
        again.ring.hold()
        found = pair.readable(again.ring)
        assert all(found[number] == "fine" for number in done)
        assert set(found) <= {"fine", "UnavailableError", "CorruptError"}
        for name in pair.names:
            again.adopt(pair.blocks[name])
        assert pair.readable(again.ring) == ["fine"] * COUNT
    assert at > 8


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_what_was_destroyed_is_not_made_readable_by_rotation(pair: Pair) -> None:
    pair.adopt_all()
    pair.us.ring.hold()
    pair.us.ring.shred_adopted([pair.names[2]])
    pair.us.ring.rotate(forget=True)
    with pytest.raises(ErasedError):
        pair.us.ring.key_of(*pair.names[2])
