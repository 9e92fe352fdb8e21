"""What tests of keys leave open is closed behind each: a killed session never closes its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qflow.trust._slot_file import SlotFile


@pytest.fixture(autouse=True)
def _closed_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[SlotFile] = []
    inner = SlotFile.__init__

    def init(file: SlotFile, path: Path, magic: bytes, slot_bytes: int) -> None:
        inner(file, path, magic, slot_bytes)
        made.append(file)

    with monkeypatch.context() as patched:
        patched.setattr(SlotFile, "__init__", init)
        yield
    for file in made:
        file.close()
