"""Data keys from other keyrings, by chain: wrapped under our own subnet key, and overwritten to
erase what they sealed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from qflow.errors import CorruptError, ErasedError, SigningKeyError, VerificationError
from qflow.trust import _slots
from qflow.trust._slot_file import SlotFile
from qflow.trust._slots import (
    ADOPTED_BYTES,
    ADOPTED_MAGIC,
    GONE,
    HEADER_BYTES,
    KEY,
    AdoptedSlot,
    Header,
)

if TYPE_CHECKING:
    from pathlib import Path

    from qflow import _core
    from qflow.trust._key_envelope import KeyEnvelope
    from qflow.trust._subnet_keys import SubnetKeys

FILE: Final = "adopted.keys"
_SCAN_BYTES: Final = 1 << 20

Name = tuple[bytes, int]
"""A chain and the number of its data key."""


class AdoptedKeys:
    """The file `adopted.keys` of a home. The `Keyring` calls it, under its lock."""

    def __init__(self, home: Path, subnet: SubnetKeys) -> None:
        self.file = SlotFile(home / FILE, ADOPTED_MAGIC, ADOPTED_BYTES)
        self._subnet = subnet
        self._places: dict[Name, int] = {}
        self._seen: tuple[int, int] = (-1, 0)

    def __contains__(self, name: Name) -> bool:
        return self._place(name) is not None

    def slot(self, name: Name) -> AdoptedSlot | None:
        """What the file has of a key. Raises CorruptError when that is damaged."""
        at = self._place(name)
        if at is None:
            return None
        try:
            return _slots.parse_adopted(self.file.read(at, ADOPTED_BYTES))
        except ValueError as error:
            raise CorruptError(f"{self.file.path}: the slot of key {name[1]}: {error}") from None

    def key(self, slot: AdoptedSlot) -> _core.SealingKey:
        """The data key in a slot. Raises ErasedError, VerificationError, UnavailableError."""
        if slot.state == GONE:
            raise ErasedError(f"key {slot.number} was destroyed: what it sealed is erased")
        bound = _slots.adopted_bound_of(slot.chain, slot.number, slot.epoch)
        return self._subnet.own(slot.epoch).unwrap_bound(slot.number, slot.wrapped, bound)

    def count(self) -> int:
        """How many keys the file holds, with those that were destroyed."""
        self._look()
        return len(self._places)

    def check(self) -> None:
        """Open the first key that is whole. Raises CorruptError, SigningKeyError (the file is not
        of this node's key), UnavailableError."""
        for name in list(self._places) if self.count() else ():
            with suppress(CorruptError):
                if (slot := self.slot(name)) is not None and slot.state == KEY:
                    try:
                        self.key(slot)
                    except VerificationError as error:
                        what = f"{self.file.path} is not of this node's key: {error}"
                        raise SigningKeyError(what) from error
                    return

    def adopt(self, envelope: KeyEnvelope) -> bool:
        """Take a key, durably; False when it was here. Raises ErasedError when it was destroyed,
        VerificationError when another one has its name, OSError."""
        name = envelope.chain, envelope.number
        at = self._place(name)
        if at is not None:
            try:
                found = self.slot(name)
            except CorruptError:
                found = None  # What is damaged is written again where it is.
            if found is not None:
                self._check_same(found, envelope)
                return False
        epoch = self._subnet.epoch
        bound = _slots.adopted_bound_of(*name, epoch)
        wrapped = self._subnet.fitting(envelope.wrapped).rewrap(
            envelope.number,
            envelope.wrapped,
            envelope.bound,
            to=self._subnet.own(epoch),
            to_bound=bound,
        )
        slot = _slots.encode_adopted(AdoptedSlot(*name, KEY, epoch, wrapped))
        self.file.opened(first=Header(epoch=epoch))
        at = self.file.size if at is None else at
        self.file.write(slot, at)
        self.file.sync()
        self._places[name] = at
        return True

    def _check_same(self, found: AdoptedSlot, envelope: KeyEnvelope) -> None:
        key = self._subnet.fitting(envelope.wrapped).unwrap_bound(
            envelope.number, envelope.wrapped, envelope.bound
        )
        if commitment_of(self.key(found)) != commitment_of(key):
            raise VerificationError(
                f"another key {envelope.number} of execution {envelope.chain.hex()} is here already"
            )

    def shred(self, names: Iterable[Name]) -> None:
        """Overwrite keys where they are. Durable, and read back, on return; again is no harm."""
        due = {}
        for name in names:
            if (at := self._place(name)) is None:
                continue
            gone = _slots.encode_adopted(AdoptedSlot(*name, GONE))
            if self.file.read(at, ADOPTED_BYTES) != gone:
                due[at] = gone
        self.file.overwrite(due)

    # -- where what is ---------------------------------------------------------------------

    def _place(self, name: Name) -> int | None:
        self._look()
        return self._places.get(name)

    def _look(self) -> None:
        """Read the names of slots that were not read yet; all of them in another file."""
        try:
            opened = self.file.opened() if self.file.exists else None
        except FileNotFoundError:
            opened = None  # It was here when it was opened.
        if opened is None:
            self._places, self._seen = {}, (-1, 0)
            return
        inode, at = self._seen
        found = os.fstat(opened).st_ino
        end = self.file.size
        if found != inode or end < at:
            self._places, at = {}, HEADER_BYTES
        while at < end:
            data = self.file.read(at, min(_SCAN_BYTES, end - at))
            for start in range(0, len(data), ADOPTED_BYTES):
                self._places[_slots.claimed_chain(data[start : start + ADOPTED_BYTES])] = at + start
            at += len(data)
        self._seen = found, at


def commitment_of(key: _core.SealingKey) -> bytes:
    """What tells a key apart, whatever its number; it shows nothing of it."""
    return key.seal_bytes(b"", bound=b"")[:32]
