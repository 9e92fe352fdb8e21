"""The key of this node: one Ed25519 key is its name, its did:key and the signer of its log."""

from __future__ import annotations

import errno
import hashlib
import os
from base64 import b64decode
from pathlib import Path
from typing import Final

import msgspec

from qflow import _core
from qflow.clock import random_bytes
from qflow.errors import SigningKeyError
from qflow.trust._files import PRIVATE, create_whole, read_private

SEED_BYTES: Final = 32
KEY_FILE: Final = "node.key"
PUBLIC_FILE: Final = "node.pub"
_FILE_BYTES_MAX: Final = 4096
_DISTINCT_BYTES_MIN: Final = 12
"""32 bytes of chance have fewer distinct values once in 10^19 keys; a typed one often has."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_ED25519_MULTICODEC: Final = b"\xed\x01"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class NodeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A node's key. `repr` never shows the seed."""

    seed: bytes
    """32 bytes, the private half (RFC 8032)."""
    public: bytes
    """32 bytes."""

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of the public half: enough to tell nodes apart."""
        return hashlib.sha256(self.public).hexdigest()[:16]

    @property
    def did(self) -> str:
        """The did:key: multibase base58btc of the multicodec ed25519-pub and the public half."""
        return "did:key:z" + _base58(_ED25519_MULTICODEC + self.public)

    @property
    def origin(self) -> str:
        """The origin line of the log's checkpoints (C2SP tlog-checkpoint)."""
        return f"qflow.node/{self.id}"

    @property
    def vkey(self) -> str:
        """The verifier key of the log (C2SP signed-note), as it stands in `node.pub`."""
        return _core.generate_vkey(self.origin, self.seed)

    def __repr__(self) -> str:
        return f"NodeKey({self.did})"


def load_or_create_key(home: str | os.PathLike[str]) -> NodeKey:
    """The key in `node.key` of a home; made, durable and private, when there is none.

    `node.pub` gets the verifier key that outsiders need. Two processes that start at once agree.
    A home that has its key may be read-only: nothing is written into it.
    Raises SigningKeyError when a file is open to others, malformed, weak or of another key, and
    when there is no room for one.
    """
    folder = Path(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / KEY_FILE
    try:
        if not path.exists():
            create_whole(path, random_bytes(SEED_BYTES).hex().encode() + b"\n", PRIVATE)
        key = _parse_key(read_private(path, _FILE_BYTES_MAX), path)
        _publish(key, folder / PUBLIC_FILE)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise SigningKeyError(f"the disk is full: no room for a file in {folder}") from error
        raise SigningKeyError(f"the node's key cannot be used: {error}") from error
    return key


def load_seed(home: str | os.PathLike[str]) -> bytes:
    """The private half alone, of a home that has a key: without PyNaCl, which loads slowly.

    Raises SigningKeyError, also when there is none.
    """
    path = Path(home) / KEY_FILE
    try:
        return _parse_seed(read_private(path, _FILE_BYTES_MAX), path)
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"the node's key cannot be used: {error}") from error


def public_half(seed: bytes) -> bytes:
    """The 32 bytes of the public half of a seed."""
    return b64decode(_core.generate_vkey("qflow.node", seed).split("+", 2)[2])[1:]


def _parse_key(content: bytes, path: Path) -> NodeKey:
    seed = _parse_seed(content, path)
    from nacl.signing import SigningKey  # Takes longer to import than all of this package.

    return NodeKey(seed=seed, public=bytes(SigningKey(seed).verify_key))


def _parse_seed(content: bytes, path: Path) -> bytes:
    text = content.removesuffix(b"\n")
    if len(text) != 2 * SEED_BYTES or text.strip(b"0123456789abcdef"):
        raise SigningKeyError(f"{path} is not a key: 64 hexadecimal digits on one line")
    seed = bytes.fromhex(text.decode("ascii"))
    if len(set(seed)) < _DISTINCT_BYTES_MIN:
        raise SigningKeyError(f"{path} is a weak key: it was not made by chance")
    return seed


def _publish(key: NodeKey, path: Path) -> None:
    line = f"{key.vkey}\n".encode()
    try:
        found = _read_public(path)
        if found is None and not create_whole(path, line, 0o644):
            found = _read_public(path)
    except OSError as error:
        if error.errno in _READ_ONLY and not path.exists():
            return
        raise
    if found not in (None, line):
        raise SigningKeyError(
            f"{path} is not the public half of {KEY_FILE}: one of them was exchanged"
        )


def _read_public(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        return None


def _base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + text
