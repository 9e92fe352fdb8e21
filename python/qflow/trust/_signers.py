"""Whose signatures count: this node's, and those of the nodes whose keys were imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from qflow import _core
from qflow.errors import VerificationError

ED25519_MULTICODEC: Final = b"\xed\x01"
PUBLIC_BYTES: Final = 32
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_BASE58)}
_PREFIX: Final = "did:key:z"
_CHARS_MAX: Final = 64
"""An Ed25519 did:key has 56."""


class Signers:
    """The nodes whose versions and keys are taken: `own`, and those that `others` gives.

    `others` is asked each time, so a node that is imported meanwhile counts at once.
    """

    def __init__(self, own: str, others: Callable[[], Iterable[str]] = tuple) -> None:
        self.own, self._others = own, others

    def is_trusted(self, did: str) -> bool:
        """Whether this node takes what `did` has signed."""
        return did == self.own or did in self._others()

    def verify(self, did: str, message: bytes, signature: bytes) -> None:
        """Return when a trusted node has signed the message. Raises VerificationError."""
        if not self.is_trusted(did):
            raise VerificationError(f"it is signed by {did:.80}, which this node does not trust")
        if not _core.verify_signature(public_of_did(did), message, signature):
            raise VerificationError(f"the signature of {did} is not good")


def did_of_public(public: bytes) -> str:
    """The did:key: multibase base58btc of the multicodec ed25519-pub and the public half."""
    data = ED25519_MULTICODEC + public
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return _PREFIX + text


def public_of_did(did: str) -> bytes:
    """The 32 bytes of the public half in a did:key.

    Raises VerificationError for another method, another kind of key, another spelling of the same
    key, and for a point that is of small order or not canonical.
    """
    if not did.startswith(_PREFIX) or len(did) > _CHARS_MAX:
        raise VerificationError(f"not a did:key of an Ed25519 key: {did:.80}")
    number = 0
    for letter in did.removeprefix(_PREFIX):
        if (value := _VALUES.get(letter)) is None:
            raise VerificationError(f"not a did:key of an Ed25519 key: {did:.80}")
        number = number * 58 + value
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    public = data.removeprefix(ED25519_MULTICODEC)
    if len(public) != PUBLIC_BYTES or did_of_public(public) != did:
        raise VerificationError(f"not a did:key of an Ed25519 key: {did:.80}")
    if not _core.is_public_key(public):
        raise VerificationError(f"a weak key: {did}")
    return public
