"""Signed statements: the DSSE envelope (protocol 1.0.0), with the node's Ed25519 key."""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64decode
from typing import Final, Protocol

import msgspec

from qflow import _core
from qflow.errors import VerificationError

ENVELOPE_BYTES_MAX: Final = 8 << 20
"""What is longer is refused unread."""
SIGNATURES_MAX: Final = 16


class Signatory(Protocol):
    """Whoever signs: `NodeKey`."""

    @property
    def seed(self) -> bytes:
        """32 bytes, the private half."""
        ...

    @property
    def did(self) -> str:
        """The did:key."""
        ...

    @property
    def vkey(self) -> str:
        """The verifier key of the log that this key signs."""
        ...


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature; `keyid` is a hint that nobody may rely on."""

    sig: str
    keyid: str = ""


class Envelope(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """The JSON form of an envelope."""

    payload: str
    """Base 64 of the signed bytes."""
    payload_type: str
    signatures: list[Signature]


def encode_for_signing(payload_type: str, payload: bytes) -> bytes:
    """What is signed (PAE): type and bytes with their lengths, so that neither runs into the other.

    >>> encode_for_signing("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, key: Signatory) -> bytes:
    """The envelope, as JSON, that says that `key` stands for these bytes."""
    from nacl.signing import SigningKey  # Takes longer to import than all of this package.

    signed = SigningKey(key.seed).sign(encode_for_signing(payload_type, payload)).signature
    signature = Signature(sig=b64encode(signed).decode(), keyid=key.did)
    return msgspec.json.encode(
        Envelope(
            payload=b64encode(payload).decode(),
            payload_type=payload_type,
            signatures=[signature],
        )
    )


def open_envelope(data: bytes, payload_type: str, public: bytes) -> bytes:
    """The bytes in an envelope of this type that the key with the public half `public` signed.

    Signatures of others are passed over; verification is the strict one of `verify_signature`.
    Raises VerificationError for anything else: no JSON, an unknown field, another type, no good
    signature.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        raise VerificationError(f"the envelope has more than {ENVELOPE_BYTES_MAX} bytes")
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
        payload = _decode(envelope.payload)
        signatures = [_decode(one.sig) for one in envelope.signatures[: SIGNATURES_MAX + 1]]
    except ValueError as error:
        raise VerificationError(f"no envelope of DSSE: {error}") from None
    if len(signatures) > SIGNATURES_MAX:
        raise VerificationError(f"the envelope has more than {SIGNATURES_MAX} signatures")
    if envelope.payload_type != payload_type:
        raise VerificationError(f"an envelope of {envelope.payload_type!r}, not {payload_type!r}")
    message = encode_for_signing(payload_type, payload)
    if not any(_core.verify_signature(public, message, one) for one in signatures):
        raise VerificationError("no signature of this key in the envelope is good")
    return payload


def _decode(text: str) -> bytes:
    """Standard or URL-safe base 64: the specification has readers take both."""
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise ValueError("two alphabets of base 64 in one text")
        return urlsafe_b64decode(text.encode("ascii"))
    return b64decode(text.encode("ascii"), validate=True)
