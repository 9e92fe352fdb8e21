"""A node's key under a passphrase, and where the passphrase may come from."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qflow import diagnostics
from qflow.errors import SigningKeyError
from qflow.trust import (
    NodeKey,
    _key,
    is_protected,
    load_or_create_key,
    load_seed,
    passphrase_for,
    protect_key,
)
from qflow.trust._passphrase import Cost, seal_under
from tests.core.vectors import load_vectors
from tests.trust.crashes import Crash, KilledError
from tests.trust.rings import outcome, refuse

CHEAP = Cost(passes=1, memory_bytes=1 << 20)
SECRET = b"correct horse battery staple"
VECTORS = load_vectors("keys.json")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    _key._opened.clear()
    yield
    diagnostics.ask_with(None)


def protected(home: Path) -> NodeKey:
    key = load_or_create_key(home)
    protect_key(home, SECRET, cost=CHEAP)
    _key._opened.clear()
    return key


def spares(home: Path) -> list[Path]:
    """Files that were to become `node.key`."""
    return [path for path in home.iterdir() if path.name.startswith(".node.key.")]


def write_secret(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_bytes(content)
    return path


def test_golden_bytes(tmp_path: Path) -> None:
    case = VECTORS["protected"]
    write_secret(tmp_path / "node.key", case["file"].encode())
    seed = load_seed(tmp_path, passphrase=case["passphrase"].encode)
    assert seed.hex() == VECTORS["seed"]
    key = load_or_create_key(tmp_path, passphrase=case["passphrase"].encode)
    assert (key.did, key.seed) == (VECTORS["did"], seed)


@pytest.mark.parametrize("way", ["before", "after"])
def test_no_plain_seed_stays_where_the_making_of_one_was_cut_short(
    tmp_path: Path, way: str
) -> None:
    at = left = 0
    dead = True
    while dead:
        at += 1
        home = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch, at, way)
            with suppress(KilledError):
                load_or_create_key(home)
        dead = crash.dead
        left += bool(spares(home))
        key = protected(home)
        assert not spares(home), at
        assert load_or_create_key(home, passphrase=lambda: SECRET) == key
    assert left >= 2


def test_a_protected_key_is_the_same_key(tmp_path: Path) -> None:
    key = protected(tmp_path)
    assert is_protected(tmp_path)
    content = (tmp_path / "node.key").read_bytes()
    assert key.seed.hex().encode() not in content
    assert key.seed not in content
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(tmp_path, passphrase=lambda: SECRET) == key
    protect_key(tmp_path, None, passphrase=lambda: SECRET)
    assert not is_protected(tmp_path)
    assert load_or_create_key(tmp_path) == key


def test_another_passphrase_takes_its_place(tmp_path: Path) -> None:
    key = protected(tmp_path)
    protect_key(tmp_path, b"another", passphrase=lambda: SECRET, cost=CHEAP)
    _key._opened.clear()
    with pytest.raises(SigningKeyError, match="passphrase is wrong"):
        load_seed(tmp_path, passphrase=lambda: SECRET)
    assert load_seed(tmp_path, passphrase=lambda: b"another") == key.seed


def test_a_wrong_passphrase_and_none_are_told_apart(tmp_path: Path) -> None:
    protected(tmp_path)
    for load in (load_seed, load_or_create_key):
        with pytest.raises(SigningKeyError, match="the passphrase is wrong"):
            load(tmp_path, passphrase=lambda: b"Correct horse battery staple")
        with pytest.raises(SigningKeyError, match="there is no passphrase"):
            load(tmp_path)
    for wrong in (b"", bytes(2000)):
        with pytest.raises(SigningKeyError, match="passphrase"):
            protect_key(tmp_path, wrong, passphrase=lambda: SECRET)


def test_it_is_asked_for_once_in_a_process(tmp_path: Path) -> None:
    key = protected(tmp_path)
    asked: list[str] = []

    def prompt(question: str) -> str:
        asked.append(question)
        return SECRET.decode()

    diagnostics.ask_with(prompt)
    for _ in range(3):
        assert load_seed(tmp_path) == load_or_create_key(tmp_path).seed == key.seed
    assert asked == [f"passphrase for {tmp_path / 'node.key'}: "]
    diagnostics.ask_with(lambda _: None)
    _key._opened.clear()
    with pytest.raises(SigningKeyError, match="there is no passphrase"):
        load_seed(tmp_path)


def test_the_settings_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, file = tmp_path / "home", write_secret(tmp_path / "secret", SECRET + b"\n")
    key = protected(home)
    (home / "qflow.toml").write_text(f'[keys]\npassphrase_file = "{file}"\n')
    assert load_seed(home) == key.seed
    _key._opened.clear()
    (home / "qflow.toml").unlink()
    monkeypatch.setenv("QFLOW_KEYS__PASSPHRASE_FILE", str(file))
    assert load_or_create_key(home) == key
    _key._opened.clear()
    monkeypatch.delenv("QFLOW_KEYS__PASSPHRASE_FILE")
    assert load_or_create_key(home, passphrase=file) == key


def test_systemd_hands_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "home", tmp_path / "credentials"
    key = protected(home)
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with pytest.raises(SigningKeyError, match="there is no passphrase"):
        load_seed(home)
    credential = write_secret(folder / "qflow-passphrase", SECRET, 0o440)
    assert load_seed(home) == key.seed
    _key._opened.clear()
    credential.chmod(0o444)
    with pytest.raises(SigningKeyError, match="open to others"):
        load_seed(home)


@pytest.mark.holds("S18")
def test_the_environment_itself_is_no_place_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protected(tmp_path)
    for name in ("PASSPHRASE", "QFLOW_SECRET_PASSPHRASE"):
        monkeypatch.setenv(name, SECRET.decode())
    with pytest.raises(SigningKeyError, match="there is no passphrase"):
        load_seed(tmp_path)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (SECRET, 0o644, "open to others"),
        (b"", 0o600, "empty"),
        (b"\n", 0o600, "empty"),
        (b"two\nlines\n", 0o600, "one line"),
        (b"x" * 1025, 0o600, "more than 1024"),
        (b"x" * 5000, 0o600, "longer than"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, content: bytes, mode: int, why: str
) -> None:
    protected(tmp_path / "home")
    file = write_secret(tmp_path / "secret", content, mode)
    with pytest.raises(SigningKeyError, match=why):
        load_seed(tmp_path / "home", passphrase=file)
    with pytest.raises(SigningKeyError, match="cannot be read"):
        passphrase_for(tmp_path / "home" / "node.key", tmp_path / "nowhere")


@pytest.mark.holds("S14")
def test_a_changed_a_cut_and_another_nodes_file_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    key = protected(home)
    whole = (home / "node.key").read_bytes()
    met: Counter[str] = Counter()

    def look(content: bytes) -> str:
        (home / "node.key").write_bytes(content)
        _key._opened.clear()
        return outcome(lambda: load_or_create_key(home, passphrase=lambda: SECRET))

    for at in range(len(whole) - 1):
        for bit in (1, 0x80):
            met[look(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])] += 1
        met[look(whole[:at])] += 1
    met[look(whole + b"0")] += 1
    other = tmp_path / "other"
    protected(other)
    met[look((other / "node.key").read_bytes())] += 1
    assert set(met) == {"SigningKeyError"}
    assert met.total() == 3 * (len(whole) - 1) + 2
    assert look(whole) == "fine"
    # An older copy is the same key under an older passphrase: it opens with that alone.
    protect_key(home, b"newer", passphrase=lambda: SECRET, cost=CHEAP)
    assert look(whole) == "fine"
    assert load_seed(home, passphrase=lambda: SECRET) == key.seed


def test_a_file_does_not_decide_how_much_memory_it_takes(tmp_path: Path) -> None:
    load_or_create_key(tmp_path)
    for cost in (
        Cost(1, 2 << 30),
        Cost(1, (1 << 32) - 1),
        Cost(1, 1 << 10),
        Cost(0, 8 << 20),
        Cost(33, 8 << 20),
        Cost((1 << 32) - 1, 8 << 20),
    ):
        with pytest.raises(ValueError, match="out of bounds"):
            seal_under(SECRET, b"x" * 32, bound=b"", cost=cost)
        head = cost.passes.to_bytes(4, "big") + cost.memory_bytes.to_bytes(4, "big") + bytes(120)
        content = b"qflow-protected-key v1\n" + head.hex().encode() + b"\n"
        (tmp_path / "node.key").write_bytes(content)
        with pytest.raises(SigningKeyError, match="out of bounds"):
            load_seed(tmp_path, passphrase=lambda: SECRET)


@pytest.mark.holds("S17")
@pytest.mark.parametrize("call", ["fsync", "pwrite", "link", "open"])
def test_protecting_that_fails_leaves_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    key = load_or_create_key(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.EIO))
        with pytest.raises(SigningKeyError):
            protect_key(tmp_path, SECRET, cost=CHEAP)
    _key._opened.clear()
    assert load_seed(tmp_path, passphrase=lambda: SECRET) == key.seed


def test_the_unprotected_bytes_are_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = load_or_create_key(tmp_path)
    descriptor = os.open(tmp_path / "node.key", os.O_RDONLY)
    assert key.seed.hex().encode() in os.pread(descriptor, 100, 0)
    protect_key(tmp_path, SECRET, cost=CHEAP)
    assert os.pread(descriptor, 100, 0) == bytes(65)
    os.close(descriptor)
