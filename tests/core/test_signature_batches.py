"""Many signatures and codes at once: each gets the verdict that it gets alone."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from qflow._core import verify_hmacs, verify_signature, verify_signatures
from tests.core.test_signature import by_libsodium, wycheproof

Case = tuple[bytes, bytes, bytes]
MIXERS = (1, 7, 31, 57)
"""Strides that visit every case once, in another order, when they share no factor with it."""


def signature_cases(shared: Path) -> list[tuple[Case, bool]]:
    cases = [((key, message, sig), valid) for _, key, message, sig, valid in wycheproof(shared)]
    edges = json.loads((shared / "ed25519" / "speccheck.json").read_text())
    for number, edge in enumerate(edges):
        parts = [bytes.fromhex(edge[name]) for name in ("pub_key", "message", "signature")]
        cases.append(((parts[0], parts[1], parts[2]), number == 3))
    return cases


def hmac_cases(shared: Path) -> Iterator[tuple[int, Case, bool]]:
    content = json.loads((shared / "hmac" / "wycheproof-sha256.json").read_text())
    for group in content["testGroups"]:
        for case in group["tests"]:
            key, message, tag = (bytes.fromhex(case[name]) for name in ("key", "msg", "tag"))
            yield group["tagSize"] // 8, (key, message, tag), case["result"] == "valid"


def mixed(count: int, stride: int) -> list[int]:
    order = [number * stride % (count + 1) - 1 for number in range(1, count + 1)]
    return [number for number in dict.fromkeys(order) if 0 <= number < count]


def columns(cases: list[Case]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    return [c[0] for c in cases], [c[1] for c in cases], [c[2] for c in cases]


@pytest.mark.holds("H6")
@pytest.mark.parametrize("stride", MIXERS)
def test_every_signature_vector_is_judged_alike_alone_in_a_batch_and_by_libsodium(
    shared: Path, stride: int
) -> None:
    cases = signature_cases(shared)
    cases = [cases[number] for number in mixed(len(cases), stride)]
    assert len(cases) > 100
    told = verify_signatures(*columns([case for case, _ in cases]))
    for got, (case, valid) in zip(told, cases, strict=True):
        assert got is valid
        assert verify_signature(*case) is valid
        assert verify_signatures(*columns([case])) == [valid]
        assert by_libsodium(*case) is valid


@pytest.mark.holds("H6")
@pytest.mark.parametrize("stride", MIXERS)
@pytest.mark.parametrize("tag_bytes", [16, 32])
def test_every_code_vector_is_judged_alike_alone_in_a_batch_and_by_python(
    shared: Path, tag_bytes: int, stride: int
) -> None:
    cases = [(case, valid) for size, case, valid in hmac_cases(shared) if size == tag_bytes]
    cases = [cases[number] for number in mixed(len(cases), stride)]
    assert len(cases) > 50
    told = verify_hmacs(*columns([case for case, _ in cases]), tag_bytes=tag_bytes)
    for got, ((key, message, tag), valid) in zip(told, cases, strict=True):
        assert got is valid
        assert verify_hmacs([key], [message], [tag], tag_bytes=tag_bytes) == [valid]
        made = hmac.digest(key, message, "sha256")[:tag_bytes]
        assert hmac.compare_digest(made, tag) is valid


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=64), st.booleans()), max_size=80))
def test_a_batch_says_of_each_signature_what_is_said_of_it_alone(
    drawn: list[tuple[int, bytes, bool]],
) -> None:
    cases = []
    for number, (seed, message, spoilt) in enumerate(drawn):
        pair = SigningKey(bytes([seed + 1] * 32))
        signature = bytearray(pair.sign(message).signature)
        if spoilt:
            signature[number % 64] ^= 1 << number % 8
        cases.append((bytes(pair.verify_key), message, bytes(signature)))
    told = verify_signatures(*columns(cases))
    assert told == [not spoilt for _, _, spoilt in drawn]
    assert told == [by_libsodium(*case) for case in cases]


@given(
    st.binary(min_size=16, max_size=200),
    st.binary(max_size=200),
    st.integers(16, 32),
    st.data(),
)
def test_a_changed_bit_of_a_key_a_message_or_a_code_is_refused(
    key: bytes, message: bytes, tag_bytes: int, data: st.DataObject
) -> None:
    tag = hmac.digest(key, message, "sha256")[:tag_bytes]
    whole = bytearray(tag + message)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed, other = bytes(whole[:tag_bytes]), bytes(whole[tag_bytes:])
    told = verify_hmacs(
        [key, key, key], [message, other, message], [tag, changed, tag[:-1]], tag_bytes=tag_bytes
    )
    assert told == [True, False, False]


@pytest.mark.parametrize("length", [0, 1, 15])
def test_an_empty_or_short_key_never_verifies(length: int) -> None:
    key = bytes(length)
    assert verify_hmacs([key], [b"m"], [hmac.digest(key, b"m", "sha256")]) == [False]


def test_what_is_no_batch_is_refused() -> None:
    key, tag = bytes(32), hashlib.sha256().digest()
    assert verify_signatures([], [], []) == verify_hmacs([], [], []) == []
    for verify in (verify_signatures, verify_hmacs):
        with pytest.raises(ValueError, match="not of one number"):
            verify([key], [b"m", b"n"], [tag])
        with pytest.raises(ValueError, match="at most"):
            verify(*[[b""] * ((1 << 20) + 1)] * 3)
    for tag_bytes in (0, 15, 33):
        with pytest.raises(ValueError, match="16 to 32"):
            verify_hmacs([key], [b""], [tag[:tag_bytes]], tag_bytes=tag_bytes)
