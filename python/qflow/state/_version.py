"""The version: one small signed block that names a sealed state and its place in the chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._form import (
    FORMAT,
    HASH_BYTES,
    ID_BYTES,
    check_bytes,
    check_int,
    check_keys,
    check_kind,
    check_link,
    check_text,
)
from qflow.state._ports import Signers

KIND: Final = "qflow.state"
VERSION_BYTES_MAX: Final = 64 << 10
"""Of a version block; a longer one is neither made nor read."""
TEXT_CHARS_MAX: Final = 4000
"""Of a description, and of the name of a flow."""
LABEL_CHARS_MAX: Final = 100
SIGNATURE_BYTES: Final = 64

_SIGNED: Final = b"qflow state version v1\n"
_SEALED: Final = b"QFSV\x01"
_SUMMARY: Final = frozenset({"flow", "label", "description", "why", "size", "frames", "status"})


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What of a version is sealed: only who has the execution's key reads it."""

    flow: str
    """namespace/name/version"""
    why: str
    size: int
    """Bytes of the state in plain."""
    frames: int
    status: str
    label: str | None = None
    description: str | None = None

    def encode(self) -> bytes:
        """The canonical bytes. Raises ValueError for what `parse` would refuse."""
        data = _core.encode({name: getattr(self, name) for name in self.__struct_fields__})
        self.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read canonical bytes, and nothing else. Raises ValueError."""
        made = _core.decode(data)
        check_keys(made, _SUMMARY)
        for name in ("flow", "why", "status"):
            check_text(name, made[name], TEXT_CHARS_MAX)
        check_text("label", made["label"], LABEL_CHARS_MAX, optional=True)
        check_text("description", made["description"], TEXT_CHARS_MAX, optional=True)
        for name in ("size", "frames"):
            check_int(name, made[name])
        return cls(**made)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an execution's state, as its block has it. CIDs are bytes.

    The block is DAG-CBOR. `previous` is no link there, on purpose: a recursive pin of one version
    holds all that is needed to resume from it, and not the versions before.
    """

    subnet: str
    chain: bytes
    """The execution, 16 bytes."""
    epoch: int
    """In which the signer owned the execution."""
    number: int
    """From 0, one more than that of the version before."""
    previous: bytes | None
    at: int
    """UTC ms of the checkpoint's record."""
    node: str
    """did:key of who signed."""
    key: int
    """Number of the data key in the keyring of the node that began the execution."""
    seq: int
    """Number of the checkpoint's record in the chain."""
    head: bytes
    """Hash of that record, 32 bytes."""
    state: bytes
    """Root of the sealed state."""
    history: bytes
    """The segment that ends with that record."""
    flow: bytes
    """Root of the flow's document, sealed like a state."""
    sealed: bytes
    """The summary, sealed."""
    sig: bytes
    """Ed25519, 64 bytes."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a block: canonical, exactly the keys of the format, within their bounds.

        Nothing was verified. Raises ValueError, which says what is wrong.
        """
        if len(data) > VERSION_BYTES_MAX:
            raise ValueError(f"a version of {len(data)} bytes; {VERSION_BYTES_MAX} are allowed")
        made = check_kind(_core.decode(data), KIND, _KEYS)
        _check_fields(made)
        return cls(**made)

    def fields(self) -> dict[str, Any]:
        """Its fields by name; CIDs are bytes."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def _unsealed(self) -> dict[str, Any]:
        made: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        made["v"], made["kind"] = FORMAT, KIND
        return made | {name: _core.Cid(getattr(self, name)) for name in _LINKS}

    def verify(self, signers: Signers) -> None:
        """Return when a node that is trusted here signed all of it. Raises VerificationError."""
        unsigned = {**self._unsealed(), "sealed": self.sealed}
        signers.verify(self.node, _SIGNED + _core.encode(unsigned), self.sig)

    def summary(self, key: _core.SealingKey) -> Summary:
        """Unseal what of it is sealed. Raises VerificationError."""
        text = key.unseal_bytes(self.sealed, bound=_SEALED + _core.encode(self._unsealed()))
        try:
            return Summary.parse(text)
        except ValueError as error:
            raise VerificationError(f"its summary: {error}") from None


_LINKS: Final = ("state", "history", "flow")
_PLAIN: Final = tuple(
    name for name in Version.__struct_fields__ if name not in {*_LINKS, "sealed", "sig"}
)
_KEYS: Final = frozenset({"v", "kind", *Version.__struct_fields__})


def make_version(
    fields: Mapping[str, Any], summary: Summary, key: _core.SealingKey, seed: bytes
) -> bytes:
    """The block of a sealed and signed version. `fields` are all but `sealed` and `sig`.

    Raises ValueError for what `Version.parse` or `Summary.parse` would refuse.
    """
    links = {name: _core.Cid(fields[name]) for name in _LINKS}
    plain: dict[str, Any] = {**fields, **links, "v": FORMAT, "kind": KIND}
    bound = _SEALED + _core.encode(plain)
    plain["sealed"] = key.seal_bytes(summary.encode(), bound=bound)
    plain["sig"] = _core.sign(seed, _SIGNED + _core.encode(plain))
    data = _core.encode(plain)
    Version.parse(data)
    return data


def is_version(data: bytes) -> bool:
    """Whether a block says of itself that it is a version; `Version.parse` tells the rest."""
    # The shortest keys come first in canonical form: `v`, then those of two letters and so on.
    return len(data) <= VERSION_BYTES_MAX and b"dkindkqflow.state" in data[:512]


def _check_fields(made: dict[str, Any]) -> None:
    for name in ("subnet", "node"):
        check_text(name, made[name], 1000)
    for name in ("epoch", "number", "at", "key", "seq"):
        check_int(name, made[name])
    check_bytes("chain", made["chain"], ID_BYTES)
    check_bytes("head", made["head"], HASH_BYTES)
    check_bytes("sig", made["sig"], SIGNATURE_BYTES)
    check_bytes("sealed", made["sealed"], None)
    for name in _LINKS:
        made[name] = check_link(name, made[name])
    _check_previous(made["previous"], made["number"])


def _check_previous(previous: Any, number: int) -> None:
    if (previous is None) != (number == 0):
        raise ValueError("number 0 has no version before it, and every other has")
    if previous is not None:
        check_bytes("previous", previous, None)
        check_link("previous", _core.Cid(previous))
