"""The data keys of executions: one each, wrapped, and overwritten to erase what it sealed.

A session hands out only keys that it made itself. So no key is ever used for two executions,
whatever crashed before, and whichever copy of the file was put back: what an earlier session left
unused stays so. The number of a key has 21 bits of chance beside its place, so that the keys of
two histories of the file are not taken for each other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Final

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
from qflow.trust._adopted import AdoptedKeys, commitment_of
from qflow.trust._files import clear_leftovers
from qflow.trust._making import make_keys
from qflow.trust._rotation import (
    Converted,
    Rotation,
    finish,
    is_cut,
    rewrap_adopted,
    rewrap_slot,
)
from qflow.trust._slot_file import SlotFile
from qflow.trust._slots import GONE, HEADER_BYTES, KEY, MAGIC, SLOT_BYTES, Header, Slot
from qflow.trust._subnet_keys import SubnetKeys

if TYPE_CHECKING:
    from qflow.trust._key_envelope import KeyEnvelope

FILE: Final = "keys"
POOL_MIN: Final = 64
"""Keys that a session makes first; each time more are needed, twice as many."""
POOL_MAX: Final = 1024
_TAG_BITS: Final = 21
"""Numbers stay below 2^53, where JSON of other programs is exact."""


class Keyring:
    """The files `keys` and `adopted.keys` of a home. Safe to call from several threads.

    What it gives are `_core.SealingKey`s; no key itself is ever seen. Nothing is opened before it
    is needed. Raises SigningKeyError when a file is open to others or belongs to another node's
    key, CorruptError when it is damaged or, once it is held, was exchanged.
    """

    def __init__(self, home: str | os.PathLike[str], seed: Callable[[], bytes]) -> None:
        self._home = Path(home)
        self.subnet = SubnetKeys(home, seed)
        """The keys that data keys are wrapped under."""
        self._file = SlotFile(self._home / FILE, MAGIC, SLOT_BYTES)
        self._adopted = AdoptedKeys(self._home, self.subnet)
        self._ready: deque[_core.SealingKey] = deque()
        self._end = 0
        self._pool = POOL_MIN // 2
        self._tag = int.from_bytes(random_bytes(3), "big") >> 24 - _TAG_BITS
        self._lock, self._rotating = RLock(), Lock()
        self._failed: str | None = None
        self.resumed: Rotation | None = None
        """The rotation that `hold` found cut short, and finished."""
        self.low: Callable[[], None] = lambda: None
        """Called when it is time to `refill`; set by whoever does that beside the event loop."""
        self.is_erased: Callable[[bytes], bool] = lambda _chain: False
        """Whether a chain is erased, by the node's own chain; set by whoever reads that. What is
        erased is not adopted again, also when the files here do not know of it any more."""
        self.is_ours: Callable[[bytes], bool] = lambda _chain: False
        """Whether a chain began in this home, by its log; set by whoever reads that. Its key is
        our own: no other one is adopted for it."""

    def __repr__(self) -> str:
        return f"Keyring({str(self._file.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether this home has data keys at all."""
        return self._file.exists or self._adopted.file.exists

    def hold(self) -> None:
        """From now on this process alone writes the files: it has the log's lock.

        What a crash left of a rotation or of a replaced file is finished first. Afterwards a file
        that was exchanged or put back from a copy is refused. Raises UnavailableError when the disk
        refuses.
        """
        try:
            with self._lock:
                self._settle()
                for file in (self._file, self._adopted.file):
                    file.hold()
                self._check_ring()
                if is_cut(self._files(), self.subnet):
                    self.resumed = self._finish()
        except OSError as error:
            raise UnavailableError(f"the keys cannot be made ready: {error}") from error

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
                self._failed = f"{self._file.path}: {error}"
                raise UnavailableError(f"no key can be made: {self._failed}") from error

    def _append(self, count: int) -> None:
        ring = self.subnet.ring
        self._file.opened(first=Header(epoch=ring.epoch, ring=ring.generation))
        if not self._end:
            self._end = self._checked_end()
        elif self._file.length != self._end:
            raise CorruptError(f"{self._file.path} was changed while this process uses it")
        first = (self._end - HEADER_BYTES) // SLOT_BYTES
        numbers = [_slots.number_of(self._tag, first + more) for more in range(count)]
        epoch = self._file.header.epoch
        data, keys = make_keys(numbers, epoch, self.subnet.own(epoch))
        self._file.write(data, self._end)
        self._file.sync()
        self._end += len(data)
        self._pool = count
        self._ready.extend(keys)

    def _checked_end(self) -> int:
        """Where the next slot goes. Refuses a file of another node's key, as far as its last keys
        show it."""
        slots = max(0, self._file.length - HEADER_BYTES + SLOT_BYTES - 1)
        end = HEADER_BYTES + slots // SLOT_BYTES * SLOT_BYTES
        at = max(HEADER_BYTES, end - POOL_MAX * SLOT_BYTES)
        if (found := _slots.first_key(self._file.read(at, end - at))) is not None:
            self._unwrapped(found)
        return end

    # -- reading ---------------------------------------------------------------------------

    def check(self) -> None:
        """Whether the files fit each other and the node's key, as far as the session that starts
        executions would refuse them. Raises as that does; nothing is written."""
        with self._lock:
            self._check_ring()
            if self._file.exists:
                self._checked_end()
            self._adopted.check()

    def key_of(self, chain: bytes, number: int) -> _core.SealingKey:
        """The data key of an execution: one that was adopted for its chain, or one of our own.

        Raises ErasedError, UnavailableError (it is in neither file).
        """
        with self._lock:
            adopted = self._adopted.slot((chain, number))
            if adopted is not None:
                return self._adopted.key(adopted)
        return self.key(number)

    def key(self, number: int) -> _core.SealingKey:
        """One of our own keys. Raises ErasedError, UnavailableError (it is not in this file)."""
        slot = self._slot(number)
        try:
            return self._opened(slot, number)
        except UnavailableError:
            # Another process may have rotated the keys between the two readings.
            again = self._slot(number)
            if again == slot:
                raise
            return self._opened(again, number)

    def _opened(self, slot: Slot | None, number: int) -> _core.SealingKey:
        if slot is None:
            raise UnavailableError(f"{self._file.path} has no key {number}")
        if slot.state == GONE:
            raise ErasedError(f"key {number} was destroyed: what it sealed is erased")
        return self._unwrapped(slot)

    def count(self) -> int:
        """How many keys of our own there are, with those that were destroyed. Opens the file."""
        if not self._file.exists:
            return 0
        with self._lock:
            return (self._file.size - HEADER_BYTES) // SLOT_BYTES

    def count_adopted(self) -> int:
        """How many keys were adopted, with those that were destroyed."""
        with self._lock:
            return self._adopted.count()

    def is_adopted(self, chain: bytes, number: int) -> bool:
        """Whether an execution's key came from elsewhere."""
        with self._lock:
            return (chain, number) in self._adopted

    def has(self, number: int) -> bool:
        """Whether a key is here, or what is left of it: something that `shred` overwrites."""
        if not self._file.exists:
            return False
        with self._lock:
            data = self._read(number)
        return _slots.is_key(data, number)

    def has_of(self, chain: bytes, number: int) -> bool:
        """Whether an execution's key is here, own or adopted, or what is left of it."""
        with self._lock:
            try:
                adopted = self._adopted.slot((chain, number))
            except CorruptError:
                return True
        return adopted.state == KEY if adopted is not None else self.has(number)

    def is_destroyed(self, number: int) -> bool:
        """Whether a key was here and was destroyed, for certain."""
        try:
            slot = self._slot(number)
        except CorruptError:
            return False
        return slot is not None and slot.state == GONE

    def is_destroyed_of(self, chain: bytes, number: int) -> bool:
        """Whether an execution's key was here, own or adopted, and was destroyed, for certain."""
        with self._lock:
            try:
                adopted = self._adopted.slot((chain, number))
            except CorruptError:
                return False
        return adopted.state == GONE if adopted is not None else self.is_destroyed(number)

    def _read(self, number: int) -> bytes:
        try:
            return self._file.read(_slots.offset_of(number), SLOT_BYTES)
        except FileNotFoundError:
            return b""  # It was here when it was opened.

    def _slot(self, number: int) -> Slot | None:
        if not self._file.exists:
            return None
        with self._lock:
            data = self._read(number)
        if len(data) < SLOT_BYTES:
            return None
        try:
            slot = _slots.parse_slot(data)
        except ValueError as error:
            raise CorruptError(f"{self._file.path}: the slot of key {number}: {error}") from None
        return slot if slot.number == number else None

    def _unwrapped(self, slot: Slot) -> _core.SealingKey:
        try:
            return self.subnet.own(slot.epoch).unwrap(slot.number, slot.epoch, slot.wrapped)
        except VerificationError as error:
            raise SigningKeyError(
                f"{self._file.path} is not of this node's key: {error}"
            ) from error

    def _check_ring(self) -> None:
        """The file says how new `subnet.keys` is at least."""
        if self._file.exists and self._file.opened():
            self.subnet.check_newest(self._file.header.ring, self._file.header.epoch)

    def bring_back(self, node: str, keys: Iterable[tuple[int, bytes]]) -> int:
        """Take subnet keys that this node itself, `node`, made and has not any more; how many are
        new. To be called before `hold` when that refuses the home for want of them.

        Raises as `SubnetKeys.bring_back`.
        """
        with self._lock:
            known = self._file.header.ring if self._file.exists and self._file.opened() else 0
            return self.subnet.bring_back(node, keys, generation=known)

    # -- keys that travel ------------------------------------------------------------------

    def rewrapped(
        self,
        chain: bytes,
        number: int,
        bound_at: Callable[[int], bytes],
        epoch: int | None = None,
    ) -> tuple[int, bytes]:
        """A data key, wrapped under the subnet key of an epoch, or the newest one: the epoch, and
        the wrapped key.

        It is bound to what `bound_at` gives for the epoch. Raises as `key_of`.
        """
        with self._lock:
            epoch = self.subnet.epoch if epoch is None else epoch
            adopted = self._adopted.slot((chain, number))
            slot = adopted or self._slot(number)
            if slot is None or slot.state == GONE:
                self.key_of(chain, number)
            assert slot is not None
            bound = (
                _slots.bound_of(number, slot.epoch)
                if adopted is None
                else _slots.adopted_bound_of(chain, number, slot.epoch)
            )
            try:
                wrapped = self.subnet.own(slot.epoch).rewrap(
                    number, slot.wrapped, bound, to=self.subnet.own(epoch), to_bound=bound_at(epoch)
                )
            except VerificationError as error:
                raise SigningKeyError(f"{self._home}: not of this node's key: {error}") from error
        return epoch, wrapped

    def unwrapped(self, number: int, wrapped: bytes, bound: bytes) -> _core.SealingKey:
        """A data key that is wrapped under any subnet key that is known here.

        Raises UnavailableError (none fits), VerificationError (it was changed).
        """
        return self.subnet.fitting(wrapped).unwrap_bound(number, wrapped, bound)

    def adopt(self, envelope: KeyEnvelope) -> bool:
        """Take the key in an envelope that `open_envelope` gave. Durable on return; False when it
        was here.

        Raises ErasedError when the execution was erased here, whatever brought its key back;
        VerificationError when another key has this name; UnavailableError when it cannot be kept.
        """
        chain, number = envelope.chain, envelope.number
        if self.is_erased(chain):
            raise ErasedError("the execution was erased: its key is not taken again")
        with self._lock:
            if self.is_destroyed_of(chain, number):
                raise ErasedError(f"key {number} was destroyed: it is not taken again")
            if (chain, number) not in self._adopted and self._is_here(envelope):
                return False
            try:
                return self._adopted.adopt(envelope)
            except OSError as error:
                raise UnavailableError(f"the key cannot be kept: {error}") from error

    def _is_here(self, envelope: KeyEnvelope) -> bool:
        """Whether our own key of this number is the one in the envelope. Raises VerificationError
        when it is another one although the chain is ours: numbers of two keyrings meet, but this
        chain has its key."""
        slot = self._slot(envelope.number)
        if slot is None or slot.state != KEY:
            return False
        brought = self.unwrapped(envelope.number, envelope.wrapped, envelope.bound)
        if commitment_of(self._unwrapped(slot)) == commitment_of(brought):
            return True
        if self.is_ours(envelope.chain):
            raise VerificationError(
                f"another key {envelope.number} of execution {envelope.chain.hex()} is here already"
            )
        return False

    # -- rotation --------------------------------------------------------------------------

    def rotate(self, *, forget: bool = False) -> Rotation:
        """Begin the next epoch: its key is made, and every data key is wrapped under it.

        Everything is durable on return, and what the files held before is overwritten. With
        `forget` the subnet keys of all earlier epochs are destroyed then. Cut short anywhere it
        goes on at the next `hold` or call, which then begins no other epoch. Reading and making
        keys go on meanwhile. For the process that holds the files. Raises UnavailableError when
        the disk refuses; then everything can be read as before.
        """
        if not self._rotating.acquire(blocking=False):
            raise UnavailableError("the keys are being rotated already")
        begun = False
        try:
            self._settle()
            if not is_cut(self._files(), self.subnet):
                self.subnet.advance(forget=forget)
            elif forget:
                self.subnet.want_forget()
            begun = True
            return self._finish()
        except OSError as error:
            end = " to the end" if begun else ""
            raise UnavailableError(f"the keys were not rotated{end}: {error}") from error
        finally:
            self._rotating.release()

    def _settle(self) -> None:
        """Finish replacing files, where that was cut short."""
        for path in (self.subnet.path, self._file.path, self._adopted.file.path):
            clear_leftovers(path)

    def _files(self) -> Iterator[Converted]:
        epoch, own = self.subnet.epoch, cache(self.subnet.own)
        if self._file.exists:
            yield self._file, partial(rewrap_slot, own, epoch)
        if self._adopted.file.exists:
            yield self._adopted.file, partial(rewrap_adopted, own, epoch)

    def _finish(self) -> Rotation:
        return finish(self._files(), self.subnet, self._lock)

    @property
    def is_behind(self) -> bool:
        """Whether `subnet.keys` was changed since `note_ring`."""
        with self._lock:
            return bool(
                self._file.exists
                and self._file.opened()
                and self._file.header.ring < self.subnet.ring.generation
            )

    def note_ring(self) -> None:
        """Note in the file how new `subnet.keys` is, so that an older copy of it is refused; and
        that whoever keeps key envelopes elsewhere knows of it."""
        with self._lock:
            if self.is_behind:
                ring = self.subnet.ring.generation
                self._file.write_header(self._file.header._replace(ring=ring))

    # -- destroying ------------------------------------------------------------------------

    def shred(self, numbers: Iterable[int]) -> None:
        """Overwrite keys where they are. Durable, and read back, on return; again is no harm.

        What a rotation that failed left of them in other files goes first. Numbers that are not in
        this file are passed over. After an error some of them may be destroyed: do it again.
        Raises OSError, or CorruptError when the file reads otherwise.
        """
        if not self._file.exists:
            return
        with self._lock:
            self._file.clear_leftovers(rotating=self._rotating.locked())
            due = {}
            for number in numbers:
                at = _slots.offset_of(number)
                if _slots.is_key(self._file.read(at, SLOT_BYTES), number):
                    due[at] = _slots.encode_slot(Slot(number, GONE))
            self._file.overwrite(due)

    def shred_adopted(self, names: Iterable[tuple[bytes, int]]) -> None:
        """Overwrite adopted keys, by chain and number. As `shred`."""
        if not self._adopted.file.exists:
            return
        with self._lock:
            self._adopted.file.clear_leftovers(rotating=self._rotating.locked())
            self._adopted.shred(names)

    @property
    def applied(self) -> tuple[int, bytes]:
        """How many records of the node's own chain `mark_applied` was told of, and the hash of
        the last: these copies of the files have seen the erasures in them."""
        with self._lock:
            seen = [
                (file.header.applied, file.header.applied_hash)
                for file in (self._file, self._adopted.file)
                if file.exists and file.opened()
            ]
        return min(seen, default=(0, bytes(32)))

    def mark_applied(self, count: int, digest: bytes) -> None:
        """Every erasure up to here was carried out. For the holder of the log's lock."""
        with self._lock:
            for file in (self._file, self._adopted.file):
                if file.exists and file.opened():
                    header = file.header._replace(applied=count, applied_hash=digest)
                    file.write_header(header)

    def close(self) -> None:
        """Close the files, and give back the keys that nobody took. Idempotent."""
        with self._lock:
            if self._ready and self._failed is None:
                with suppress(OSError, CorruptError):
                    self._file.truncate(_slots.offset_of(self._ready[0].number))
            self._ready.clear()
            self._end = 0
            self._file.close()
            self._adopted.file.close()
