"""The port of sealing, and its local form: the bytes of the core, by another library."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow.errors import UnavailableError, VerificationError
from qflow.trust import LocalQlock, Qlock, _qlock
from tests.core.vectors import load_vectors

KEY = bytes(range(100, 132))
VECTORS = load_vectors("sealed-payload.json")


def run(method: Any, *arguments: Any, **options: Any) -> Any:
    async def main() -> Any:
        return await method(*arguments, **options)

    return anyio.run(main)


@given(
    text=st.binary(max_size=300),
    bound=st.binary(max_size=80),
    key=st.binary(min_size=32, max_size=32),
)
def test_both_sides_come_to_the_same_bytes(text: bytes, bound: bytes, key: bytes) -> None:
    qlock: Qlock = LocalQlock(key)
    core = _core.SealingKey(0, key)
    sealed = run(qlock.seal, text, bound=bound)
    assert sealed == core.seal_bytes(text, bound=bound)
    assert core.unseal_bytes(sealed, bound=bound) == text
    assert run(qlock.unseal, sealed, bound=bound) == text


@pytest.mark.parametrize("case", VECTORS["payloads"], ids=lambda case: str(case["number"]))
def test_golden_bytes(case: dict[str, Any]) -> None:
    """What is sealed in a block is what the service would make of it."""
    block = bytes.fromhex(case["block"])
    fixed = block[:13] + bytes.fromhex(case["chain"])
    times = case["seq"].to_bytes(8, "big") + case["epoch"].to_bytes(8, "big")
    bound = fixed + times + bytes.fromhex(case["prev"]) + case["subnet"].encode()
    qlock = LocalQlock(bytes.fromhex(case["key"]))
    text = bytes.fromhex(case["text"])
    assert run(qlock.seal, text, bound=bound) == block[13:]
    assert run(qlock.unseal, block[13:], bound=bound) == text


@pytest.mark.holds("S14")
def test_a_changed_byte_a_cut_another_place_and_another_key_are_refused() -> None:
    async def main() -> int:
        qlock, refused = LocalQlock(KEY), 0
        sealed = await qlock.seal(b"text" * 20, bound=b"place")
        changed = [
            sealed[:at] + bytes([sealed[at] ^ bit]) + sealed[at + 1 :]
            for at in range(len(sealed))
            for bit in (1, 0x80)
        ]
        cut = [sealed[:at] for at in range(len(sealed))]
        for wrong in [*changed, *cut, sealed + b"\0", sealed[1:]]:
            with pytest.raises(VerificationError):
                await qlock.unseal(wrong, bound=b"place")
            refused += 1
        for other, bound in ((LocalQlock(KEY[::-1]), b"place"), (qlock, b"places")):
            with pytest.raises(VerificationError):
                await other.unseal(sealed, bound=bound)
            refused += 1
        return refused

    assert anyio.run(main) > 400


@pytest.mark.holds("S14")
def test_one_content_has_one_form() -> None:
    """Somebody with the key who chooses another nonce makes nothing that is taken."""
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt

    commitment = _core.derive_key("qflow v1 sealing: commitment to the key", KEY)
    key = _core.derive_key("qflow v1 sealing: encryption key", KEY)
    forged = commitment + bytes(24) + encrypt(b"text", b"place", bytes(24), key)
    with pytest.raises(VerificationError, match="changed"):
        run(LocalQlock(KEY).unseal, forged, bound=b"place")


@pytest.mark.holds("S3")
def test_once_it_is_closed_nothing_is_sealed() -> None:
    async def main() -> None:
        qlock = LocalQlock(KEY)
        sealed = await qlock.seal(b"text", bound=b"")
        assert await qlock.available()
        qlock.close()
        qlock.close()
        assert not await qlock.available()
        with pytest.raises(UnavailableError):
            await qlock.seal(b"text", bound=b"")
        with pytest.raises(UnavailableError):
            await qlock.unseal(sealed, bound=b"")

    anyio.run(main)


@pytest.mark.holds("S18")
def test_it_shows_no_key() -> None:
    qlock = LocalQlock(KEY)
    assert repr(qlock) == "LocalQlock()"
    for wrong in (b"", KEY[:-1]):
        with pytest.raises(ValueError, match="32 bytes"):
            LocalQlock(wrong)


def test_wycheproof(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cipher within: the vectors' keys and nonces in the place of those that are derived."""
    content = json.loads((shared / "xchacha" / "wycheproof.json").read_text())
    met: Counter[str] = Counter()
    for group in content["testGroups"]:
        for case in group["tests"]:
            key, nonce, bound, text, secret, tag = (
                bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            if len(nonce) != 24:
                assert case["result"] == "invalid"
                met["another nonce"] += 1
                continue
            qlock = LocalQlock(KEY)
            qlock._keys = (bytes(32), key, bytes(32))
            monkeypatch.setattr(_qlock, "_nonce", lambda *_, nonce=nonce: nonce)
            sealed = bytes(32) + nonce + secret + tag
            if case["result"] == "valid":
                assert run(qlock.seal, text, bound=bound) == sealed
                assert run(qlock.unseal, sealed, bound=bound) == text
            else:
                with pytest.raises(VerificationError):
                    run(qlock.unseal, sealed, bound=bound)
            met[case["result"]] += 1
    assert met.total() == content["numberOfTests"] == 315
    assert met["valid"] == 246
