"""The node's key: private, whole, and its names."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qflow.errors import SigningKeyError
from qflow.trust import NodeKey, load_or_create_key

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


def test_key_is_made_once_private_and_read_back(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = load_or_create_key(home)
    assert load_or_create_key(home) == made
    assert len(made.seed) == len(made.public) == 32
    assert stat.S_IMODE((home / "node.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert sorted(path.name for path in home.iterdir()) == ["node.key", "node.pub"]
    assert load_or_create_key(tmp_path / "other").seed != made.seed


def test_public_file_is_the_verifier_key(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path)
    line = (tmp_path / "node.pub").read_text()
    name, hint, rest = line.rstrip("\n").split("+", 2)
    assert line == f"{key.vkey}\n"
    assert (name, len(hint)) == (key.origin, 8)
    assert key.origin == f"qflow.node/{key.id}"
    assert rest


def test_did_key_is_that_of_the_specification(tmp_path: Path) -> None:
    # did:key method, test vectors: the identifier of this very public key.
    public = bytes.fromhex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6")
    key = NodeKey(seed=SEED, public=public)
    assert key.did == "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def test_public_half_is_that_of_rfc_8032(tmp_path: Path) -> None:
    private(tmp_path / "node.key", SEED.hex())
    assert load_or_create_key(tmp_path).public.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )


def test_seed_is_not_shown(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path)
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in f"{key} {key!r}"


def private(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601])
def test_key_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    private(tmp_path / "node.key", SEED.hex(), mode)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        load_or_create_key(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "64 hexadecimal"),
        (SEED.hex()[:-1], "64 hexadecimal"),
        (SEED.hex() + "0", "64 hexadecimal"),
        (SEED.hex().upper(), "64 hexadecimal"),
        (" " + SEED.hex()[1:], "64 hexadecimal"),
        ("zz" * 32, "64 hexadecimal"),
        ("00" * 32, "weak"),
        ("0123456789abcdef" * 4, "weak"),
        ("x" * 5000, "longer than"),
    ],
)
def test_malformed_and_weak_keys_are_refused(tmp_path: Path, text: str, words: str) -> None:
    private(tmp_path / "node.key", text)
    with pytest.raises(SigningKeyError, match=words):
        load_or_create_key(tmp_path)
    assert not (tmp_path / "node.pub").exists()


def test_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(tmp_path / "node.key", SEED.hex())
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SigningKeyError, match="belongs to user"):
        load_or_create_key(tmp_path)


def test_exchanged_public_file_is_refused(tmp_path: Path) -> None:
    load_or_create_key(tmp_path)
    load_or_create_key(tmp_path / "other")
    (tmp_path / "node.pub").write_bytes((tmp_path / "other" / "node.pub").read_bytes())
    with pytest.raises(SigningKeyError, match="exchanged"):
        load_or_create_key(tmp_path)


def test_key_that_is_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.key").mkdir()
    with pytest.raises(SigningKeyError):
        load_or_create_key(tmp_path)
    (tmp_path / "node.key").rmdir()
    os.mkfifo(tmp_path / "node.key", 0o600)
    with pytest.raises(SigningKeyError, match="regular"):
        load_or_create_key(tmp_path)


def test_starting_at_once_agrees_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_create_key(tmp_path), range(32)))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("call", ["fsync", "link", "fchmod"])
def test_failed_write_leaves_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SigningKeyError, match="disk is full"):
        load_or_create_key(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    load_or_create_key(tmp_path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("public", [True, False])
def test_a_key_that_is_there_needs_no_writable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, public: bool
) -> None:
    key = load_or_create_key(tmp_path)
    if not public:
        (tmp_path / "node.pub").unlink()
    opened = os.open

    def refuse(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    assert load_or_create_key(tmp_path) == key
    (tmp_path / "node.key").unlink()
    with pytest.raises(SigningKeyError, match=os.strerror(code)):
        load_or_create_key(tmp_path)
    assert not (tmp_path / "node.key").exists()
