"""Ed25519 by the strict rules, on published vectors and beside libsodium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from qflow._core import verify_signature


def by_libsodium(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def wycheproof(shared: Path) -> Iterator[tuple[int, bytes, bytes, bytes, bool]]:
    content = json.loads((shared / "ed25519" / "wycheproof.json").read_text())
    for group in content["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            yield case["tcId"], key, message, signature, case["result"] == "valid"


@pytest.mark.holds("H6")
def test_wycheproof_and_libsodium_agree(shared: Path) -> None:
    cases = list(wycheproof(shared))
    assert len(cases) > 100
    for number, key, message, signature, valid in cases:
        assert verify_signature(key, message, signature) is valid, number
        assert by_libsodium(key, message, signature) is valid, number


def test_of_the_twelve_edge_cases_only_the_third_is_good(shared: Path) -> None:
    cases = json.loads((shared / "ed25519" / "speccheck.json").read_text())
    parts = [
        [bytes.fromhex(case[name]) for name in ("pub_key", "message", "signature")]
        for case in cases
    ]
    good = [number for number, case in enumerate(parts) if verify_signature(*case)]
    assert good == [number for number, case in enumerate(parts) if by_libsodium(*case)] == [3]


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=256), st.data())
def test_a_changed_bit_anywhere_is_refused(
    seed: bytes, message: bytes, data: st.DataObject
) -> None:
    pair = SigningKey(seed)
    key, signature = bytes(pair.verify_key), pair.sign(message).signature
    assert verify_signature(key, message, signature)
    whole = bytearray(key + signature + message)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    other = bytes(whole)
    assert not verify_signature(other[:32], other[96:], other[32:96])


@pytest.mark.parametrize("length", [0, 1, 31, 33, 63, 64, 65, 1000])
def test_other_lengths_are_refused(length: int) -> None:
    pair = SigningKey(bytes(32))
    key, signature = bytes(pair.verify_key), pair.sign(b"").signature
    assert verify_signature(key, b"", signature)
    if length != 64:
        assert not verify_signature(key, b"", bytes(length))
    assert not verify_signature(bytes(length), b"", signature)
