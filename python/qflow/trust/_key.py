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
from qflow.errors import SigningKeyError, VerificationError
from qflow.trust._files import PRIVATE, create_whole, read_private, replace_whole
from qflow.trust._passphrase import (
    Cost,
    Passphrase,
    check_passphrase,
    passphrase_for,
    refused,
    seal_under,
    unseal_under,
)
from qflow.trust._signers import did_of_public

SEED_BYTES: Final = 32
KEY_FILE: Final = "node.key"
PUBLIC_FILE: Final = "node.pub"
_FILE_BYTES_MAX: Final = 4096
_PROTECTED: Final = b"qflow-protected-key v1\n"
_COST: Final = Cost()
_opened: dict[tuple[Path, bytes], bytes] = {}
"""The last protected key that was opened: a process asks for a passphrase once."""
_DISTINCT_BYTES_MIN: Final = 12
"""32 bytes of chance have fewer distinct values once in 10^19 keys; a typed one often has."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


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
        """The did:key of the public half."""
        return did_of_public(self.public)

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


def load_or_create_key(
    home: str | os.PathLike[str], *, passphrase: Passphrase | Path | None = None
) -> NodeKey:
    """The key in `node.key` of a home; made, durable and private, when there is none.

    `node.pub` gets the verifier key that outsiders need. Two processes that start at once agree.
    A home that has its key may be read-only: nothing is written into it. A protected key is opened
    with what `passphrase` gives, which may be a file, else with what `passphrase_for` finds.
    Raises SigningKeyError when a file is open to others, malformed, weak or of another key, when
    the passphrase is wrong, and when there is no room for one.
    """
    folder = Path(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / KEY_FILE
    try:
        if not path.exists():
            create_whole(path, random_bytes(SEED_BYTES).hex().encode() + b"\n", PRIVATE)
        key = _key_of(_seed_of(read_private(path, _FILE_BYTES_MAX), path, passphrase))
        _publish(key, folder / PUBLIC_FILE)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise SigningKeyError(f"the disk is full: no room for a file in {folder}") from error
        raise SigningKeyError(f"the node's key cannot be used: {error}") from error
    return key


def load_seed(
    home: str | os.PathLike[str], *, passphrase: Passphrase | Path | None = None
) -> bytes:
    """The private half alone, of a home that has a key: as `load_or_create_key`, but without
    PyNaCl, which loads slowly, unless it is protected.

    Raises SigningKeyError, also when there is none.
    """
    path = Path(home) / KEY_FILE
    try:
        return _seed_of(read_private(path, _FILE_BYTES_MAX), path, passphrase)
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"the node's key cannot be used: {error}") from error


def public_half(seed: bytes) -> bytes:
    """The 32 bytes of the public half of a seed."""
    return b64decode(_core.generate_vkey("qflow.node", seed).split("+", 2)[2])[1:]


def is_protected(home: str | os.PathLike[str]) -> bool:
    """Whether the node's key is under a passphrase. Raises SigningKeyError when it is not there."""
    path = Path(home) / KEY_FILE
    try:
        return read_private(path, _FILE_BYTES_MAX).startswith(_PROTECTED)
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"the node's key cannot be used: {error}") from error


def protect_key(
    home: str | os.PathLike[str],
    new: bytes | None,
    *,
    passphrase: Passphrase | Path | None = None,
    cost: Cost = _COST,
) -> None:
    """Put the key of a home under the passphrase `new`, another one than before, or, with None,
    under none. Durable on return, and the bytes of the file before are overwritten.

    Cut short anywhere, the file is as before or as it should be. Raises SigningKeyError.
    """
    path = Path(home) / KEY_FILE
    seed = load_seed(home, passphrase=passphrase)
    content = seed.hex().encode() + b"\n"
    if new is not None:
        sealed = seal_under(check_passphrase(new), seed, bound=_PROTECTED, cost=cost)
        content = _PROTECTED + sealed.hex().encode() + b"\n"
    try:
        replace_whole(path, content)
    except OSError as error:
        raise SigningKeyError(f"the node's key cannot be written: {error}") from error


def _seed_of(content: bytes, path: Path, passphrase: Passphrase | Path | None) -> bytes:
    if not content.startswith(_PROTECTED):
        return _parse_seed(content, path)
    known = (path, content)
    if (seed := _opened.get(known)) is not None:
        return seed
    text = content.removeprefix(_PROTECTED).removesuffix(b"\n")
    if not text or len(text) % 2 or text.strip(b"0123456789abcdef"):
        raise SigningKeyError(f"{path} is not a protected key: it was changed")
    secret = passphrase() if callable(passphrase) else passphrase_for(path, passphrase)
    try:
        opened = unseal_under(secret, bytes.fromhex(text.decode()), bound=_PROTECTED)
    except (ValueError, VerificationError) as error:
        raise refused(path, error) from None
    seed = _parse_seed(opened.hex().encode(), path)
    _opened.clear()
    _opened[known] = seed
    return seed


def _key_of(seed: bytes) -> NodeKey:
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
