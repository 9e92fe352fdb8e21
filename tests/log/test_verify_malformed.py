"""Notes and tiles in the files of a log that are not in their exact form."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.logs import change_byte, frame_checksum, frame_starts, used, verify, write_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def change_note(file: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the head of the last frame, with good checksums."""
    data = bytearray(file.read_bytes())
    at = list(frame_starts(file))[-1]
    length = int.from_bytes(data[at + 8 : at + 12], "little")
    head = int.from_bytes(data[at + 36 : at + 40], "little")
    end = at + length
    changed = change(bytes(data[end - head : end]))
    assert len(changed) == head
    data[end - head : end] = changed
    data[at + 4 : at + 8] = frame_checksum(bytes(data[at:end]), head)
    file.write_bytes(data)


NOTES: dict[str, Callable[[bytes], bytes]] = {
    "a carriage return": lambda note: note.replace(b"\n400\n", b"\n40\r\n"),
    "a leading zero": lambda note: note.replace(b"\n400\n", b"\n040\n"),
    "a sign": lambda note: note.replace(b"\n400\n", b"\n+40\n"),
    "no newline at the end": lambda note: note[:-1] + b"=",
    "another size": lambda note: note.replace(b"\n400\n", b"\n390\n"),
    "no blank line": lambda note: note.replace(b"\n\n", b"\nx"),
    "another name": lambda note: note.replace(b"node", b"nope", 1),
    "a signature of nobody": lambda note: note.replace(b" node", b" nope"),
}


@pytest.mark.holds("H18")
@pytest.mark.parametrize("how", NOTES)
def test_a_malformed_head_in_a_frame_is_found(path: Path, how: str) -> None:
    write_log(path, 400)
    change_note(used(path)[-1], NOTES[how])
    (path / "checkpoint").unlink()
    found = [one for one in verify(path) if one.startswith("journal")]
    assert found
    assert all("a head" in one for one in found)


TILES: dict[str, Callable[[Path], object]] = {
    "bytes behind a tile": lambda tile: append(tile / "0/000", b"\0" * 32),
    "bytes behind a bundle": lambda tile: append(tile / "entries/000", b"\0\1x"),
    "half a hash": lambda tile: os.truncate(tile / "0/000", 8192 - 16),
    "an entry of no bytes": lambda tile: append(tile / "entries/001.p/144", b"\0\0"),
    "a width of 0": lambda tile: (tile / "0/001.p/0").write_bytes(b""),
    "a width of 256": lambda tile: shutil.copy(tile / "0/000", tile / "0/001.p/256"),
    "a width with a zero": lambda tile: shutil.copy(tile / "0/001.p/144", tile / "0/001.p/0144"),
    "a wider partial tile": lambda tile: shutil.copy(tile / "0/001.p/144", tile / "0/001.p/145"),
    "a level too many": lambda tile: shutil.copytree(tile / "1", tile / "2"),
    "a level with a zero": lambda tile: shutil.copytree(tile / "1", tile / "01"),
    "a tile of the future": lambda tile: shutil.copy(tile / "0/000", tile / "0/002"),
    "another partial bundle": lambda tile: change_byte(tile / "entries/001.p/144", 99),
}


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as handle:
        handle.write(data)


@pytest.mark.holds("H18")
@pytest.mark.parametrize("how", TILES)
def test_malformed_tiles_and_bundles_are_found(path: Path, how: str) -> None:
    write_log(path, 400)
    assert verify(path) == []
    TILES[how](path / "tile")
    assert [one for one in verify(path) if one.startswith("tile")]
