"""Nothing is recorded without its signer, and a signature is of what it stands under."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow.config import Config
from qflow.errors import QflowError
from qflow.node import Node
from qflow.testing import ManualClock
from qflow.trust import load_or_create_key
from tests.audit.chains import Chain, chain_id

SEED = bytes(range(32))
ORIGIN = "qflow.node/test"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.anyio
@pytest.mark.holds("H4")
async def test_a_log_whose_key_is_gone_or_another_takes_nothing(tmp_path: Path) -> None:
    async with Node(Config(home=tmp_path), clock=ManualClock()):
        pass
    key = tmp_path / "node.key"
    good, log = key.read_bytes(), contents(tmp_path / "log")
    stranger = load_or_create_key(tmp_path / "other").seed.hex().encode() + b"\n"
    for bad in (None, b"", b"\n", b"00" * 32 + b"\n", good[:-3], good + b"x", stranger):
        if bad is None:
            key.unlink()
        else:
            key.write_bytes(bad)
            key.chmod(0o600)
        with pytest.raises(QflowError):
            async with Node(Config(home=tmp_path), clock=ManualClock()):
                pass
        assert contents(tmp_path / "log") == log
    key.write_bytes(good)
    async with Node(Config(home=tmp_path), clock=ManualClock()):
        pass


@pytest.mark.holds("H4")
@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(64)])
def test_a_log_is_not_made_without_a_seed(tmp_path: Path, seed: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        _core.Log(str(tmp_path / "log"), origin=ORIGIN, seed=seed)
    assert not (tmp_path / "log").exists()


def signed_head(folder: Path) -> tuple[bytes, str]:
    log = _core.Log(str(folder / "log"), origin=ORIGIN, seed=SEED)
    log.append_durable(*Chain(chain_id(1)).frame("created", "paused", "resumed"))
    found = log.head.encode(), log.vkey
    log.close()
    return found


def is_head(note: bytes, vkey: str) -> bool:
    try:
        _core.parse_checkpoint(note, vkey)
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    return signed_head(tmp_path_factory.mktemp("head"))


@pytest.mark.holds("H5")
def test_a_head_without_a_signature_of_the_key_is_none(head: tuple[bytes, str]) -> None:
    note, vkey = head
    text, _, signature = note.rpartition(b"\n\n")
    assert is_head(note, vkey)
    stranger = _core.generate_vkey(ORIGIN, b"\7" * 32)
    for unsigned in (text, text + b"\n", text + b"\n\n", text + b"\n\n\n", signature, b""):
        assert not is_head(unsigned, vkey)
    assert not is_head(note, stranger)


@pytest.mark.holds("H6")
@given(st.data())
def test_a_signature_covers_every_bit_of_a_head(
    head: tuple[bytes, str], data: st.DataObject
) -> None:
    note, vkey = head
    changed = bytearray(note)
    changed[data.draw(st.integers(0, len(note) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not is_head(bytes(changed), vkey)


@pytest.mark.holds("H6")
def test_the_signature_of_another_head_signs_nothing_else(
    head: tuple[bytes, str], tmp_path: Path
) -> None:
    note, vkey = head
    log = _core.Log(str(tmp_path / "log"), origin=ORIGIN, seed=SEED)
    log.append_durable(*Chain(chain_id(2)).frame("created"))
    other = log.head.encode()
    log.close()
    text, signature = note.split(b"\n\n")[0], other.split(b"\n\n")[1]
    assert is_head(other, vkey)
    assert not is_head(text + b"\n\n" + signature, vkey)
