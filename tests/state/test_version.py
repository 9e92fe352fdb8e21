"""Versions: golden bytes, another implementation of them, and everything else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blake3 import blake3
from nacl import bindings
from nacl.signing import SigningKey

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._version import Summary, Version, is_version, make_version
from qflow.trust._signers import Signers, did_of_public
from tests.core.vectors import load_vectors
from tests.state import golden

VECTORS = load_vectors("state-version.json")
CASES = VECTORS["versions"]
KEY = _core.SealingKey(VECTORS["key_number"], bytes.fromhex(VECTORS["key"]))
SEED = bytes.fromhex(VECTORS["seed"])
BLOCKS = [bytes.fromhex(case["block"]) for case in CASES]
SIGNERS = Signers(CASES[0]["fields"]["node"])
HEX = {"chain", "previous", "head", "state", "history", "flow"}


def fields_of(case: dict[str, Any]) -> dict[str, Any]:
    return {
        name: bytes.fromhex(value) if name in HEX and value is not None else value
        for name, value in case["fields"].items()
    }


def unsealed(sealed: bytes, bound: bytes) -> bytes:
    """The page's construction, of other people's parts."""
    key = bytes.fromhex(VECTORS["key"])

    def derived(use: str) -> bytes:
        return blake3(key, derive_key_context=f"qflow v1 sealing: {use}").digest()

    assert sealed[:32] == derived("commitment to the key")
    return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        sealed[56:], bound, sealed[32:56], derived("encryption key")
    )


def test_the_vectors_are_what_is_made() -> None:
    assert golden.golden() == VECTORS


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["fields"]["number"]))
def test_golden_bytes(case: dict[str, Any]) -> None:
    block = bytes.fromhex(case["block"])
    assert make_version(fields_of(case), Summary(**case["summary"]), KEY, SEED) == block
    version = Version.parse(block)
    version.verify(SIGNERS)
    assert version.fields() | fields_of(case) == version.fields()
    assert version.summary(KEY) == Summary(**case["summary"])
    assert str(_core.cid_of(block)) == case["cid"]
    assert is_version(block)


@pytest.mark.parametrize("block", BLOCKS)
def test_another_implementation_reads_it(block: bytes) -> None:
    made = _core.decode(block)
    sig, sealed = made.pop("sig"), made["sealed"]
    public = bytes(SigningKey(SEED).verify_key)
    message = b"qflow state version v1\n" + _core.encode(made)
    SigningKey(SEED).verify_key.verify(message, sig)
    assert made["node"] == did_of_public(public)
    del made["sealed"]
    text = _core.decode(unsealed(sealed, b"QFSV\x01" + _core.encode(made)))
    assert text["flow"] == "examples/orders/1.0.0"
    assert set(text) == {"flow", "label", "description", "why", "size", "frames", "status"}


def test_what_is_pinned_with_a_version_is_not_the_version_before() -> None:
    (_, block) = BLOCKS
    links = _core.block_links(bytes(_core.cid_of(block)), block)
    assert sorted(links) == sorted(golden.cid(name) for name in (b"state", b"history", b"flow"))
    assert Version.parse(block).previous == bytes(_core.cid_of(BLOCKS[0]))


WRONG: dict[str, list[Any]] = {
    "v": [0, 2, "1", None, True, 1.0],
    "kind": ["qflow.history", "", None, 1],
    "subnet": ["", None, 1, b"default", "x" * 1001],
    "chain": [b"", bytes(15), bytes(17), "x" * 16, None],
    "epoch": [-1, 2**63, 0.0, None, False, "0"],
    "number": [-1, 2**63, 1.0, None, True],
    "previous": [b"", bytes(36), "x", golden.cid(b"raw", "raw"), _core.cid_of(b"link")],
    "at": [-1, None, 1.5],
    "node": ["", None, 5],
    "key": [-1, None, "5"],
    "seq": [-1, None, 2**64 - 1],
    "head": [b"", bytes(31), bytes(33), None],
    "state": [None, golden.cid(b"x"), _core.cid_of(b"x", "raw"), "bafy"],
    "history": [None, _core.cid_of(b"x", "raw"), 7],
    "flow": [None, _core.cid_of(b"x", "raw"), []],
    "sealed": [None, "", 5],
    "sig": [b"", bytes(63), bytes(65), None],
}


@pytest.mark.holds("S14")
def test_every_other_form_is_refused() -> None:
    made = _core.decode(BLOCKS[1])
    refused = 0
    others: list[Any] = [{k: v for k, v in made.items() if k != gone} for gone in made]
    others += [{**made, name: value} for name, values in WRONG.items() for value in values]
    others += [{**made, "more": 1}, {**made, "previous": None}, {**made, "number": 0}, {}]
    for other in (*others, [], None, 5, b"x"):
        with pytest.raises(ValueError, match=r"."):
            Version.parse(_core.encode(other))
        refused += 1
    assert refused == 17 + sum(map(len, WRONG.values())) + 8


def test_a_version_that_is_too_long_is_neither_made_nor_read() -> None:
    fields, summary = fields_of(CASES[0]), Summary(**CASES[0]["summary"])
    with pytest.raises(ValueError, match="description"):
        make_version(fields, Summary(**CASES[0]["summary"], description="x" * 4001), KEY, SEED)
    with pytest.raises(ValueError, match="label"):
        make_version(fields, Summary(**CASES[0]["summary"], label="x" * 101), KEY, SEED)
    with pytest.raises(ValueError, match="label"):
        make_version(fields, Summary(**CASES[0]["summary"], label=""), KEY, SEED)
    assert len(make_version(fields, summary, KEY, SEED)) < 1000
    with pytest.raises(ValueError, match="65536 are allowed"):
        Version.parse(bytes(65537))


def is_believed(data: bytes) -> bool:
    """Whether a block passes form, signature and seal."""
    try:
        version = Version.parse(data)
        version.verify(SIGNERS)
        version.summary(KEY)
    except (ValueError, VerificationError):
        return False
    return True


@pytest.mark.holds("S6", "S14")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_flipped_byte_anywhere_is_refused(block: bytes) -> None:
    assert is_believed(block)
    tried = 0
    for at in range(len(block)):
        for bits in (0x01, 0x80, 0xFF):
            changed = bytearray(block)
            changed[at] ^= bits
            assert not is_believed(bytes(changed)), at
            tried += 1
    assert tried == 3 * len(block)


@pytest.mark.holds("S14")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_cut_anywhere_and_bytes_behind_it_are_refused(block: bytes) -> None:
    assert not any(is_believed(block[:at]) for at in range(len(block)))
    assert not any(is_believed(block + more) for more in (b"\0", b"\xf6", block))


@pytest.mark.holds("S5", "S6")
def test_unsigned_stripped_and_signed_by_a_stranger_are_refused() -> None:
    made = _core.decode(BLOCKS[0])
    assert not is_believed(_core.encode({**made, "sig": bytes(64)}))
    assert not is_believed(_core.encode({k: v for k, v in made.items() if k != "sig"}))
    assert not is_believed(_core.encode({**made, "sealed": b""}))
    stranger = bytes(range(50, 82))
    again = make_version(fields_of(CASES[0]), Summary(**CASES[0]["summary"]), KEY, stranger)
    with pytest.raises(VerificationError, match="not good"):
        Version.parse(again).verify(SIGNERS)
    theirs = {**fields_of(CASES[0]), "node": did_of_public(bytes(SigningKey(stranger).verify_key))}
    again = make_version(theirs, Summary(**CASES[0]["summary"]), KEY, stranger)
    with pytest.raises(VerificationError, match="does not trust"):
        Version.parse(again).verify(SIGNERS)


@pytest.mark.holds("S14")
def test_a_part_of_one_version_does_not_fit_into_another() -> None:
    first, second = (_core.decode(block) for block in BLOCKS)
    spliced = 0
    for name in first:
        if first[name] == second[name] or name in ("v", "kind"):
            continue
        for into, other in ((first, second), (second, first)):
            assert not is_believed(_core.encode({**into, name: other[name]})), name
            spliced += 1
    assert spliced == 16
    # With a signature of its own a spliced seal does not open either.
    plain = {k: v for k, v in second.items() if k != "sig"} | {"sealed": first["sealed"]}
    signed = _core.sign(SEED, b"qflow state version v1\n" + _core.encode(plain))
    version = Version.parse(_core.encode({**plain, "sig": signed}))
    version.verify(SIGNERS)
    with pytest.raises(VerificationError):
        version.summary(KEY)
