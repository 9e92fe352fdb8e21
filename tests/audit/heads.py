"""A log in memory that signs any head it likes, for witnesses to judge."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from nacl.signing import SigningKey

from qflow import _core

EMPTY_ROOT = sha256().digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of RFC 6962, section 2.1, over leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    half = _split(len(leaves))
    return sha256(b"\1" + root_of(leaves[:half]) + root_of(leaves[half:])).digest()


def consistency(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """The proof of RFC 6962, section 2.1.2, that the tree of `old` leaves is the beginning."""
    return _subproof(leaves, old, whole=True) if 0 < old < len(leaves) else []


def _subproof(leaves: Sequence[bytes], old: int, *, whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [root_of(leaves)]
    half = _split(len(leaves))
    if old <= half:
        return [*_subproof(leaves[:half], old, whole=whole), root_of(leaves[half:])]
    return [*_subproof(leaves[half:], old - half, whole=False), root_of(leaves[:half])]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def leaves(count: int, fork: str = "") -> list[bytes]:
    """Leaf hashes of a history; histories of other forks have no record in common."""
    return [sha256(f"\0{fork}{number}".encode()).digest() for number in range(count)]


class SigningLog:
    """Signs heads as a log does, whatever they say."""

    def __init__(self, origin: str = "log.example/a", number: int = 1) -> None:
        self.origin = origin
        self._seed = bytes([number, *range(31)])
        self.vkey = _core.generate_vkey(origin, self._seed)

    def head(self, history: Sequence[bytes]) -> bytes:
        """The signed note of a history."""
        return self.signed(f"{self.origin}\n{len(history)}\n{_text(root_of(history))}\n")

    def signed(self, text: str) -> bytes:
        signature = SigningKey(self._seed).sign(text.encode()).signature
        key_id = bytes.fromhex(self.vkey.split("+")[1])
        return f"{text}\n\u2014 {self.origin} {_text(key_id + signature)}\n".encode()

    def request(self, history: Sequence[bytes], old: int) -> bytes:
        """The `add-checkpoint` of an honest client that holds this history."""
        return body(old, consistency(history, old), self.head(history))


def body(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    lines = [f"old {old}", *(_text(one) for one in proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + note


def _text(data: bytes) -> str:
    return b64encode(data).decode()
