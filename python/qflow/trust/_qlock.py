"""Sealing as a service: the port, and the form of it that needs none.

Both sides of a network come to the same bytes: docs/formats/sealed-payload.md is the page.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final, Protocol

from qflow import _core
from qflow.errors import UnavailableError, VerificationError

_COMMITMENT: Final = "qflow v1 sealing: commitment to the key"
_ENCRYPTION: Final = "qflow v1 sealing: encryption key"
_NONCE: Final = "qflow v1 sealing: synthetic nonce key"
_COMMITMENT_BYTES: Final = 32
_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32


class Qlock(Protocol):
    """Whoever seals and unseals with a key that it keeps.

    Sealing is deterministic: equal things give equal bytes, so asking again after an answer that
    was lost is safe. When there is no answer, nothing was sealed and nothing may be stored.
    """

    async def available(self) -> bool:
        """Whether it would answer now. A hint: the next call may fail all the same."""
        ...

    async def seal(self, text: bytes, *, bound: bytes) -> bytes:
        """Commitment, nonce, ciphertext and tag of a text, bound to `bound`.

        Raises UnavailableError.
        """
        ...

    async def unseal(self, sealed: bytes, *, bound: bytes) -> bytes:
        """What was sealed. Raises VerificationError (another key, changed, or bound to something
        else), UnavailableError."""
        ...


class LocalQlock:
    """A key in this process, by libsodium: the bytes that the core comes to, made another way.

    It forgets its key when it is closed, and is not available any more then.
    """

    def __init__(self, key: bytes) -> None:
        """Take 32 bytes. Raises ValueError for another length."""
        if len(key) != _KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        self._keys: tuple[bytes, bytes, bytes] | None = (
            _core.derive_key(_COMMITMENT, key),
            _core.derive_key(_ENCRYPTION, key),
            _core.derive_key(_NONCE, key),
        )

    def __repr__(self) -> str:
        return "LocalQlock()"

    def close(self) -> None:
        """Forget the key. Idempotent."""
        self._keys = None

    async def available(self) -> bool:
        return self._keys is not None

    async def seal(self, text: bytes, *, bound: bytes) -> bytes:
        commitment, encryption, nonce_key = self._open()
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt

        nonce = _nonce(nonce_key, bound, text)
        return commitment + nonce + encrypt(text, bound, nonce, encryption)

    async def unseal(self, sealed: bytes, *, bound: bytes) -> bytes:
        commitment, encryption, nonce_key = self._open()
        if len(sealed) < _COMMITMENT_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise VerificationError("not sealed: too short")
        if not compare_digest(sealed[:_COMMITMENT_BYTES], commitment):
            raise VerificationError("sealed with another key")
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt
        from nacl.exceptions import CryptoError

        nonce = sealed[_COMMITMENT_BYTES : _COMMITMENT_BYTES + _NONCE_BYTES]
        try:
            text = decrypt(sealed[_COMMITMENT_BYTES + _NONCE_BYTES :], bound, nonce, encryption)
        except CryptoError:
            text = None
        # One content has one form, also when somebody with the key chose another nonce.
        if text is None or not compare_digest(_nonce(nonce_key, bound, text), nonce):
            raise VerificationError("changed, or sealed for another place")
        return text

    def _open(self) -> tuple[bytes, bytes, bytes]:
        if self._keys is None:
            raise UnavailableError("sealing is not available: the key is not here any more")
        return self._keys


def _nonce(key: bytes, bound: bytes, text: bytes) -> bytes:
    length = len(bound).to_bytes(8, "little")
    return _core.keyed_hash(key, [length, bound, text])[:_NONCE_BYTES]
