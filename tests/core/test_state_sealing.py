"""Sealed states: golden bytes, the page's construction by other libraries, and strangers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import sha256
from itertools import combinations
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from qflow import _core
from qflow.errors import VerificationError
from tests.core.vectors import load_vectors

KEY = bytes(range(100, 132))
OWNER: dict[str, Any] = {"subnet": "default", "chain": bytes(range(16))}
SEALING = _core.SealingKey(5, KEY)
MASK = 2**64 - 1


def noise(seed: int, size: int) -> bytes:
    return blake3(seed.to_bytes(8, "big")).digest(size)


def derived(use: str, key: bytes) -> bytes:
    return blake3(key, derive_key_context=f"qflow v1 sealing: {use}").digest()


def sealed_by_libsodium(key: bytes, bound: bytes, text: bytes) -> bytes:
    nonce_key = derived("synthetic nonce key", key)
    nonce = blake3(len(bound).to_bytes(8, "little") + bound + text, key=nonce_key).digest(24)
    encryption = derived("encryption key", key)
    made = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(text, bound, nonce, encryption)
    return derived("commitment to the key", key) + nonce + made


def cut(key: bytes, text: bytes) -> Iterator[bytes]:
    """The page's cuts, a byte after the other."""
    gear = struct.unpack("<256Q", blake3(key=derived("chunking key", key)).digest(2048))
    while True:
        value, end = 0, min(len(text), 256 * 1024)
        for at in range(16 * 1024, end):
            value = ((value << 1) + gear[text[at]]) & MASK
            if value >> (64 - (18 if at < 64 * 1024 else 14)) == 0:
                end = at + 1
                break
        yield text[:end]
        text = text[end:]
        if not text:
            return


def state_by_the_page(
    number: int, key: bytes, text: bytes, subnet: str, chain: bytes
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    header = b"QFST\x01" + number.to_bytes(8, "big")
    blocks = {}
    plain: dict[str, Any] = {"v": 1, "size": len(text), "parts": []}
    for part in cut(key, text):
        block = header + sealed_by_libsodium(key, header + chain + subnet.encode(), part)
        cid = _core.cid_of(block, "raw")
        plain["parts"].append(cid)
        blocks[bytes(cid)] = block
    bound = b"QFSR\x01" + chain + _core.encode(plain) + subnet.encode()
    root = _core.encode(plain | {"sealed": sealed_by_libsodium(key, bound, b"")})
    blocks[bytes(_core.cid_of(root))] = root
    return bytes(_core.cid_of(root)), list(blocks.items())


@pytest.mark.parametrize("case", load_vectors("state.json")["states"], ids=lambda case: case["cid"])
def test_golden_bytes(case: dict[str, Any]) -> None:
    hashes = (sha256(n.to_bytes(8, "big")).digest() for n in range(case.get("hashes", 0)))
    text = bytes.fromhex(case["text"]) + b"".join(hashes)
    owner = {"subnet": case["subnet"], "chain": bytes.fromhex(case["chain"])}
    key = _core.SealingKey(case["number"], bytes.fromhex(case["key"]))
    root, blocks = key.seal_state(text, **owner)
    assert blocks[-1] == (root, bytes.fromhex(case["root"]))
    assert blocks[0][1][:100] == bytes.fromhex(case["part"])
    assert str(_core.Cid(root)) == case["cid"]
    size, parts = _core.state_parts(blocks[-1][1])
    assert (size, [str(_core.Cid(part)) for part in parts]) == (len(text), case["parts"])
    assert key.unseal_state(root, dict(blocks), **owner) == text
    assert (root, blocks) == state_by_the_page(
        case["number"], bytes.fromhex(case["key"]), text, **owner
    )


@given(
    number=st.integers(0, 2**53 - 1),
    key=st.binary(min_size=32, max_size=32),
    chain=st.binary(min_size=16, max_size=16),
    subnet=st.text(max_size=20),
    text=st.binary(max_size=500),
)
def test_other_libraries_agree(
    number: int, key: bytes, chain: bytes, subnet: str, text: bytes
) -> None:
    ours = _core.SealingKey(number, key)
    root, blocks = ours.seal_state(text, subnet=subnet, chain=chain)
    assert (root, blocks) == state_by_the_page(number, key, text, subnet, chain)
    assert ours.unseal_state(root, dict(blocks), subnet=subnet, chain=chain) == text


@given(key=st.binary(min_size=32, max_size=32), bound=st.binary(), size=st.integers(0, 9000))
def test_bytes_are_sealed_as_other_libraries_do(key: bytes, bound: bytes, size: int) -> None:
    ours, text = _core.SealingKey(1, key), noise(size, size)
    sealed = ours.seal_bytes(text, bound=bound)
    assert sealed == sealed_by_libsodium(key, bound, text)
    assert ours.unseal_bytes(sealed, bound=bound) == text


@pytest.mark.holds("S6", "S14")
def test_sealed_bytes_open_for_their_key_and_place_alone() -> None:
    sealed = SEALING.seal_bytes(b"a version", bound=b"QFXX\x01place")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        for bad in (bytes(changed), sealed[:at]):
            with pytest.raises(VerificationError):
                SEALING.unseal_bytes(bad, bound=b"QFXX\x01place")
    with pytest.raises(VerificationError, match="another place"):
        SEALING.unseal_bytes(sealed, bound=b"QFXX\x01placed")
    with pytest.raises(VerificationError, match="another key"):
        _core.SealingKey(5, KEY[::-1]).unseal_bytes(sealed, bound=b"QFXX\x01place")


@pytest.mark.holds("S6")
def test_a_state_opens_for_its_key_and_owner_alone() -> None:
    root, blocks = SEALING.seal_state(noise(1, 100_000), **OWNER)
    known = dict(blocks)
    others: list[tuple[_core.SealingKey, dict[str, Any]]] = [
        (_core.SealingKey(5, KEY[::-1]), OWNER),
        (SEALING, OWNER | {"subnet": "other"}),
        (SEALING, OWNER | {"chain": bytes(16)}),
    ]
    for key, owner in others:
        with pytest.raises(VerificationError, match="the root: "):
            key.unseal_state(root, known, **owner)
    assert SEALING.unseal_state(root, known, **OWNER) == noise(1, 100_000)


@pytest.mark.holds("S14")
def test_blocks_that_are_changed_missing_or_exchanged_are_refused() -> None:
    root, blocks = SEALING.seal_state(noise(2, 400_000), **OWNER)
    known = dict(blocks)
    refused = 0
    for cid, data in blocks:
        without = {name: block for name, block in blocks if name != cid}
        others = (data[:-1] + b"\0", data[:-1], data + b"\0", b"")
        for exchanged in [without, *({**known, cid: other} for other in others)]:
            with pytest.raises(VerificationError):
                SEALING.unseal_state(root, exchanged, **OWNER)
            refused += 1
    for (first, one), (second, another) in combinations(blocks, 2):
        with pytest.raises(VerificationError):
            SEALING.unseal_state(root, known | {first: another, second: one}, **OWNER)
        refused += 1
    assert refused >= 5 * len(blocks) + len(blocks)


@pytest.mark.holds("S14")
def test_parts_under_a_root_that_nobody_sealed_are_refused() -> None:
    """Whoever has no key may take parts of several states and name them by a root of his own."""
    (_, old), (_, new) = (SEALING.seal_state(noise(n, 500_000), **OWNER) for n in (3, 4))
    known = dict([*old, *new])
    (size, parts), seal = _core.state_parts(new[-1][1]), _core.decode(new[-1][1])["sealed"]
    swapped = [parts[1], parts[0], *parts[2:]]
    mixed = [old[0][0], *parts[1:]]
    for order, length in (
        (swapped, size),
        (mixed, size - len(new[0][1]) + len(old[0][1])),
        (parts[1:], size - len(known[parts[0]]) + 85),
    ):
        links = [_core.Cid(part) for part in order]
        root = _core.encode({"v": 1, "size": length, "parts": links, "sealed": seal})
        cid = bytes(_core.cid_of(root))
        with pytest.raises(VerificationError, match="the root: changed"):
            SEALING.unseal_state(cid, known | {cid: root}, **OWNER)


@pytest.mark.holds("S15")
def test_equal_states_are_equal_and_a_grown_one_shares_its_parts() -> None:
    text = noise(5, 2 << 20)
    grown = text[: 1 << 20] + b"a fact more" + text[1 << 20 :]
    (root, before), (other, after) = (SEALING.seal_state(t, **OWNER) for t in (text, grown))
    assert SEALING.seal_state(text, **OWNER) == (root, before)
    fresh = {cid for cid, _ in after} - {cid for cid, _ in before}
    assert other in fresh
    assert len(fresh) <= 4 < len(before)
    nonces = {data[45:69]: data for _, data in [*before[:-1], *after[:-1]]}
    assert len(nonces) == len({cid for cid, _ in [*before[:-1], *after[:-1]]})


def test_parts_of_one_content_are_one_block() -> None:
    root, blocks = SEALING.seal_state(bytes(1 << 20), **OWNER)
    assert len(blocks) == 2
    assert _core.state_parts(blocks[-1][1]) == (1 << 20, [blocks[0][0]] * 4)
    assert SEALING.unseal_state(root, dict(blocks), **OWNER) == bytes(1 << 20)


@pytest.mark.parametrize("size", [0, 1, 16 * 1024])
def test_a_small_state_is_one_part(size: int) -> None:
    root, blocks = SEALING.seal_state(bytes(size), **OWNER)
    assert [len(data) for _, data in blocks[:-1]] == [size + 85]
    assert SEALING.unseal_state(root, dict(blocks), **OWNER) == bytes(size)


def test_a_state_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 67108864"):
        SEALING.seal_state(bytes(_core.STATE_BYTES_MAX + 1), **OWNER)


def test_other_roots_are_refused() -> None:
    _, blocks = SEALING.seal_state(b"text", **OWNER)
    root = _core.decode(blocks[-1][1])
    changes: tuple[dict[str, Any], ...] = (
        {"v": 2},
        {"size": _core.STATE_BYTES_MAX + 1},
        {"size": -1},
        {"parts": []},
        {"parts": root["parts"] * 2},
        {"parts": [_core.cid_of(b"")]},
        {"sealed": b""},
        {"more": 1},
    )
    for change in changes:
        with pytest.raises(ValueError, match="the root of a state"):
            _core.state_parts(_core.encode(root | change))


def test_a_block_that_is_no_bytes_is_an_error_of_the_caller() -> None:
    root, _ = SEALING.seal_state(b"text", **OWNER)
    given: Any = {root: "text"}
    with pytest.raises(TypeError):
        SEALING.unseal_state(root, given, **OWNER)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_length_signs_nothing(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        _core.sign(bytes(size), b"message")


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
def test_libsodium_signs_the_same(seed: bytes, message: bytes) -> None:
    public, secret = bindings.crypto_sign_seed_keypair(seed)
    signature = _core.sign(seed, message)
    assert signature == bindings.crypto_sign(message, secret)[:64]
    assert _core.verify_signature(public, message, signature)
