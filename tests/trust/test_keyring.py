"""The keyring: one key for one execution, and gone when it is destroyed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qflow import _core
from qflow.clock import random_bytes
from qflow.errors import CorruptError, ErasedError, SigningKeyError, UnavailableError
from qflow.trust import Keyring, _keyring, _making, _slots
from tests.core.vectors import load_vectors

SEED = bytes(range(32))
VECTORS = load_vectors("sealed-payload.json")["keyring"]
PLACE: dict[str, Any] = {
    "subnet": "default",
    "chain": bytes(16),
    "seq": 0,
    "epoch": 0,
    "prev": bytes(32),
}


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Keyring]:
    made = opened(tmp_path)
    yield made
    made.close()


def opened(home: Path, seed: bytes = SEED) -> Keyring:
    return Keyring(home, lambda: seed)


def sealed(key: _core.SealingKey) -> bytes:
    """What tells a key apart, whatever its number: the commitment in what it seals."""
    return key.seal(b"text", **PLACE)[13:45]


def test_golden_bytes() -> None:
    wrapping = _core.WrappingKey(bytes.fromhex(VECTORS["seed"]))
    for case in VECTORS["slots"]:
        number, epoch, key = case["number"], case["epoch"], bytes.fromhex(case["key"])
        slot = _slots.Slot(number, _slots.KEY, epoch, wrapping.wrap(number, epoch, key))
        assert _slots.encode_slot(slot).hex() == case["slot"]
        assert _slots.parse_slot(bytes.fromhex(case["slot"])) == slot
        unwrapped = wrapping.unwrap(number, epoch, slot.wrapped)
        assert sealed(unwrapped) == sealed(_core.SealingKey(0, key))
        gone = _slots.parse_slot(bytes.fromhex(case["destroyed"]))
        assert gone == _slots.Slot(number, _slots.GONE)
    named = VECTORS["header"]
    header = _slots.Header(
        generation=named["generation"],
        applied=named["applied"],
        applied_hash=bytes.fromhex(named["applied_hash"]),
    )
    assert _slots.encode_header(header).hex() == named["bytes"]
    assert _slots.parse_header(bytes.fromhex(named["bytes"])) == header


def test_keys_are_found_again_by_their_numbers(tmp_path: Path, ring: Keyring) -> None:
    taken = [ring.take() for _ in range(3 * _keyring.POOL_MAX)]
    assert len({key.number for key in taken}) == len({sealed(key) for key in taken}) == len(taken)
    assert max(key.number for key in taken) < 1 << 53
    ring.close()
    again = opened(tmp_path)
    assert all(sealed(again.key(key.number)) == sealed(key) for key in taken[:: len(taken) // 50])


def test_no_key_waits_for_the_disk_while_there_are_more(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ring.low = lambda: asked.append(1)
    ring.refill()
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it waited for the disk"))
    for _ in range(_keyring.POOL_MIN):
        ring.take()
    assert asked == [1]


def test_it_is_closed_to_others(tmp_path: Path, ring: Keyring) -> None:
    number = ring.take().number
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    ring.close()
    (tmp_path / "keys").chmod(0o640)
    with pytest.raises(SigningKeyError, match="open to others"):
        opened(tmp_path).key(number)


def test_another_nodes_key_opens_nothing(tmp_path: Path, ring: Keyring) -> None:
    number = ring.take().number
    ring.close()
    with pytest.raises(SigningKeyError, match="not of this node's key"):
        opened(tmp_path, SEED[::-1]).key(number)


def test_no_key_is_added_to_the_file_of_another_node(tmp_path: Path, ring: Keyring) -> None:
    numbers = [ring.take().number for _ in range(2 * _keyring.POOL_MIN)]
    ring.close()
    before = (tmp_path / "keys").read_bytes()
    stranger = opened(tmp_path, seed=bytes(32))
    with pytest.raises(SigningKeyError, match="not of this node"):
        stranger.refill()
    stranger.close()
    assert (tmp_path / "keys").read_bytes() == before
    again = opened(tmp_path)
    again.shred(numbers[1:])
    again.close()
    with pytest.raises(SigningKeyError, match="not of this node"):
        opened(tmp_path, seed=bytes(32)).take()


@pytest.mark.holds("H21")
def test_a_damaged_key_can_still_be_destroyed(tmp_path: Path, ring: Keyring) -> None:
    taken, other = ring.take(), ring.take()
    with (tmp_path / "keys").open("r+b") as file:
        file.seek(_slots.offset_of(taken.number) + 40)
        file.write(b"\xff\xfe")
    with pytest.raises(CorruptError):
        ring.key(taken.number)
    assert ring.has(taken.number)
    assert not ring.is_destroyed(taken.number)
    ring.shred([taken.number])
    assert not ring.has(taken.number)
    assert ring.is_destroyed(taken.number)
    assert ring.has(other.number)


def test_a_number_that_is_not_here_is_unavailable(tmp_path: Path, ring: Keyring) -> None:
    with pytest.raises(UnavailableError):
        ring.key(5)
    key = ring.take()
    for number in (key.number + (1 << 30), key.number ^ 1 << 40):
        with pytest.raises(UnavailableError):
            ring.key(number)
        assert not ring.has(number)


def test_what_nobody_took_is_given_back(tmp_path: Path, ring: Keyring) -> None:
    for _ in range(3):
        ring.take()
    ring.close()
    assert (tmp_path / "keys").stat().st_size == _slots.HEADER_BYTES + 3 * _slots.SLOT_BYTES
    assert opened(tmp_path).count() == 3


@pytest.mark.holds("S16")
def test_a_destroyed_key_stays_destroyed(tmp_path: Path, ring: Keyring) -> None:
    kept, lost = ring.take(), ring.take()
    ring.shred([lost.number, lost.number + (1 << 30)])
    ring.shred([lost.number])
    ring.close()
    again = opened(tmp_path)
    with pytest.raises(ErasedError):
        again.key(lost.number)
    assert again.is_destroyed(lost.number)
    assert sealed(again.key(kept.number)) == sealed(kept)


@pytest.mark.holds("S15")
@pytest.mark.parametrize("end", ["closed", "crashed"])
@pytest.mark.parametrize("copy", ["before", "while", "none"])
def test_no_key_is_ever_handed_out_twice(tmp_path: Path, end: str, copy: str) -> None:
    """Whatever was handed out before: to an execution that a crash lost, or after a copy of the
    file was made that is put back now."""
    seen: list[_core.SealingKey] = []

    def session(home: Path) -> None:
        ring = opened(home)
        seen.extend(ring.take() for _ in range(40))
        if copy == "while":
            shutil.copy(home / "keys", tmp_path / "copy")
        seen.extend(ring.take() for _ in range(200))
        if end == "closed":
            ring.close()

    home = tmp_path / "home"
    home.mkdir()
    session(home)
    if copy == "before":
        shutil.copy(home / "keys", tmp_path / "copy")
    session(home)
    if copy != "none":
        shutil.copy(tmp_path / "copy", home / "keys")
    session(home)
    assert len({sealed(key) for key in seen}) == len(seen)
    assert len({key.number for key in seen}) == len(seen)


@pytest.mark.holds("S16")
def test_destroying_that_was_cut_short_is_done_again(tmp_path: Path, ring: Keyring) -> None:
    kept, lost, after = ring.take(), ring.take(), ring.take()
    whole = (tmp_path / "keys").read_bytes()
    ring.shred([lost.number])
    gone = (tmp_path / "keys").read_bytes()
    at = _slots.offset_of(lost.number)
    for cut in range(_slots.SLOT_BYTES + 1):
        torn = gone[: at + cut] + whole[at + cut :]
        (tmp_path / "keys").write_bytes(torn)
        again = opened(tmp_path)
        again.shred([lost.number])
        assert again.is_destroyed(lost.number)
        assert sealed(again.key(kept.number)) == sealed(kept)
        assert sealed(again.key(after.number)) == sealed(after)
        again.close()


@pytest.mark.holds("S16")
def test_making_keys_that_was_cut_short_goes_on_behind_it(tmp_path: Path, ring: Keyring) -> None:
    taken = [ring.take() for _ in range(3)]
    whole = (tmp_path / "keys").read_bytes()
    end = _slots.offset_of(taken[-1].number) + _slots.SLOT_BYTES
    for cut in range(2 * _slots.SLOT_BYTES):
        (tmp_path / "keys").write_bytes(whole[: end + cut])
        again = opened(tmp_path)
        fresh = again.take()
        assert sealed(again.key(fresh.number)) == sealed(fresh)
        assert all(sealed(again.key(key.number)) == sealed(key) for key in taken)
        again.close()


@pytest.mark.holds("S16")
def test_a_mark_that_was_cut_short_leaves_the_one_before(tmp_path: Path, ring: Keyring) -> None:
    ring.take()
    ring.mark_applied(5, bytes([5]) * 32)
    before = (tmp_path / "keys").read_bytes()
    ring.mark_applied(9, bytes([9]) * 32)
    after = (tmp_path / "keys").read_bytes()
    found = set()
    for cut in range(_slots.HEADER_BYTES + 1):
        (tmp_path / "keys").write_bytes(after[:cut] + before[cut:])
        again = opened(tmp_path)
        found.add(again.applied)
        again.close()
    assert found == {(5, bytes([5]) * 32), (9, bytes([9]) * 32)}


@pytest.mark.holds("S14")
def test_a_changed_byte_is_found(tmp_path: Path, ring: Keyring) -> None:
    number = ring.take().number
    whole = (tmp_path / "keys").read_bytes()
    at = _slots.offset_of(number)
    for place in range(at, at + _slots.SLOT_BYTES):
        (tmp_path / "keys").write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        with pytest.raises(CorruptError):
            opened(tmp_path).key(number)
    for place in range(76):
        (tmp_path / "keys").write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        with pytest.raises(CorruptError, match="header"):
            opened(tmp_path).key(number)


def refuse(code: int) -> Callable[..., Any]:
    def failing(*_: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return failing


@pytest.mark.holds("S17")
@pytest.mark.parametrize("call", ["fsync", "pwrite"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_gives_out_no_key(
    tmp_path: Path, ring: Keyring, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    first = ring.take()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(code))
        for _ in range(_keyring.POOL_MIN - 1):
            ring.take()
        with pytest.raises(UnavailableError, match="no key can be made"):
            ring.take()
    with pytest.raises(UnavailableError, match="no key can be made"):
        ring.take()
    ring.close()
    again = opened(tmp_path)
    assert sealed(again.key(first.number)) == sealed(first)
    again.take()
    again.close()


@pytest.mark.holds("S17")
@pytest.mark.parametrize("call", ["fsync", "pwrite"])
def test_a_failed_destruction_says_so_and_can_be_done_again(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    key = ring.take()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            ring.shred([key.number])
    ring.shred([key.number])
    assert ring.is_destroyed(key.number)


def test_a_write_that_is_taken_in_parts_is_whole(
    tmp_path: Path, ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:1000], at))
    keys = [ring.take() for _ in range(100)]
    ring.close()
    again = opened(tmp_path)
    assert all(sealed(again.key(key.number)) == sealed(key) for key in keys)


def test_a_refill_beside_the_taker_loses_and_repeats_nothing(ring: Keyring) -> None:
    wanted, stop = threading.Event(), threading.Event()
    ring.low = wanted.set

    def supply() -> None:
        while not stop.is_set():
            if wanted.wait(0.01):
                wanted.clear()
                ring.refill()

    thread = threading.Thread(target=supply)
    thread.start()
    try:
        taken = [ring.take() for _ in range(20_000)]
    finally:
        stop.set()
        thread.join()
    assert len({key.number for key in taken}) == len({sealed(key) for key in taken}) == len(taken)
    assert all(sealed(ring.key(key.number)) == sealed(key) for key in taken[::997])


@pytest.mark.holds("S18")
def test_neither_the_file_nor_its_objects_show_a_key(tmp_path: Path) -> None:
    made: list[bytes] = []

    def noted(size: int) -> bytes:
        made.append(random_bytes(size))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_making, "random_bytes", noted)
        ring = opened(tmp_path)
        key = ring.take()
    keys = next(data for data in made if len(data) >= 32)
    assert keys[:32] not in (tmp_path / "keys").read_bytes()
    for text in (repr(ring), repr(key), str(vars(ring))):
        assert keys[:32].hex() not in text
        assert repr(keys[:32]) not in text
        assert SEED.hex() not in text
    ring.shred([key.number])
    with pytest.raises(ErasedError) as caught:
        ring.key(key.number)
    assert keys[:32].hex() not in str(caught.value)
