"""Keys at rest under a passphrase, and where the passphrase comes from."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from qflow import _core, diagnostics
from qflow.clock import random_bytes
from qflow.errors import SigningKeyError, VerificationError
from qflow.trust._files import read_private

Passphrase = Callable[[], bytes]
"""Gives the passphrase when it is needed. Raises SigningKeyError when there is none."""

PASSPHRASE_BYTES_MAX: Final = 1024
CREDENTIAL: Final = "qflow-passphrase"
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what `LoadCredential=` names."""
_COST: Final = struct.Struct(">II16s")
_OPS_MAX: Final = 32
_MEMORY_BYTES_MIN: Final = 1 << 20
_MEMORY_BYTES_MAX: Final = 1 << 30


class Cost(NamedTuple):
    """What one guess of a passphrase costs (RFC 9106, Argon2id with one lane)."""

    passes: int = 3
    memory_bytes: int = 64 << 20


def seal_under(passphrase: bytes, text: bytes, *, bound: bytes, cost: Cost) -> bytes:
    """A text that only the passphrase opens: cost and salt, then the text, sealed."""
    head = _COST.pack(*cost, random_bytes(16))
    return head + _derived(passphrase, head).seal_bytes(text, bound=bound + head)


def unseal_under(passphrase: bytes, sealed: bytes, *, bound: bytes) -> bytes:
    """What `seal_under` sealed. Raises ValueError (malformed, or it asks for more than is given),
    VerificationError (another passphrase, or it was changed)."""
    head = sealed[: _COST.size]
    return _derived(passphrase, head).unseal_bytes(sealed[_COST.size :], bound=bound + head)


def _derived(passphrase: bytes, head: bytes) -> _core.SealingKey:
    if len(head) != _COST.size:
        raise ValueError("it was cut off")
    passes, memory_bytes, salt = _COST.unpack(head)
    if not (1 <= passes <= _OPS_MAX and _MEMORY_BYTES_MIN <= memory_bytes <= _MEMORY_BYTES_MAX):
        raise ValueError(f"it asks for {passes} passes over {memory_bytes} bytes: out of bounds")
    from nacl.pwhash import argon2id  # Takes longer to import than all of this package.

    key = argon2id.kdf(32, passphrase, salt, opslimit=passes, memlimit=memory_bytes)
    return _core.SealingKey(0, key)


# -- where it comes from -------------------------------------------------------------------


def passphrase_for(path: Path, file: Path | None = None) -> bytes:
    """The passphrase of a protected file of a home.

    From `file`, or the one that the settings of the home name (`keys.passphrase_file`), relative to
    the home; else from
    the credentials that systemd hands to a service; else by asking. Never from the environment
    itself, which other processes can read. Raises SigningKeyError.
    """
    file = file if file is not None else _from_settings(path.parent)
    found = None if file is None else path.parent / file.expanduser()
    folder = os.environ.get(CREDENTIALS)
    if found is not None:
        return read_passphrase(found)
    if folder and (credential := Path(folder) / CREDENTIAL).exists():
        return _line(_read_credential(credential), credential)
    if (typed := diagnostics.ask(f"passphrase for {path}: ")) is not None:
        return check_passphrase(typed.encode())
    raise SigningKeyError(
        f"{path} is protected, and there is no passphrase: set keys.passphrase_file, or hand it"
        f" over as the credential {CREDENTIAL}"
    )


def read_passphrase(path: Path) -> bytes:
    """The one line of a private file. Raises SigningKeyError."""
    try:
        return _line(read_private(path, PASSPHRASE_BYTES_MAX + 2), path)
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"the passphrase cannot be read: {error}") from None


def check_passphrase(passphrase: bytes) -> bytes:
    """The passphrase itself. Raises SigningKeyError when it is empty or too long."""
    if not passphrase:
        raise SigningKeyError("the passphrase is empty")
    if len(passphrase) > PASSPHRASE_BYTES_MAX:
        raise SigningKeyError(f"the passphrase has more than {PASSPHRASE_BYTES_MAX} bytes")
    return passphrase


def _from_settings(home: Path) -> Path | None:
    from qflow.config import load_config  # Only a protected key needs it.

    return load_config(home=home).keys.passphrase_file


def _read_credential(path: Path) -> bytes:
    """Owner and mode are systemd's; it may be in memory that an access list opens to this user."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_mode & stat.S_IRWXO:
                raise SigningKeyError(f"{path} is open to others")
            return file.read(PASSPHRASE_BYTES_MAX + 2)
    except OSError as error:
        raise SigningKeyError(f"the passphrase cannot be read: {error}") from None


def _line(content: bytes, path: Path) -> bytes:
    text = content.removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in text or b"\0" in text:
        raise SigningKeyError(f"{path} is not one line of text")
    return check_passphrase(text)


def refused(path: Path, error: Exception) -> SigningKeyError:
    """Why a protected file was not opened, for people."""
    if isinstance(error, VerificationError):
        return SigningKeyError(f"{path}: the passphrase is wrong, or the file was changed")
    return SigningKeyError(f"{path}: {error}")
