"""A head of a log that somebody knows, kept in a file of his own, and where its verification stood.

The head is evidence: a log that is no continuation of it has two histories. The state beside it
(`FILE.state`) only saves time, and is of no use with another head.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from qflow import _core
from qflow.errors import VerificationError
from qflow.trust._files import sync

NOTE_BYTES_MAX: Final = 128 << 10
"""Of a signed note (docs/formats/log.md); a longer file is refused unread."""


class Head(msgspec.Struct, frozen=True):
    """A signed head."""

    note: bytes
    size: int
    root: bytes


def load_head(path: Path, vkey: str) -> Head | None:
    """The head in a file; None when there is no file yet.

    Raises VerificationError when it cannot be read, or is not a head that this key signed.
    """
    try:
        with path.open("rb") as file:
            note = file.read(NOTE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VerificationError(f"the known head {str(path)!r}: {error.strerror}") from error
    try:
        return Head(note, *_core.parse_checkpoint(note, vkey))
    except ValueError as error:
        raise VerificationError(f"the known head {str(path)!r}: {error}") from error


def state_path(path: Path) -> Path:
    """Where the state beside a known head is."""
    return path.with_name(path.name + ".state")


def load_state(path: Path) -> bytes:
    """The state beside a known head; empty, which is no state, when it cannot be read."""
    try:
        return state_path(path).read_bytes()
    except OSError:
        return b""


def save_head(path: Path, note: bytes, state: bytes | None) -> None:
    """Replace the head, and the state with it. Durable on return.

    A crash leaves the old head or the new one, whole, and never a state that passes for the
    other's: it names its head. Raises OSError.
    """
    if state is not None:
        replace_file(state_path(path), state)
    replace_file(path, note)
    sync(path.absolute().parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: on an error what was there before is there still.

    The bytes are durable on return, the name once the folder is synced. Raises OSError, which
    names the file.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
