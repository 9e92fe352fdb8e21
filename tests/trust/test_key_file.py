"""Files of subnet keys for other machines: private, signed, and perhaps under a passphrase."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qflow import _core
from qflow.errors import SigningKeyError, VerificationError
from qflow.trust import parse_key_file, read_key_file, write_key_file
from qflow.trust._key_file import KeyFile
from qflow.trust._passphrase import Cost
from tests.core.vectors import load_vectors
from tests.trust.rings import key_named, outcome, refuse

CASE = load_vectors("keys.json")["key_file"]
CHEAP = Cost(passes=1, memory_bytes=1 << 20)
US = key_named("us")
KEYS = [(0, bytes(range(32))), (2, bytes(range(32, 64)))]
SECRET = b"correct horse"


def none() -> bytes:
    pytest.fail("it asked for a passphrase")


def written(path: Path, passphrase: bytes | None = None) -> bytes:
    write_key_file(path, KEYS, US, subnet="default", passphrase=passphrase, cost=CHEAP)
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


@pytest.mark.parametrize("form", ["file", "protected"])
def test_golden_bytes(tmp_path: Path, form: str) -> None:
    put(tmp_path / "a", bytes.fromhex(CASE[form]))
    found = parse_key_file(read_key_file(tmp_path / "a", lambda: SECRET))
    assert (found.subnet, found.node) == (CASE["subnet"], CASE["node"])
    assert [(key.epoch, key.key.hex()) for key in found.keys] == [
        (key["epoch"], key["key"]) for key in CASE["keys"]
    ]
    if form == "file":
        seed = bytes.fromhex(load_vectors("keys.json")["seed"])
        keys = [(key.epoch, key.key) for key in found.keys]
        signer = Signer(seed, found.node)
        write_key_file(tmp_path / "b", keys, signer, subnet=found.subnet)
        assert (tmp_path / "b").read_bytes().hex() == CASE["file"]


class Signer(msgspec.Struct):
    seed: bytes
    did: str


@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_what_is_written_is_read(tmp_path: Path, passphrase: bytes | None) -> None:
    content = written(tmp_path / "a", passphrase)
    found = parse_key_file(read_key_file(tmp_path / "a", lambda: SECRET if passphrase else none()))
    assert [(key.epoch, key.key) for key in found.keys] == KEYS
    assert (found.node, found.subnet) == (US.did, "default")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (KEYS[0][1] in content) is (passphrase is None)
    assert repr(KEYS[0][1]) not in repr(found)
    with pytest.raises(SigningKeyError, match="is there already"):
        written(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.holds("S14")
@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_a_changed_byte_and_a_cut_are_found(tmp_path: Path, passphrase: bytes | None) -> None:
    path = tmp_path / "a"
    whole = written(path, passphrase)
    met: Counter[str] = Counter()

    def look(content: bytes) -> str:
        path.write_bytes(content)
        return outcome(lambda: read_key_file(path, lambda: SECRET))

    for at in range(len(whole)):
        for bit in (1, 0x80):
            met[look(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])] += 1
        met[look(whole[:at])] += 1
    met[look(whole + b"\0")] += 1
    assert met.total() == 3 * len(whole) + 1
    assert set(met) <= {"VerificationError", "SigningKeyError"}
    assert look(whole) == "fine"


@pytest.mark.holds("S6")
def test_keys_that_another_put_under_a_name_are_refused(tmp_path: Path) -> None:
    found = parse_key_file(written(tmp_path / "a")[6:])
    stranger = key_named("stranger")
    for changed in (
        msgspec.structs.replace(found, node=stranger.did),
        msgspec.structs.replace(found, subnet="other"),
        msgspec.structs.replace(found, keys=found.keys[:1]),
    ):
        with pytest.raises(VerificationError, match="signature"):
            parse_key_file(encoded(changed))
    forged = msgspec.structs.replace(found, sig=_core.sign(stranger.seed, found.message))
    with pytest.raises(VerificationError, match="signature"):
        parse_key_file(encoded(forged))


def encoded(file: KeyFile, **changed: Any) -> bytes:
    fields = {**msgspec.to_builtins(file, builtin_types=(bytes,)), **changed}
    return _core.encode(fields)


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2},
        {"kind": "qflow.key"},
        {"keys": []},
        {"keys": [{"epoch": 0, "key": bytes(31)}]},
        {"keys": [{"epoch": 1, "key": bytes(32)}, {"epoch": 0, "key": bytes(32)}]},
        {"keys": [{"epoch": -1, "key": bytes(32)}]},
        {"more": 1},
        {"node": "did:key:z"},
    ],
)
def test_only_what_this_version_writes_is_read(tmp_path: Path, changed: dict[str, Any]) -> None:
    found = parse_key_file(written(tmp_path / "a")[6:])
    with pytest.raises(VerificationError):
        parse_key_file(encoded(found, **changed))


def test_it_is_refused_when_others_can_read_it(tmp_path: Path) -> None:
    written(tmp_path / "a")
    (tmp_path / "a").chmod(0o640)
    with pytest.raises(SigningKeyError, match="open to others"):
        read_key_file(tmp_path / "a", none)
    with pytest.raises(SigningKeyError, match="cannot be used"):
        read_key_file(tmp_path / "nowhere", none)
    put(tmp_path / "long", bytes((1 << 20) + 1))
    with pytest.raises(SigningKeyError, match="longer than"):
        read_key_file(tmp_path / "long", none)


@pytest.mark.holds("S17")
@pytest.mark.parametrize("call", ["open", "fsync", "link"])
def test_a_disk_that_refuses_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.ENOSPC))
        with pytest.raises(SigningKeyError, match="cannot be written"):
            written(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    written(tmp_path / "a")
