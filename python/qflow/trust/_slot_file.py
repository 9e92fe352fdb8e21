"""A file of wrapped keys: a header and slots behind it, read and overwritten where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from qflow.errors import CorruptError, SigningKeyError
from qflow.trust import _slots
from qflow.trust._files import (
    PRIVATE,
    clear_leftovers,
    clear_old,
    create_whole,
    open_private,
    write_at,
)
from qflow.trust._slots import HEADER_BYTES, Header

_TRIES: Final = 100


class SlotFile:
    """One such file. Not safe to call from several threads at once; nothing is opened before it is
    needed.

    Until it is held, it is whatever stands at its path: another file there is simply opened.
    Once it is held, by the process that alone makes keys, another file there, another header and
    other slots at its end than those that this process wrote are refused by CorruptError.
    """

    def __init__(self, path: Path, magic: bytes, slot_bytes: int) -> None:
        self.path, self.magic, self.slot_bytes = path, magic, slot_bytes
        self._name = os.fspath(path)
        self._descriptor: int | None = None
        self._raw = b""
        self._held = False
        self.header = Header()
        self.touched: set[int] | None = None
        """Where something was written since somebody set this: a copy that is being made lacks
        it."""

    def __repr__(self) -> str:
        return f"SlotFile({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether there is such a file, or was when it was opened."""
        return self._descriptor is not None or os.path.exists(self._name)  # noqa: PTH110 - fast

    def hold(self) -> None:
        """From now on this process alone writes it."""
        if self.exists:
            self.opened()
        self._held = True

    def opened(self, *, first: Header | None = None) -> int:
        """The descriptor of the file that stands at the path, and its header is read.

        It is made, with `first`, when there is none. Raises FileNotFoundError, SigningKeyError,
        CorruptError.
        """
        if self._descriptor is not None:
            if self._is_the_same():
                return self._descriptor
            self.close()
        elif self._held and self.path.exists():
            raise CorruptError(f"{self.path} came from elsewhere while this process uses the home")
        if first is not None and not self.path.exists():
            start = _slots.encode_header(first, self.magic).ljust(HEADER_BYTES, b"\0")
            create_whole(self.path, start, PRIVATE)
        try:
            descriptor = open_private(self.path, os.O_RDWR)
        except PermissionError as error:
            raise SigningKeyError(f"the node's data keys cannot be used: {error}") from error
        try:
            self._read_header(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def _is_the_same(self) -> bool:
        """Whether the open file is still what it was; when it is held, it has to be."""
        assert self._descriptor is not None
        same = self._stands(self._descriptor)
        if same and _header_of(self._descriptor) == self._raw:
            return True
        if self._held:
            raise CorruptError(
                f"{self.path} was exchanged while this process uses it; start it again"
            )
        if same:
            self._read_header(self._descriptor)
        return same

    def _stands(self, descriptor: int) -> bool:
        try:
            found, ours = os.stat(self._name), os.fstat(descriptor)  # noqa: PTH116 - fast
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _read_header(self, descriptor: int) -> None:
        raw = _header_of(descriptor)
        try:
            self.header = _slots.parse_header(raw, self.magic)
        except ValueError as error:
            raise CorruptError(f"{self.path}: {error}") from None
        self._raw = raw

    # -- slots -----------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes up to the end of the last slot that is whole. Raises as `opened`."""
        slots = self.length - HEADER_BYTES
        return HEADER_BYTES + max(0, slots) // self.slot_bytes * self.slot_bytes

    @property
    def length(self) -> int:
        """Bytes, with what may be left of a slot that was not written to its end."""
        return os.fstat(self.opened()).st_size

    @property
    def count(self) -> int:
        """How many slots are whole."""
        return (self.size - HEADER_BYTES) // self.slot_bytes

    def read(self, at: int, size: int) -> bytes:
        """Bytes of the file that stands at the path after they were read. Raises as `opened`."""
        for _ in range(_TRIES):
            descriptor = self.opened()
            data = os.pread(descriptor, size, at)
            # What a replacement lets go, it overwrites: perhaps these bytes.
            if self._held or self._stands(descriptor):
                return data
        raise CorruptError(f"{self.path} is exchanged again and again")

    def write(self, data: bytes, at: int) -> None:
        """Not durable before `sync`. Raises OSError, and as `opened`."""
        if self.touched is not None:
            self.touched.add(at)
        write_at(self.opened(), data, at)

    def sync(self) -> None:
        """Wait for the disk."""
        os.fsync(self.opened())

    def overwrite(self, slots: Mapping[int, bytes]) -> None:
        """Write slots, by their places, over what is there: durable, and read back.

        After an error some of them may be written. Raises OSError, and CorruptError when the file
        reads otherwise.
        """
        if not slots:
            return
        for at, slot in slots.items():
            self.write(slot, at)
        self.sync()
        for at, slot in slots.items():
            if self.read(at, len(slot)) != slot:
                raise CorruptError(f"{self.path}: a key that was overwritten is still there")

    def clear_leftovers(self, *, rotating: bool) -> None:
        """Destroy what a replacement that failed left of other contents. For the process that
        holds the file: another one may be at work on them. Raises OSError."""
        if self._held:
            clear_old(self.path) if rotating else clear_leftovers(self.path)

    def write_header(self, header: Header) -> None:
        """Durable on return. Raises OSError."""
        header = header._replace(generation=self.header.generation + 1)
        copy = _slots.encode_header(header, self.magic)
        at = header.generation % 2 * _slots.COPY_BYTES
        descriptor = self.opened()
        try:
            write_at(descriptor, copy, at)
            os.fsync(descriptor)
        finally:
            self._read_header(descriptor)  # After an error it may have been written all the same.

    def take_over(self, descriptor: int) -> None:
        """Go on with the file of this descriptor if that stands at the path now, since this
        process put it there; else close it."""
        if not self._stands(descriptor):
            os.close(descriptor)
            return
        self.close()
        self._descriptor = descriptor
        self._read_header(descriptor)

    def truncate(self, size: int) -> None:
        """Cut it off. Raises OSError."""
        os.ftruncate(self.opened(), size)

    def close(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _header_of(descriptor: int) -> bytes:
    """A file without slots may end behind a copy of its header: the first slot fills it up."""
    return os.pread(descriptor, HEADER_BYTES, 0).ljust(HEADER_BYTES, b"\0")
