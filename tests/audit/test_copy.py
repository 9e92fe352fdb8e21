"""The index of a home in which nothing may be written."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from qflow.audit import Index
from qflow.audit._copy import is_locked, is_still
from tests.audit.chains import MemorySource, begin


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index of a home that is a mount for reading, as far as a program is told."""
    home = tmp_path / "home"
    home.mkdir()
    able = os.access

    def access(path: str | os.PathLike[str], mode: int) -> bool:
        return not (mode & os.W_OK and Path(path).is_relative_to(home)) and able(path, mode)

    monkeypatch.setattr(os, "access", access)
    return home / "index.db"


def files(path: Path) -> dict[str, tuple[bytes, int]]:
    return {one.name: (one.read_bytes(), one.stat().st_mtime_ns) for one in path.parent.iterdir()}


def write(path: Path, source: MemorySource, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("qflow.audit._index.is_locked", lambda _: False)
        with closing(Index(path)) as index:
            index.catch_up(source)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_locked_index_is_read_from_a_copy_and_nothing_is_written(
    locked: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    source = MemorySource()
    old = begin(source, 1)
    write(locked, source, monkeypatch)
    before = files(locked)
    with closing(Index(locked, read_only=read_only)) as index:
        copy = index._path
        assert copy.parent != locked.parent
        assert [one.id for one in index.executions()] == [old]
    assert files(locked) == before
    assert not copy.parent.exists()


def test_what_a_locked_index_has_not_is_read_from_the_log(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemorySource()
    names = [begin(source, 1)]
    write(locked, source, monkeypatch)
    names.insert(0, begin(source, 2))
    before = files(locked)
    with closing(Index(locked)) as index:
        index.catch_up(source)
        assert [one.id for one in index.executions()] == names
    assert files(locked) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "in the WAL"])
def test_without_a_whole_file_it_is_made_from_the_log(
    locked: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    source = MemorySource()
    names = [begin(source, 1)]
    if damage != "missing":
        write(locked, source, monkeypatch)
    if damage == "cut":
        locked.write_bytes(locked.read_bytes()[:5000])
    if damage == "in the WAL":
        locked.with_name("index.db-wal").write_bytes(b"what another machine writes")
        assert not is_still(locked)
    before = files(locked)
    with closing(Index(locked)) as index:
        index.catch_up(source)
        assert [one.id for one in index.executions()] == names
    assert files(locked) == before


def test_what_can_be_written_is_not_copied(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "none" / "index.db")
    assert not is_locked(tmp_path / "index.db")
    with closing(Index(tmp_path / "index.db")) as index:
        assert index._path == tmp_path / "index.db"
        assert not is_locked(index._path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as db:
        assert db.execute("SELECT count(*) FROM executions").fetchone() == (0,)
