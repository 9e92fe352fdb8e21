"""What tests of keys share: homes with keys in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qflow import _core
from qflow.errors import QflowError
from qflow.trust import Keyring, NodeKey, Signers, make_envelope, open_envelope, public_half

SUBNET = "default"


def key_named(name: str) -> NodeKey:
    """Another key for another name."""
    seed = _core.derive_key("tests: a node's key", name.encode())
    return NodeKey(seed=seed, public=public_half(seed))


class Party:
    """One node, as far as its keys go."""

    def __init__(self, home: Path, name: str = "us") -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        self.home, self.key = home, key_named(name)
        self.ring = Keyring(home, lambda: self.key.seed)

    @property
    def signers(self) -> Signers:
        return Signers(self.key.did, self.ring.subnet.nodes)

    def opened(self) -> Party:
        """The same home in another process."""
        self.ring.close()
        self.ring = Keyring(self.home, lambda: self.key.seed)
        return self

    def begin(self, chain: bytes) -> _core.SealingKey:
        """A key for one more execution."""
        return self.ring.take()

    def envelope(self, chain: bytes, number: int) -> bytes:
        return make_envelope(self.ring, self.key, subnet=SUBNET, chain=chain, number=number)[1]

    def trust(self, other: Party) -> None:
        """What `qflow keys import` does."""
        self.ring.subnet.add(other.key.did, other.ring.subnet.exported())

    def adopt(self, block: bytes) -> bool:
        return self.ring.adopt(open_envelope(block, self.ring, self.signers, subnet=SUBNET))


def chain_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def mark(key: _core.SealingKey) -> bytes:
    """What tells a key apart, whatever its number: the commitment in what it seals."""
    return key.seal_bytes(b"", bound=b"")[:32]


def outcome(what: Callable[[], Any]) -> str:
    """The name of the error that it raises; `fine` for none."""
    try:
        what()
    except QflowError as error:
        return type(error).__name__
    return "fine"


def refuse(code: int) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return failing
