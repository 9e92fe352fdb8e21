"""A disk that is full, and one that can only be read: what commands leave, and say."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import Result

from qflow.cli._exit import CORRUPTED, FAILED, UNAVAILABLE, code_of, hint_of
from qflow.errors import PoisonedError, QflowError, UnavailableError
from qflow.storage import _file
from qflow.trust import Keyring, _subnet_keys, load_or_create_key

Run = Callable[..., Result]


def full(*_: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_init_on_a_full_disk_leaves_no_settings(
    qflow: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused = qflow("init")
    assert refused.exit_code == FAILED
    assert "qflow.toml: No space left" in refused.stderr
    assert "the disk is full" in refused.stderr
    assert [path.name for path in home.iterdir()] == ["secrets"]
    assert qflow("init").exit_code == 0
    assert (home / "qflow.toml").stat().st_size > 1000


@pytest.mark.parametrize(
    "error",
    [
        OSError("/home/log: No space left on device (os error 28)"),
        UnavailableError("the index /home/index.db: database or disk is full"),
        PoisonedError("/home/state.db: a write failed (database or disk is full)"),
    ],
    ids=["core", "index", "store"],
)
def test_a_write_without_room_has_its_code_and_says_so(error: Exception) -> None:
    assert code_of(error) == CORRUPTED
    assert "full" in (hint_of(error) or "")
    assert ("start the node" in (hint_of(error) or "")) == isinstance(error, PoisonedError)


def test_other_failures_keep_their_codes() -> None:
    assert code_of(UnavailableError("nobody answers")) == UNAVAILABLE
    assert code_of(OSError(errno.EIO, "Input/output error")) == FAILED
    assert hint_of(UnavailableError("nobody answers")) is None


def test_a_rotation_that_did_not_begin_does_not_speak_of_its_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring(home, lambda: load_or_create_key(home).seed)
    keyring.hold()
    keyring.take()
    with monkeypatch.context() as patched:
        patched.setattr(_subnet_keys, "replace_whole", full)
        with pytest.raises(UnavailableError, match=r"the keys were not rotated: .*No space"):
            keyring.rotate()
    assert keyring.rotate().epoch == 1
    keyring.close()


def cannot_open(path: Path) -> QflowError:
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    return _file.described(path, error)


def test_a_home_that_can_only_be_read_is_to_be_copied(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "read-only" not in str(cannot_open(home / "state.db"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = cannot_open(home / "state.db")
    assert str(error).startswith(f"{home}/state.db: ")
    assert str(error).endswith("read-only: copy the home to read it")
    for refused in (
        error,
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/home/keys"),
        OSError("/home/log: Read-only file system (os error 30)"),
        UnavailableError("the index /home/index.db: attempt to write a readonly database"),
    ):
        assert "cp -a" in (hint_of(refused) or "")
