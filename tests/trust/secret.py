"""Every secret that is made while a test runs, and where one of them shows."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from qflow import _core
from qflow.clock import random_bytes
from qflow.trust import _key, _keyring, _making, _subnet_keys

_KEY_BYTES = 32


class Secrets:
    """Notes keys as they are drawn, and what is derived from them."""

    def __init__(self, patch: pytest.MonkeyPatch, *texts: str) -> None:
        self.found = {text.encode() for text in texts}
        for module in (_key, _keyring, _making, _subnet_keys):
            patch.setattr(module, "random_bytes", self._drawn)
        derive = _core.derive_key

        def noted(context: str, key: bytes) -> bytes:
            made = derive(context, key)
            if "commitment" not in context:
                self.found.add(made)
            return made

        for module in (_subnet_keys,):
            patch.setattr(module._core, "derive_key", noted)

    def _drawn(self, size: int) -> bytes:
        made = random_bytes(size)
        for at in range(0, size - _KEY_BYTES + 1, _KEY_BYTES):
            self.found.add(made[at : at + _KEY_BYTES])
        return made

    def shown_in(self, data: bytes) -> list[Any]:
        """The secrets that stand in some bytes, in any of the ways they are written."""
        return [secret for secret in self.found if any(form in data for form in forms(secret))]


def forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")
    yield base64.b32encode(secret).rstrip(b"=").lower()
    yield repr(secret).encode()[2:-1]
    yield repr(list(secret)).encode()
