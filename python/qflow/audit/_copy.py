"""An index where nothing may be written: a home on a mount for reading, or of another user."""

from __future__ import annotations

import os
from pathlib import Path


class Copy:
    """A folder outside the home that holds a copy of the index, until it is closed.

    What the index has not yet is then read from the log, whose files are never written to.
    """

    def __init__(self, index: Path) -> None:
        # Imported where it is needed: it loads slowly, and few homes are locked.
        from tempfile import TemporaryDirectory

        self._folder = TemporaryDirectory(prefix="qflow-index-")
        self.path = Path(self._folder.name) / index.name
        _copy(index, self.path)

    def close(self) -> None:
        """Remove it. Idempotent."""
        self._folder.cleanup()


def is_locked(index: Path) -> bool:
    """Whether SQLite cannot write the index, nor what it keeps beside it, even to read it."""
    if not index.parent.is_dir():
        return False
    return not all(os.access(one, os.W_OK) for one in (index.parent, index) if one.exists())


def is_still(index: Path) -> bool:
    """Whether all of the index is in its one file: no WAL with content is beside it."""
    try:
        wal = index.with_name(index.name + "-wal")
        return index.is_file() and not (wal.exists() and wal.stat().st_size)
    except OSError:
        return False


def _copy(index: Path, copy: Path) -> None:
    """Copy the file unless somebody writes it meanwhile: without a copy, the log has it all."""
    if not is_still(index):
        return
    import shutil

    before = index.stat()
    try:
        shutil.copyfile(index, copy)
    except PermissionError:
        copy.unlink(missing_ok=True)
        return
    after = index.stat()
    same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    if not (same and is_still(index)):
        copy.unlink()
