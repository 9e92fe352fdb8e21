"""Opening a log to read beside its writer, without taking an early end for the end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qflow import _core
from qflow.errors import CorruptError

HEAD_BYTES_MAX: Final = 1 << 20
"""Of a signed head with its cosignatures (C2SP tlog-checkpoint)."""


def open_reader(log: Path) -> _core.LogReader:
    """Read what is durable in the folder `log`. Raises `CorruptError`.

    A reader stops where the writer of a torn frame stopped. When the published head proves more
    records than come before that place, the files are damaged: the answer would be too short.
    """
    published = _published_size(log / "checkpoint")
    reader = _core.LogReader(str(log))
    if reader.size < published:
        raise CorruptError(f"{log}: the head proves {published} records, {reader.size} can be read")
    return reader


def _published_size(path: Path) -> int:
    """The second line of the note: the size of the tree, in decimal."""
    try:
        with path.open("rb") as file:
            lines = file.read(HEAD_BYTES_MAX).split(b"\n", 2)
        return int(lines[1])
    except FileNotFoundError:
        return 0
    except (IndexError, ValueError):
        raise CorruptError(f"{path} is not a signed head") from None
