"""The address of an endpoint: what is taken, and what is said about it."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from qflow.errors import ConfigError


def checked_url(text: str) -> str:
    """The base URL of an endpoint, without a slash at its end. Raises ConfigError.

    Blocks go there as they are: sealed ones. Over http they and the commands about them can be
    read and changed on the way, which `is_private` tells.
    """
    parts = _parts(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"storage.kubo: an endpoint is a URL, http://127.0.0.1:5001: {text!r:.80}"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError("storage.kubo: a URL with a password in it would be in every message")
    if parts.query or parts.fragment:
        raise ConfigError("storage.kubo: the URL of an endpoint has no ? and no #")
    return text.rstrip("/")


def is_private(url: str) -> bool:
    """Whether what is sent there can be read by nobody on the way: https, or this machine."""
    parts = _parts(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"storage.kubo: {error}") from None
    return parts
