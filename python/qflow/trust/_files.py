"""Files that hold secrets: made whole or not at all, and refused when others can read them."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from qflow.clock import random_bytes

PRIVATE: Final = 0o600
_ZEROS: Final = 1 << 20
_CHANCE_BYTES: Final = 8
_CHANCE: Final = f"[0-9a-f]{{{2 * _CHANCE_BYTES}}}"
"""In the name of a file that is being made."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path, size_bytes_max: int) -> bytes:
    """The content of a file that `open_private` opens.

    Raises ValueError when it is too long, and as that does.
    """
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        content = file.read(size_bytes_max + 1)
    if len(content) > size_bytes_max:
        raise ValueError(f"{path} is longer than {size_bytes_max} bytes")
    return content


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a regular file that only its owner, this process's user, can open.

    The check is made on the opened file, so nothing can be exchanged in between.
    Raises PermissionError when it is not private, OSError else.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(f"{path} is not a regular file")
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}")
        if found.st_mode & _OTHERS:
            mode = stat.S_IMODE(found.st_mode)
            raise PermissionError(f"{path} is open to others (mode {mode:04o}): chmod 600 {path}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_whole(path: Path, content: bytes, mode: int) -> bool:
    """Make a file that was not there, complete and durable; False when it was there.

    It is written beside its place and linked into it: a crash leaves all of it or none there, and
    what it leaves beside it goes with the next `clear_leftovers`.
    """
    spare = _spare(path, random_bytes(_CHANCE_BYTES).hex())
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(spare, path)
        except FileExistsError:
            return False
    finally:
        with suppress(FileNotFoundError):
            spare.unlink()
    sync(path.parent)
    return True


class Replacement:
    """The next content of a file, made beside its place; `commit` exchanges the two.

    Whatever is cut short, the place has the one or the other, whole. What was there is overwritten
    before it is let go, also when that happens at the next opening (`clear_leftovers`). One process
    at a time. Left without `commit`, nothing has changed. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._spare = path, _spare(path, "new")
        clear_leftovers(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(self._spare, flags, PRIVATE)
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        if not self._done:
            with suppress(OSError):
                destroy(self._spare)

    def commit(self) -> None:
        """Durable on return, and the content before is gone."""
        os.fsync(self.descriptor)
        with suppress(FileNotFoundError):
            os.link(self._path, _spare(self._path, "old"))
        self._spare.replace(self._path)
        self._done = True
        sync(self._path.parent)
        clear_leftovers(self._path)


def replace_whole(path: Path, content: bytes) -> None:
    """Give a private file another content: `Replacement`. Durable on return. Raises OSError."""
    with Replacement(path) as new:
        write_at(new.descriptor, content, 0)
        new.commit()


def clear_leftovers(path: Path) -> None:
    """Finish what a replacement that was cut short left to do, and destroy what `create_whole` left
    before this file was there. Raises OSError."""
    new = _spare(path, "new")
    if new.exists():
        destroy(new)
    clear_old(path)
    if path.exists():
        begun = re.compile(re.escape(_spare(path, "").name) + _CHANCE)
        for spare in path.parent.iterdir():
            if begun.fullmatch(spare.name):
                with suppress(FileNotFoundError):  # Whoever made it lets it go just now.
                    _let_go(spare, path)


def clear_old(path: Path) -> None:
    """The part of `clear_leftovers` that can be done while the next content is being made."""
    old = _spare(path, "old")
    if old.exists():
        _let_go(old, path)


def _let_go(spare: Path, path: Path) -> None:
    if path.exists() and spare.samefile(path):
        spare.unlink()  # It was cut while the file had two names.
    else:
        destroy(spare)


def destroy(path: Path) -> None:
    """Overwrite a file, wait for the disk, and remove it. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        left, at = os.fstat(descriptor).st_size, 0
        while left > 0:
            part = min(left, _ZEROS)
            write_at(descriptor, bytes(part), at)
            left, at = left - part, at + part
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync(path.parent)


def write_at(descriptor: int, data: bytes, at: int) -> None:
    """All of it, or OSError."""
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def _spare(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
