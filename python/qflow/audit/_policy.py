"""Policies from where people keep them: a text, or a file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Final

from qflow._core import Policy
from qflow.errors import ConfigError

POLICY_BYTES_MAX: Final = 1 << 20
NOBODY: Final = "none"
"""The quorum of a policy that asks for no witness."""


def load_policy(source: str | PathLike[str]) -> Policy:
    """A policy (C2SP tlog-policy) from its text, which has more than one line, or from a file.

    Raises ConfigError, which names the file and the line and quotes nothing of it: it may be the
    file of a private key.
    """
    if isinstance(source, str) and "\n" in source:
        return _parse(source, "the policy")
    try:
        with Path(source).open("rb") as file:
            text = file.read(POLICY_BYTES_MAX + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"the policy {str(source)!r} cannot be read: it is no text") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the policy {str(source)!r} cannot be read: {why}") from None
    return _parse(text, str(source))


def _parse(text: str, where: str) -> Policy:
    try:
        return Policy(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
