"""The data keys of executions: one each, wrapped, and overwritten to erase what it sealed.

A session hands out only keys that it made itself. So no key is ever used for two executions,
whatever crashed before, and whichever copy of the file was put back: what an earlier session left
unused stays so. The number of a key has 21 bits of chance beside its place, so that the keys of
two histories of the file are not taken for each other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from qflow import _core
from qflow.clock import random_bytes
from qflow.errors import (
    CorruptError,
    ErasedError,
    SigningKeyError,
    UnavailableError,
    VerificationError,
)
from qflow.trust import _slots
from qflow.trust._files import PRIVATE, create_whole, open_private
from qflow.trust._slots import GONE, HEADER_BYTES, KEY, SLOT_BYTES, Header, Slot

FILE: Final = "keys"
POOL_MIN: Final = 64
"""Keys that a session makes first; each time more are needed, twice as many."""
POOL_MAX: Final = 1024
_KEY_BYTES: Final = 32
_TAG_BITS: Final = 21
"""Numbers stay below 2^53, where JSON of other programs is exact."""


class Keyring:
    """The file `keys` of a home. Safe to call from several threads.

    What it gives are `_core.SealingKey`s; no key itself is ever seen. Nothing is opened before it
    is needed. Raises SigningKeyError when the file is open to others or belongs to another node's
    key, CorruptError when it is damaged.
    """

    def __init__(self, home: str | os.PathLike[str], seed: Callable[[], bytes]) -> None:
        self._path, self._seed = Path(home) / FILE, seed
        self._wrapping: _core.WrappingKey | None = None
        self._descriptor: int | None = None
        self._header = Header()
        self._ready: deque[_core.SealingKey] = deque()
        self._end = 0
        self._pool = POOL_MIN // 2
        self._tag = int.from_bytes(random_bytes(3), "big") >> 24 - _TAG_BITS
        self._lock = Lock()
        self._failed: str | None = None
        self.low: Callable[[], None] = lambda: None
        """Called when it is time to `refill`; set by whoever does that beside the event loop."""

    def __repr__(self) -> str:
        return f"Keyring({str(self._path)!r})"

    @property
    def exists(self) -> bool:
        """Whether this home has data keys at all."""
        return self._descriptor is not None or self._path.exists()

    # -- for the session that starts executions --------------------------------------------

    def take(self) -> _core.SealingKey:
        """A key that nothing was ever sealed with. Durable; waits for the disk only when keys are
        used faster than they are made. Raises UnavailableError when none can be made."""
        try:
            key = self._ready.popleft()
        except IndexError:
            self.refill()
            key = self._ready.popleft()
        if len(self._ready) == self._pool // 2:
            self.low()
        return key

    def refill(self) -> None:
        """Make keys, durable on return, unless there are enough. Raises UnavailableError."""
        with self._lock:
            if len(self._ready) > self._pool // 2:
                return
            if self._failed is not None:
                raise UnavailableError(f"no key can be made since: {self._failed}")
            try:
                self._append(min(2 * self._pool, POOL_MAX))
            except OSError as error:
                # What the disk holds now is not known; a restart looks.
                self._failed = f"{self._path}: {error}"
                raise UnavailableError(f"no key can be made: {self._failed}") from error

    def _append(self, count: int) -> None:
        descriptor = self._opened(create=True)
        if not self._end:
            slots = max(0, os.fstat(descriptor).st_size - HEADER_BYTES + SLOT_BYTES - 1)
            end = HEADER_BYTES + slots // SLOT_BYTES * SLOT_BYTES
            self._check_ours(descriptor, end)
            self._end = end
        first = (self._end - HEADER_BYTES) // SLOT_BYTES
        numbers = [_slots.number_of(self._tag, first + more) for more in range(count)]
        chance, wrapping = random_bytes(_KEY_BYTES * count), self._wrapping_key()
        keys, data = [], bytearray()
        for at, number in enumerate(numbers):
            key = chance[at * _KEY_BYTES : (at + 1) * _KEY_BYTES]
            wrapped = wrapping.wrap(number, self._header.epoch, key)
            data += _slots.encode_slot(Slot(number, KEY, self._header.epoch, wrapped))
            keys.append(_core.SealingKey(number, key))
        _write(descriptor, bytes(data), self._end)
        os.fsync(descriptor)
        self._end += len(data)
        self._pool = count
        self._ready.extend(keys)

    def _check_ours(self, descriptor: int, end: int) -> None:
        """Refuse to go on in a file of another node's key, as far as its last keys show it."""
        at = max(HEADER_BYTES, end - POOL_MAX * SLOT_BYTES)
        data = os.pread(descriptor, end - at, at)
        for start in range(0, len(data), SLOT_BYTES):
            with suppress(ValueError):
                slot = _slots.parse_slot(data[start : start + SLOT_BYTES])
                if slot.state == KEY:
                    self._unwrapped(slot)
                    return

    # -- reading ---------------------------------------------------------------------------

    def key(self, number: int) -> _core.SealingKey:
        """A key by its number. Raises ErasedError, UnavailableError (it is not in this file)."""
        slot = self._slot(number)
        if slot is None:
            raise UnavailableError(f"{self._path} has no key {number}")
        if slot.state == GONE:
            raise ErasedError(f"key {number} was destroyed: what it sealed is erased")
        return self._unwrapped(slot)

    def count(self) -> int:
        """How many keys the file holds, with those that were destroyed. Opens the file."""
        if not self.exists:
            return 0
        with self._lock:
            return (os.fstat(self._opened()).st_size - HEADER_BYTES) // SLOT_BYTES

    def has(self, number: int) -> bool:
        """Whether a key is here, or what is left of it: something that `shred` overwrites."""
        if not self.exists:
            return False
        with self._lock:
            data = os.pread(self._opened(), SLOT_BYTES, _slots.offset_of(number))
        return self._is_of(data, number)

    def is_destroyed(self, number: int) -> bool:
        """Whether a key was here and was destroyed, for certain."""
        try:
            slot = self._slot(number)
        except CorruptError:
            return False
        return slot is not None and slot.state == GONE

    def _slot(self, number: int) -> Slot | None:
        if not self.exists:
            return None
        with self._lock:
            data = os.pread(self._opened(), SLOT_BYTES, _slots.offset_of(number))
        if len(data) < SLOT_BYTES:
            return None
        try:
            slot = _slots.parse_slot(data)
        except ValueError as error:
            raise CorruptError(f"{self._path}: the slot of key {number}: {error}") from None
        return slot if slot.number == number else None

    def _unwrapped(self, slot: Slot) -> _core.SealingKey:
        try:
            return self._wrapping_key().unwrap(slot.number, slot.epoch, slot.wrapped)
        except VerificationError as error:
            raise SigningKeyError(f"{self._path} is not of this node's key: {error}") from error

    # -- destroying ------------------------------------------------------------------------

    def shred(self, numbers: Iterable[int]) -> None:
        """Overwrite keys where they are. Durable, and read back, on return; again is no harm.

        Numbers that are not in this file are passed over. After an error some of them may be
        destroyed: do it again. Raises OSError, or CorruptError when the file reads otherwise.
        """
        if not self.exists:
            return
        with self._lock:
            descriptor, done = self._opened(), []
            for number in numbers:
                at = _slots.offset_of(number)
                if self._is_of(os.pread(descriptor, SLOT_BYTES, at), number):
                    gone = _slots.encode_slot(Slot(number, GONE))
                    _write(descriptor, gone, at)
                    done.append((at, gone))
            if not done:
                return
            os.fsync(descriptor)
            for at, gone in done:
                if os.pread(descriptor, SLOT_BYTES, at) != gone:
                    raise CorruptError(f"{self._path}: a key that was overwritten is still there")

    @staticmethod
    def _is_of(data: bytes, number: int) -> bool:
        """Whether a slot holds this key or what a torn write left of it."""
        if len(data) < SLOT_BYTES:
            return False
        try:
            slot = _slots.parse_slot(data)
        except ValueError:
            return _slots.claimed_number(data) == number
        return slot.number == number and slot.state == KEY

    @property
    def applied(self) -> tuple[int, bytes]:
        """How many records of the node's own chain `mark_applied` was told of, and the hash of
        the last: this copy of the file has seen the erasures in them."""
        if not self.exists:
            return 0, bytes(32)
        with self._lock:
            self._opened()
            return self._header.applied, self._header.applied_hash

    def mark_applied(self, count: int, digest: bytes) -> None:
        """Every erasure up to here was carried out. For the holder of the log's lock."""
        if not self.exists:
            return
        with self._lock:
            self._opened()
            header = self._header._replace(
                generation=self._header.generation + 1, applied=count, applied_hash=digest
            )
            self._write_header(header)

    # -- the file --------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file, and give back the keys that nobody took. Idempotent."""
        with self._lock:
            if self._descriptor is None:
                return
            descriptor, self._descriptor = self._descriptor, None
            if self._ready and self._failed is None:
                with suppress(OSError):
                    os.ftruncate(descriptor, _slots.offset_of(self._ready[0].number))
            self._ready.clear()
            os.close(descriptor)
            self._end = 0

    def _write_header(self, header: Header) -> None:
        descriptor = self._opened()
        at = header.generation % 2 * _slots.COPY_BYTES
        _write(descriptor, _slots.encode_header(header), at)
        os.fsync(descriptor)
        self._header = header

    def _opened(self, *, create: bool = False) -> int:
        if self._descriptor is not None:
            return self._descriptor
        if create and not self._path.exists():
            first = _slots.encode_header(Header()).ljust(HEADER_BYTES, b"\0")
            create_whole(self._path, first, PRIVATE)
        try:
            descriptor = open_private(self._path, os.O_RDWR)
        except PermissionError as error:
            raise SigningKeyError(f"the node's data keys cannot be used: {error}") from error
        try:
            self._header = _slots.parse_header(os.pread(descriptor, HEADER_BYTES, 0))
        except ValueError as error:
            os.close(descriptor)
            raise CorruptError(f"{self._path}: {error}") from None
        self._descriptor = descriptor
        return descriptor

    def _wrapping_key(self) -> _core.WrappingKey:
        if self._wrapping is None:
            self._wrapping = _core.WrappingKey(self._seed())
        return self._wrapping


def _write(descriptor: int, data: bytes, at: int) -> None:
    """All of it, or OSError."""
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written
