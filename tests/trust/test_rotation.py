"""Rotation: every key goes over to the next epoch, and whatever cuts it short, none is lost."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qflow.errors import (
    CorruptError,
    ErasedError,
    QflowError,
    SigningKeyError,
    UnavailableError,
)
from qflow.trust import Keyring, _files, _rotation, _slots
from tests.faults import FULL
from tests.trust.crashes import CALLS, WAYS, Crash, KilledError
from tests.trust.rings import Party, chain_of, mark, refuse

OWN = 6
STEP = 1 if FULL else 11
"""Between two places where it is cut short."""
FILES = ["adopted.keys", "keys", "subnet.keys"]


class Told:
    """A home with keys of its own, adopted ones, and some that were destroyed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.us, self.them = Party(folder / "us"), Party(folder / "them", "them")
        self.us.trust(self.them)
        ring = self.us.ring
        ring.hold()
        self.own = {key.number: mark(key) for key in (ring.take() for _ in range(OWN))}
        self.gone = ring.take().number
        ring.shred([self.gone])
        self.adopted = {}
        for number in range(3):
            key = self.them.begin(chain_of(number))
            self.us.adopt(self.them.envelope(chain_of(number), key.number))
            self.adopted[chain_of(number), key.number] = mark(key)
        self.erased = chain_of(9), self.them.begin(chain_of(9)).number
        self.us.adopt(self.them.envelope(*self.erased))
        ring.shred_adopted([self.erased])
        ring.close()
        self.them.ring.close()

    def check(self, ring: Keyring) -> None:
        """Every key is there, and is the key that it was; what was destroyed stays so."""
        for number, known in self.own.items():
            assert mark(ring.key_of(chain_of(100), number)) == known
        for (chain, number), known in self.adopted.items():
            assert mark(ring.key_of(chain, number)) == known
        assert ring.is_destroyed(self.gone)
        assert ring.is_destroyed_of(*self.erased)
        for name in ((chain_of(0), self.gone), self.erased):
            with pytest.raises(ErasedError):
                ring.key_of(*name)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("template"))


@pytest.fixture
def told(tmp_path: Path, template: Told) -> Iterator[Told]:
    """A copy of it in its first state, held."""
    copied = copy_of(template, tmp_path / "home")
    copied.us.ring.hold()
    yield copied
    copied.us.ring.close()


def copy_of(template: Told, home: Path) -> Told:
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(template.us.home, home)
    copied = object.__new__(Told)
    copied.__dict__ = dict(template.__dict__)
    copied.us = Party(home)
    return copied


def epochs_of(home: Path) -> set[int]:
    """Those that the keys in the files are wrapped under."""
    found = set()
    for name, parse, size in (
        ("keys", _slots.parse_slot, _slots.SLOT_BYTES),
        ("adopted.keys", _slots.parse_adopted, _slots.ADOPTED_BYTES),
    ):
        data = (home / name).read_bytes()[_slots.HEADER_BYTES :]
        slots = [parse(data[at : at + size]) for at in range(0, len(data), size)]
        found |= {slot.epoch for slot in slots if slot.state == _slots.KEY}
    return found


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def test_every_key_goes_over_and_stays_what_it_was(told: Told) -> None:
    ring = told.us.ring
    for epoch in (1, 2, 3):
        done = ring.rotate()
        assert (done.epoch, done.oldest) == (epoch, 0)
        assert epochs_of(told.us.home) == {epoch}
        told.check(ring)
        told.check(told.us.opened().ring)
        ring = told.us.ring
        ring.hold()
        key = ring.take()
        told.own = {**told.own, key.number: mark(key)}
    assert names(told.us.home) == FILES


def test_what_is_forgotten_is_gone_and_nothing_needs_it(told: Told) -> None:
    ring = told.us.ring
    block = told.us.envelope(chain_of(0), next(iter(told.own)))
    ring.rotate()
    done = ring.rotate(forget=True)
    assert (done.epoch, done.oldest) == (2, 2)
    told.check(ring)
    told.check(told.us.opened().ring)
    for epoch in (0, 1):
        with pytest.raises(UnavailableError, match="was destroyed"):
            told.us.ring.subnet.own(epoch)
    with pytest.raises(UnavailableError):
        told.us.adopt(block)


@pytest.mark.holds("S16")
def test_the_bytes_of_the_replaced_files_are_overwritten(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the sectors that were let go finds nothing that an old subnet key opens."""
    kept = {}
    real = os.link

    def linked(source: Path, target: Path) -> None:
        real(source, target)
        kept[source.name] = os.open(target, os.O_RDONLY)

    monkeypatch.setattr(os, "link", linked)
    told.us.ring.rotate(forget=True)
    assert sorted(kept) == FILES
    for descriptor in kept.values():
        size = os.fstat(descriptor).st_size
        assert size > 100
        assert os.pread(descriptor, size, 0) == bytes(size)
        os.close(descriptor)


@pytest.mark.holds("S16")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("forget", [False, True])
def test_a_rotation_that_is_cut_short_anywhere_is_finished(
    tmp_path: Path, template: Told, way: str, forget: bool
) -> None:
    """Death at each call that changes a file, then another opening: by itself it finishes."""
    met: Counter[str] = Counter()
    at = 1 - STEP
    while True:
        at += STEP
        told = copy_of(template, tmp_path / "home")
        told.us.ring.hold()
        with pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch, at, way)
            with suppress(KilledError):
                told.us.ring.rotate(forget=forget)
            if not crash.dead:
                break
        told.check(Party(told.us.home).ring)  # One who only reads.
        again = Party(told.us.home).ring
        again.hold()
        told.check(again)
        begun = again.subnet.epoch
        assert epochs_of(told.us.home) == {begun}
        assert again.subnet.ring.oldest == (begun if forget else 0)
        assert names(told.us.home) == FILES
        fresh = again.take()
        assert fresh.number not in told.own
        assert mark(fresh) not in set(told.own.values())
        done = again.rotate(forget=forget)
        assert done.epoch == begun + 1
        told.check(again)
        again.close()
        met["not begun" if begun == 0 else "finished"] += 1
    assert met["finished"] >= 20 // STEP
    if FULL:
        print(f"{way}, forget {forget}: {at - 1} places, {dict(met)}")  # noqa: T201 - the count


@pytest.mark.holds("S16")
def test_the_next_call_finishes_what_was_cut_short_and_begins_nothing_else(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = told.us.ring
    with monkeypatch.context() as patch:
        patch.setattr(Keyring, "_finish", refuse(errno.EIO))
        with pytest.raises(UnavailableError, match="not rotated to the end"):
            ring.rotate()
    told.check(ring)
    assert ring.subnet.epoch == 1
    assert ring.rotate(forget=True).epoch == 1
    assert (ring.subnet.ring.oldest, epochs_of(told.us.home)) == (1, {1})
    told.check(ring)


@pytest.mark.holds("S17")
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", [name for name in CALLS if name != "ftruncate"])
def test_a_disk_that_refuses_leaves_every_key_readable(
    tmp_path: Path, template: Told, call: str, code: int
) -> None:
    """Each time that a call is made, it fails once; the rotation fails or not, and can be made
    again by the same process."""
    at, failed = 1 - STEP, 0
    while True:
        at += STEP
        told = copy_of(template, tmp_path / "home")
        ring = told.us.ring
        ring.hold()
        with pytest.MonkeyPatch.context() as patch:
            made = fail_once(patch, call, at, code)
            try:
                ring.rotate(forget=True)
            except UnavailableError as error:
                assert os.strerror(code) in str(error)  # noqa: PT017 - it may not be raised
                failed += 1
            if made[0] < at:
                break
        told.check(ring)
        told.check(Party(told.us.home).ring)
        assert ring.rotate(forget=True).oldest in (1, 2)
        told.check(ring)
        assert mark(ring.take()) not in set(told.own.values())
        told.check(told.us.opened().ring)
        told.us.ring.close()
        assert names(told.us.home) == FILES
    if call in ("replace", "rename"):  # Which of them Python calls is its own affair.
        return
    assert failed
    if FULL:
        print(f"{call}, {errno.errorcode[code]}: {at - 1} calls, {failed} said so")  # noqa: T201


def fail_once(patch: pytest.MonkeyPatch, call: str, at: int, code: int) -> list[int]:
    made, real = [0], getattr(os, call)

    def failing(*arguments: object, **options: object) -> object:
        made[0] += 1
        if made[0] == at:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    patch.setattr(os, call, failing)
    return made


class Beside:
    """Threads that repeat something until they are stopped."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._stop, self._errors = threading.Event(), list[BaseException]()
        self._threads = [threading.Thread(target=self._repeat, args=(step,)) for step in steps]

    def _repeat(self, step: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                step()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self._errors.append(error)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self._errors == []


def test_keys_are_read_made_and_destroyed_meanwhile(tmp_path: Path) -> None:
    us = Party(tmp_path / "us")
    us.ring.hold()
    known = {key.number: mark(key) for key in (us.ring.take() for _ in range(500))}
    lost, numbers = set[int](), iter(list(known))
    reader = Party(us.home).ring  # Another process, as it were.

    def make() -> None:
        key = us.ring.take()
        known[key.number] = mark(key)

    def destroy() -> None:
        if (number := next(numbers, None)) is not None:
            us.ring.shred([number])
            lost.add(number)

    def read() -> None:
        for number in list(known)[-5:]:
            for ring in (us.ring, reader):
                assert mark(ring.key(number)) == known[number]

    with Beside(make, destroy, read):
        epochs = [us.ring.rotate(forget=turn % 2 == 1).epoch for turn in range(3)]
    assert epochs == [1, 2, 3]
    again = us.opened().ring
    assert all(again.is_destroyed(number) for number in lost)
    kept = [number for number in known if number not in lost]
    assert all(mark(again.key(number)) == known[number] for number in kept)
    assert lost


def test_two_rotations_at_once_are_one(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, met = told.us.ring, []
    real = ring._finish

    def finish() -> object:
        with pytest.raises(UnavailableError, match="already"):
            ring.rotate()
        met.append(1)
        return real()

    monkeypatch.setattr(ring, "_finish", finish)
    ring.rotate()
    assert met == [1]


@pytest.mark.holds("S14")
@pytest.mark.parametrize("name", ["keys", "adopted.keys"])
@pytest.mark.parametrize("how", ["exchanged", "put back", "taken away", "older header"])
def test_a_file_that_is_exchanged_under_a_node_is_refused(told: Told, name: str, how: str) -> None:
    ring, path = told.us.ring, told.us.home / name
    before = path.read_bytes()
    ring.rotate()
    ring.mark_applied(7, bytes(32))
    if how == "exchanged":
        other = path.with_name("other")
        shutil.copy(path, other)
        other.rename(path)
    elif how == "put back":
        path.write_bytes(before)
    elif how == "taken away":
        path.rename(path.with_name("aside"))
    else:
        now = path.read_bytes()
        path.write_bytes(before[: _slots.HEADER_BYTES] + now[_slots.HEADER_BYTES :])
    chain, number = next(iter(told.adopted))
    uses: list[Callable[[], object]] = [
        ring.rotate,
        lambda: ring.mark_applied(9, bytes(32)),
    ]
    if name == "keys":
        mine = next(iter(told.own))
        uses += [ring.refill, lambda: ring.key(mine), lambda: ring.shred([mine])]
    else:
        uses += [lambda: ring.key_of(chain, number), lambda: ring.shred_adopted([(chain, number)])]
    for use in uses:
        with pytest.raises(CorruptError, match="while this process uses it"):
            use()
    if how in ("exchanged", "taken away"):
        return
    again = Party(told.us.home).ring  # Started again, it takes what is there.
    with pytest.MonkeyPatch.context():
        try:
            again.hold()
        except QflowError as error:
            assert isinstance(error, CorruptError)  # noqa: PT017 - it may be well


@pytest.mark.holds("S14")
def test_slots_that_were_added_under_a_node_are_refused(told: Told) -> None:
    ring, path = told.us.ring, told.us.home / "keys"
    ring.take()
    with path.open("ab") as file:
        file.write(bytes(_slots.SLOT_BYTES))
    ring._ready.clear()
    with pytest.raises(CorruptError, match="was changed"):
        ring.refill()


def test_a_file_that_appears_under_a_node_is_refused(tmp_path: Path, told: Told) -> None:
    us = Party(tmp_path / "fresh")
    us.ring.hold()
    for name in ("keys", "adopted.keys"):
        shutil.copy(told.us.home / name, us.home / name)
    with pytest.raises(CorruptError, match="came from elsewhere"):
        us.ring.take()
    with pytest.raises(CorruptError, match="came from elsewhere"):
        us.ring.key_of(chain_of(0), 1)


def test_another_nodes_files_are_not_rotated(tmp_path: Path) -> None:
    us = Party(tmp_path / "us")
    us.ring.take()
    us.ring.close()
    before = (us.home / "keys").read_bytes()
    stranger = Party(us.home, "stranger")
    stranger.ring.hold()
    with pytest.raises(SigningKeyError, match="not of this node's key"):
        stranger.ring.rotate()
    stranger.ring.close()
    assert (us.home / "keys").read_bytes() == before


def test_a_damaged_key_does_not_stop_the_others(told: Told) -> None:
    number = next(iter(told.own))
    path = told.us.home / "keys"
    with path.open("r+b") as file:
        file.seek(_slots.offset_of(number) + 40)
        file.write(b"\xff\xfe")
    told.us.ring.rotate(forget=True)
    with pytest.raises(CorruptError):
        told.us.ring.key(number)
    del told.own[number]
    told.check(told.us.ring)
    told.us.ring.shred([number])
    assert told.us.ring.is_destroyed(number)


@pytest.mark.holds("S16")
@pytest.mark.parametrize("name", ["keys", "adopted.keys"])
def test_what_a_failed_rotation_left_is_destroyed_with_the_key(
    told: Told, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The file before, whose keys the subnet keys still open: it goes first, or nothing does."""
    ring, old = told.us.ring, told.us.home / f".{name}.old"
    real, number, adopted = _files.destroy, next(iter(told.own)), next(iter(told.adopted))

    def fail(path: Path) -> None:
        if path == old:
            raise OSError(5, "Input/output error")
        real(path)

    def shred() -> None:
        ring.shred([number]) if name == "keys" else ring.shred_adopted([adopted])

    with monkeypatch.context() as patch:
        patch.setattr(_files, "destroy", fail)
        with pytest.raises(UnavailableError, match="not rotated to the end"):
            ring.rotate()
        assert old.exists()
        with pytest.raises(OSError, match="Input/output"):
            shred()
        assert not ring.is_destroyed(number)
        assert not ring.is_destroyed_of(*adopted)
    shred()
    assert ring.is_destroyed(number) if name == "keys" else ring.is_destroyed_of(*adopted)
    assert not [path for path in told.us.home.iterdir() if path.name.startswith(f".{name}.")]


@pytest.mark.holds("S16", "S17")
def test_a_key_is_destroyed_while_a_rotation_makes_the_next_file(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, number = told.us.ring, next(iter(told.own))
    met: list[int] = []
    real = _rotation.rewrap_slot

    def convert(*arguments: Any) -> bytes:
        if not met:
            met.append(1)
            ring.shred([number])
        return real(*arguments)

    monkeypatch.setattr("qflow.trust._keyring.rewrap_slot", convert)
    ring.rotate()
    assert ring.is_destroyed(number)
    del told.own[number]
    told.check(ring)
