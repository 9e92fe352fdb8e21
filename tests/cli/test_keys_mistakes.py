"""What people get wrong about keys: files that are not there, homes that are none, and Ctrl-D."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from qflow.trust import _key_file
from qflow.trust._passphrase import Cost

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = _key_file.write_key_file.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "cost", Cost(passes=1, memory_bytes=1 << 20))


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_a_file_of_keys_that_is_not_there_is_not_found(qflow: Run, home: Path) -> None:
    assert qflow("init").exit_code == 0
    missing = qflow("keys", "import", str(home.parent / "none.keys"))
    assert missing.exit_code == 3
    assert missing.stderr.splitlines()[0] == f"error: {home.parent / 'none.keys'} is not there"


def test_an_import_makes_no_home(qflow: Run, home: Path) -> None:
    file, typo = home.parent / "a.keys", home.parent / "typo"
    assert qflow("init").exit_code == 0
    assert qflow("keys", "export", str(file)).exit_code == 0
    refused = qflow("keys", "import", str(file), "--home", str(typo))
    assert refused.exit_code == 3
    assert f"{typo} is not there" in refused.stderr
    assert "qflow init makes a home" in refused.stderr
    assert not typo.exists()
    typo.mkdir()
    assert qflow("keys", "import", str(file), "--home", str(typo)).exit_code == 3
    assert list(typo.iterdir()) == []


def test_no_hint_about_the_node_key_when_it_is_another_file(qflow: Run, home: Path) -> None:
    assert qflow("init").exit_code == 0
    file = home.parent / "a.keys"
    good, bad = private(home.parent / "good", "one"), private(home.parent / "bad", "other")
    lines, none = private(home.parent / "lines", "a\nb\n"), home.parent / "none"
    option = "--passphrase-file"
    for secret, code in ((lines, 2), (none, 3)):
        refused = qflow("keys", "export", str(file), option, str(secret))
        assert refused.exit_code == code
        assert "hint: --passphrase-file: one line" in refused.stderr
    assert qflow("keys", "export", str(file), option, str(good)).exit_code == 0
    wrong = qflow("keys", "import", str(file), option, str(bad))
    assert (wrong.exit_code, "the passphrase is wrong" in wrong.stderr) == (2, True)
    file.chmod(0o644)
    opened = qflow("keys", "import", str(file), option, str(good))
    assert (opened.exit_code, "chmod 600" in opened.stderr) == (2, True)
    for refused in (wrong, opened):
        assert "doctor" not in refused.stderr


def test_an_export_says_what_reads_it(qflow: Run, home: Path) -> None:
    assert qflow("init").exit_code == 0
    bare = qflow("keys", "export", str(home.parent / "a.keys"))
    assert "whoever has this file can read" in bare.stderr
    secret = str(private(home.parent / "secret", "one"))
    sealed = qflow("keys", "export", str(home.parent / "b.keys"), "--passphrase-file", secret)
    assert "whoever has this file and its passphrase can read" in sealed.stderr


def test_a_passphrase_that_is_not_typed_changes_nothing(
    qflow: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_d(*_: object, **__: object) -> str:
        raise EOFError

    assert qflow("init").exit_code == 0
    before = (home / "node.key").read_bytes()
    monkeypatch.setattr(getpass, "getpass", ctrl_d)
    monkeypatch.setattr("qflow.cli._command._is_terminal", lambda: True)
    refused = qflow("keys", "protect")
    assert refused.exit_code == 2
    assert refused.stderr.lstrip() == "error: no passphrase was typed: nothing is done\n"
    assert (home / "node.key").read_bytes() == before
