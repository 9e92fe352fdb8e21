"""Wrapping every data key of a file under the next subnet key, while the file is in use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from threading import RLock
from typing import TYPE_CHECKING, Final

import msgspec

from qflow.errors import SigningKeyError, UnavailableError, VerificationError
from qflow.trust import _slots
from qflow.trust._files import Replacement, write_at
from qflow.trust._slots import HEADER_BYTES, KEY

if TYPE_CHECKING:
    from qflow import _core
    from qflow.trust._slot_file import SlotFile
    from qflow.trust._subnet_keys import SubnetKeys

_PART_BYTES: Final = 1 << 18
Own = Callable[[int], "_core.WrappingKey"]
Converted = tuple["SlotFile", Callable[[bytes], bytes]]
"""A file, and what wraps a slot of it under the newest key."""


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation came to."""

    epoch: int
    """The newest, under which every key is wrapped now."""
    oldest: int
    """The subnet keys of epochs below this are destroyed."""
    keys: int
    """So many data keys are in the files, with those that were destroyed."""


def is_cut(files: Iterable[Converted], subnet: SubnetKeys) -> bool:
    """Whether a rotation was begun and not finished."""
    ring = subnet.ring
    behind = any(file.opened() and file.header.epoch < ring.epoch for file, _ in files)
    return behind or ring.oldest < ring.forget


def finish(files: Iterable[Converted], subnet: SubnetKeys, lock: RLock) -> Rotation:
    """Wrap what is not yet under the newest subnet key, and forget what is to be. OSError."""
    epoch, counts = subnet.epoch, []
    for file, convert in files:
        if file.opened() and file.header.epoch < epoch:
            try:
                rewrite(file, convert, epoch, lock)
            except SigningKeyError as error:
                raise SigningKeyError(f"{file.path} cannot be used: {error}") from error
        counts.append(file.count)
    subnet.forget()
    return Rotation(epoch=epoch, oldest=subnet.ring.oldest, keys=sum(counts))


def rewrite(file: SlotFile, convert: Callable[[bytes], bytes], epoch: int, lock: RLock) -> None:
    """Replace a file by one with every slot converted. Durable on return. Raises OSError.

    The lock is held at the end only, for the slots that were written meanwhile and the exchange.
    """
    size = file.slot_bytes
    with Replacement(file.path) as new:

        def copy(at: int, end: int) -> None:
            while at < end:
                data = file.read(at, min(_PART_BYTES, end - at))
                slots = (data[start : start + size] for start in range(0, len(data), size))
                write_at(new.descriptor, b"".join(map(convert, slots)), at)
                at += len(data)

        with lock:
            end = file.size
            file.touched = set()
        try:
            copy(HEADER_BYTES, end)
            os.fsync(new.descriptor)
            with lock:
                for at in sorted(file.touched):
                    if at < end:
                        copy(at, at + size)
                copy(end, file.length)
                header = file.header._replace(generation=file.header.generation + 1, epoch=epoch)
                at = header.generation % 2 * _slots.COPY_BYTES
                write_at(new.descriptor, _slots.encode_header(header, file.magic), at)
                descriptor = os.dup(new.descriptor)
                try:
                    new.commit()
                finally:
                    file.take_over(descriptor)
        finally:
            file.touched = None


def rewrap_slot(own: Own, epoch: int, data: bytes) -> bytes:
    """A slot of `keys`, wrapped under the key of this epoch; as it is when that cannot be done."""
    try:
        slot = _slots.parse_slot(data)
    except ValueError:
        return data  # Damaged or torn: it can be destroyed, and nothing else, before and after.
    if slot.state != KEY or slot.epoch == epoch:
        return data
    bound = _slots.bound_of(slot.number, epoch)
    wrapped = _rewrapped(own, epoch, slot, _slots.bound_of(slot.number, slot.epoch), bound)
    if wrapped is None:
        return data
    return _slots.encode_slot(slot._replace(epoch=epoch, wrapped=wrapped))


def rewrap_adopted(own: Own, epoch: int, data: bytes) -> bytes:
    """A slot of `adopted.keys`. As `rewrap_slot`."""
    try:
        slot = _slots.parse_adopted(data)
    except ValueError:
        return data
    if slot.state != KEY or slot.epoch == epoch:
        return data
    name = slot.chain, slot.number
    bound = _slots.adopted_bound_of(*name, epoch)
    wrapped = _rewrapped(own, epoch, slot, _slots.adopted_bound_of(*name, slot.epoch), bound)
    if wrapped is None:
        return data
    return _slots.encode_adopted(slot._replace(epoch=epoch, wrapped=wrapped))


def _rewrapped(
    own: Own,
    epoch: int,
    slot: _slots.Slot | _slots.AdoptedSlot,
    bound: bytes,
    to_bound: bytes,
) -> bytes | None:
    try:
        key = own(slot.epoch)
    except UnavailableError:
        return None  # Of an epoch that was forgotten, out of an old copy of the file.
    try:
        return key.rewrap(slot.number, slot.wrapped, bound, to=own(epoch), to_bound=to_bound)
    except VerificationError as error:
        raise SigningKeyError(f"the file is not of this node's key: {error}") from error
