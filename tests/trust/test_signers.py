"""Whose signatures count, and what a did:key is."""

from __future__ import annotations

import pytest

from qflow import _core
from qflow.errors import VerificationError
from qflow.trust import Signers, did_of_public, public_of_did
from tests.trust.rings import key_named

OURS, THEIRS = key_named("ours"), key_named("theirs")


def test_a_did_and_its_public_half_belong_together() -> None:
    assert public_of_did(OURS.did) == OURS.public
    assert did_of_public(OURS.public) == OURS.did
    # From the did:key specification.
    known = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    assert did_of_public(public_of_did(known)) == known


@pytest.mark.holds("S6")
@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:key:",
        "did:key:z",
        "did:web:example.org",
        OURS.did + "1",
        OURS.did[:-1],
        OURS.did.replace("z6", "z16", 1),
        OURS.did.upper(),
        OURS.did + "#" + OURS.did[8:],
        " " + OURS.did,
        OURS.did + "\n",
        "did:key:z" + "1" * 4000,
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",  # secp256k1
        "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",  # X25519
    ],
)
def test_what_is_no_did_of_an_ed25519_key_is_refused(did: str) -> None:
    with pytest.raises(VerificationError):
        public_of_did(did)


@pytest.mark.holds("S6")
@pytest.mark.parametrize(
    "public",
    [
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ee" + "ff" * 30 + "7f",  # Not canonical.
        "01" + "00" * 30 + "80",
    ],
)
def test_a_weak_key_is_nobodys(public: str) -> None:
    did = did_of_public(bytes.fromhex(public))
    with pytest.raises(VerificationError, match="weak"):
        public_of_did(did)


@pytest.mark.holds("S6")
def test_only_trusted_signers_count() -> None:
    known: list[str] = []
    signers = Signers(OURS.did, lambda: known)
    for key in (OURS, THEIRS):
        signature = _core.sign(key.seed, b"message")
        if key is THEIRS:
            with pytest.raises(VerificationError, match="does not trust"):
                signers.verify(key.did, b"message", signature)
            known.append(THEIRS.did)
        signers.verify(key.did, b"message", signature)
        for wrong in (b"", signature[:-1], bytes(64), _core.sign(key.seed, b"other")):
            with pytest.raises(VerificationError, match="not good"):
                signers.verify(key.did, b"message", wrong)
    assert not signers.is_trusted(key_named("stranger").did)
