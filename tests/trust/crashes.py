"""Dying in any call that changes files: nothing after it happens, and a write may be cut.

What a process does after such a call would be undone neither by a kill nor by a power cut, so from
then on every call fails. After a power cut what was written and not synced may be lost as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import pytest

CALLS: Final = ("open", "pwrite", "fsync", "link", "rename", "replace", "unlink", "ftruncate")
WAYS: Final = ("before", "after", "torn", "lost")


class KilledError(BaseException):
    """The process is dead."""


class Crash:
    """Dies at call number `at`: before it was made, after it, in the middle of a write (`torn`), or
    after it while what was not synced is lost (`lost`)."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, way: str) -> None:
        self.made, self.dead = 0, False
        self._at, self._way = at, way
        self._unsynced: list[tuple[int, int, bytes, int]] = []
        self._real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(name))

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*arguments: Any, **options: Any) -> Any:
            if self.dead:
                raise KilledError
            if name == "open" and not arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                return real(*arguments, **options)
            self.made += 1
            dying = self.made == self._at
            if dying and self._way == "before":
                self._die()
            if dying and self._way == "torn" and name == "pwrite":
                descriptor, data, at = arguments
                real(descriptor, data[: len(data) // 2], at)
                self._die()
            if name == "pwrite":
                self._note(*arguments)
            done = real(*arguments, **options)
            if name == "fsync":
                self._synced(arguments[0])
            if dying:
                if self._way == "lost":
                    self._lose()
                self._die()
            return done

        return call

    def _die(self) -> None:
        self.dead = True
        raise KilledError

    def _note(self, descriptor: int, data: bytes, at: int) -> None:
        own = self._real["open"](f"/proc/self/fd/{descriptor}", os.O_RDWR)
        before = os.pread(own, len(data), at)
        self._unsynced.append((own, at, before, os.fstat(own).st_size))

    def _synced(self, descriptor: int) -> None:
        synced = os.fstat(descriptor).st_ino
        kept = []
        for entry in self._unsynced:
            if os.fstat(entry[0]).st_ino == synced:
                os.close(entry[0])
            else:
                kept.append(entry)
        self._unsynced = kept

    def _lose(self) -> None:
        for descriptor, at, before, size in reversed(self._unsynced):
            self._real["pwrite"](descriptor, before, at)
            self._real["ftruncate"](descriptor, size)
