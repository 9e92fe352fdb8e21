"""Sealed payloads: golden bytes, another implementation of the same construction, and strangers."""

from __future__ import annotations

from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from qflow import _core
from qflow.errors import VerificationError
from tests.core.vectors import load_vectors

VECTORS = load_vectors("sealed-payload.json")
PLACE: dict[str, Any] = {
    "subnet": "default",
    "chain": bytes(range(16)),
    "seq": 3,
    "epoch": 1,
    "prev": bytes(range(32)),
}
KEY = bytes(range(100, 132))
Facts = list[tuple[str, None, None, tuple[Any] | None, dict[str, Any]]]


def place_of(case: dict[str, Any]) -> dict[str, Any]:
    plain = {name: case[name] for name in ("subnet", "seq", "epoch")}
    return plain | {name: bytes.fromhex(case[name]) for name in ("chain", "prev")}


def derived(use: str, key: bytes) -> bytes:
    return blake3(key, derive_key_context=f"qflow v1 sealing: {use}").digest()


def bound(number: int, place: dict[str, Any]) -> bytes:
    fixed = b"QFSP\x01" + number.to_bytes(8, "big") + place["chain"]
    times = place["seq"].to_bytes(8, "big") + place["epoch"].to_bytes(8, "big")
    return bytes(fixed + times + place["prev"] + place["subnet"].encode())


def sealed_by_libsodium(number: int, key: bytes, place: dict[str, Any], text: bytes) -> bytes:
    """The page's construction, of other people's parts."""
    beside = bound(number, place)
    nonce_key = derived("synthetic nonce key", key)
    nonce = blake3(len(beside).to_bytes(8, "little") + beside + text, key=nonce_key).digest(24)
    encryption = derived("encryption key", key)
    made = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(text, beside, nonce, encryption)
    return beside[:13] + derived("commitment to the key", key) + nonce + made


@pytest.mark.parametrize("case", VECTORS["payloads"], ids=lambda case: str(case["number"]))
def test_golden_bytes(case: dict[str, Any]) -> None:
    key = _core.SealingKey(case["number"], bytes.fromhex(case["key"]))
    block, text = bytes.fromhex(case["block"]), bytes.fromhex(case["text"])
    assert key.seal(text, **place_of(case)) == block
    assert key.unseal(block, **place_of(case)) == text
    assert _core.sealed_with(block) == case["number"] == key.number
    assert str(_core.cid_of(block, "raw")) == case["cid"]


@given(
    number=st.integers(0, 2**53 - 1),
    key=st.binary(min_size=32, max_size=32),
    text=st.binary(max_size=500),
    subnet=st.text(min_size=1, max_size=20),
    seq=st.integers(0, 2**63 - 1),
)
def test_libsodium_agrees_in_both_directions(
    number: int, key: bytes, text: bytes, subnet: str, seq: int
) -> None:
    place = {**PLACE, "subnet": subnet, "seq": seq}
    ours = _core.SealingKey(number, key)
    assert ours.seal(text, **place) == sealed_by_libsodium(number, key, place, text)
    block = sealed_by_libsodium(number, key, place, text)
    assert ours.unseal(block, **place) == text
    nonce, sealed = block[45:69], block[69:]
    encryption, beside = derived("encryption key", key), bound(number, place)
    opened = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, beside, nonce, encryption)
    assert opened == text


@pytest.mark.holds("S6")
def test_a_nonce_that_was_chosen_is_refused() -> None:
    """Whoever has the key may seal the same again with another nonce: it is not what was meant."""
    beside, nonce = bound(5, PLACE), bytes(24)
    encryption = derived("encryption key", KEY)
    made = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(b"text", beside, nonce, encryption)
    block = beside[:13] + derived("commitment to the key", KEY) + nonce + made
    with pytest.raises(VerificationError, match="changed"):
        _core.SealingKey(5, KEY).unseal(block, **PLACE)


@pytest.mark.holds("S14")
@given(at=st.integers(0, 13 + 72 + 3), bit=st.integers(0, 7))
def test_a_changed_bit_is_refused(at: int, bit: int) -> None:
    key = _core.SealingKey(5, KEY)
    block = bytearray(key.seal(b"text", **PLACE))
    block[at] ^= 1 << bit
    with pytest.raises(VerificationError):
        key.unseal(bytes(block), **PLACE)


@pytest.mark.holds("S15")
def test_equal_payloads_are_equal_only_in_one_place_and_under_one_key() -> None:
    blocks = {
        _core.SealingKey(number, key).seal(b"text", **{**PLACE, "seq": seq})
        for number, key, seq in ((1, KEY, 0), (2, KEY, 0), (1, KEY[::-1], 0), (1, KEY, 1))
    }
    assert len({block[45:69] for block in blocks}) == 4
    assert _core.SealingKey(1, KEY).seal(b"text", **{**PLACE, "seq": 0}) in blocks


@pytest.mark.holds("S18")
def test_no_key_is_shown() -> None:
    shown = [repr(_core.SealingKey(5, KEY)), str(_core.WrappingKey(KEY))]
    assert shown[0] == "SealingKey(5)"
    for text in shown:
        assert KEY.hex() not in text
        assert repr(KEY) not in text


def test_a_record_names_the_sealed_block() -> None:
    key = _core.SealingKey(5, KEY)
    facts: Facts = [("t", None, None, ({"card": "4711"},), {}), ("t", None, None, None, {})]
    chain, prev = PLACE["chain"], bytes(32)
    records, blocks, _ = _core.encode_records(
        chain, 0, prev, "a/b/1", 1, "me", "node", "default", 0, facts, key
    )
    ((cid, block),) = blocks
    record = _core.decode_record(records[0])
    assert bytes(record["payload"]) == cid
    assert record["payload"].codec == "raw"
    assert record["payload"] == _core.cid_of(block, "raw")
    place = {"subnet": "default", "chain": chain, "seq": 0, "epoch": 0, "prev": prev}
    assert _core.decode(key.unseal(block, **place)) == {"card": "4711"}
    assert b"4711" not in block


def test_the_largest_payload_can_be_sealed() -> None:
    facts: Facts = [("t", None, None, (b"\0" * ((1 << 20) - 5),), {})]
    arguments = (PLACE["chain"], 0, bytes(32), "a/b/1", 1, "me", "node", "default", 0)
    _, blocks, _ = _core.encode_records(*arguments, facts, _core.SealingKey(5, KEY))
    assert len(blocks[0][1]) == (1 << 20) + 85
    facts = [("t", None, None, (b"\0" * (1 << 20),), {})]
    with pytest.raises(ValueError, match="at most 1048576"):
        _core.encode_records(*arguments, facts, _core.SealingKey(5, KEY))
