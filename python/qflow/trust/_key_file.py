"""The file by which a node lets another machine open what it sealed: `qflow keys export`.

docs/formats/keys.md is the page. Whoever has it reads every execution whose key is wrapped under
the subnet keys in it, and can sign nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from qflow import _core
from qflow.errors import SigningKeyError, VerificationError
from qflow.trust._files import PRIVATE, create_whole, read_private
from qflow.trust._key_envelope import Signer
from qflow.trust._passphrase import Cost, Passphrase, check_passphrase, seal_under, unseal_under
from qflow.trust._signers import public_of_did

KIND: Final = "qflow.keys"
FILE_BYTES_MAX: Final = 1 << 20
_PLAIN: Final = b"QFKX\x01\x00"
_PROTECTED: Final = b"QFKX\x01\x01"
_SIGNED: Final = b"qflow key file v1\n"
_KEY_BYTES: Final = 32
_COST: Final = Cost()


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One subnet key."""

    epoch: int
    key: bytes

    def __repr__(self) -> str:
        return f"Epoch({self.epoch})"


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in the file. `repr` shows no key."""

    v: int = 1
    kind: str = KIND
    subnet: str
    node: str
    """The did:key of the node whose keys they are, and whose signatures its reader will trust."""
    keys: tuple[Epoch, ...]
    sig: bytes = b""

    @property
    def message(self) -> bytes:
        """What `node` signs."""
        fields = msgspec.to_builtins(self, builtin_types=(bytes,))
        del fields["sig"]
        return _SIGNED + _core.encode(fields)


def write_key_file(
    path: Path,
    keys: list[tuple[int, bytes]],
    signer: Signer,
    *,
    subnet: str,
    passphrase: bytes | None = None,
    cost: Cost = _COST,
) -> None:
    """Make a private file of these epochs and their keys. Durable on return.

    Raises SigningKeyError when something is there already, or nothing can be written there.
    """
    made = KeyFile(subnet=subnet, node=signer.did, keys=tuple(Epoch(*key) for key in keys))
    signed = msgspec.structs.replace(made, sig=_core.sign(signer.seed, made.message))
    text = _core.encode(msgspec.to_builtins(signed, builtin_types=(bytes,)))
    if passphrase is None:
        content = _PLAIN + text
    else:
        secret = check_passphrase(passphrase)
        content = _PROTECTED + seal_under(secret, text, bound=_PROTECTED, cost=cost)
    try:
        made_it = create_whole(path, content, PRIVATE)
    except OSError as error:
        raise SigningKeyError(f"the key file cannot be written: {error}") from error
    if not made_it:
        raise SigningKeyError(f"{path} is there already, and is not overwritten")


def read_key_file(path: Path, passphrase: Passphrase) -> bytes:
    """What `parse_key_file` reads, from a private file. `passphrase` is asked when it is needed.

    Raises SigningKeyError (open to others, not there, another passphrase), VerificationError (it
    is none, or was changed).
    """
    try:
        content = read_private(path, FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"the key file cannot be used: {error}") from error
    try:
        text = _text(content, passphrase)
        _parse(text)
        return text
    except (ValueError, TypeError) as error:
        raise VerificationError(f"{path} is not a file of keys: {error}") from None


def parse_key_file(text: bytes) -> KeyFile:
    """The keys in the content of a file, opened if it was protected, whose signature is good.

    Raises VerificationError.
    """
    try:
        return _parse(text)
    except (ValueError, TypeError) as error:
        raise VerificationError(f"not a file of keys: {error}") from None


def _text(content: bytes, passphrase: Passphrase) -> bytes:
    if content.startswith(_PLAIN):
        return content.removeprefix(_PLAIN)
    if not content.startswith(_PROTECTED):
        raise ValueError("of no version that is known")
    try:
        sealed = content.removeprefix(_PROTECTED)
        return unseal_under(passphrase(), sealed, bound=_PROTECTED)
    except VerificationError:
        raise SigningKeyError("the passphrase is wrong, or the file was changed") from None


def _parse(text: bytes) -> KeyFile:
    found = msgspec.convert(_core.decode(text), KeyFile)
    epochs = [key.epoch for key in found.keys]
    whole = (
        (found.v, found.kind) == (1, KIND)
        and epochs == sorted(set(epochs))
        and bool(epochs)
        and 0 <= epochs[0] <= epochs[-1] < 1 << 32
        and {len(key.key) for key in found.keys} == {_KEY_BYTES}
    )
    if not whole:
        raise ValueError("not what this version writes")
    if not _core.verify_signature(public_of_did(found.node), found.message, found.sig):
        raise VerificationError("the signature in the file of keys is not good: it was changed")
    return found
