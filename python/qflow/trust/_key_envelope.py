"""Key envelopes: the data key of one execution, wrapped for the subnet and signed, to travel.

docs/formats/keys.md is the page. An envelope is a block of its own that nothing links to, so it
can be removed by itself when what the key sealed is erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from qflow import _core
from qflow.errors import VerificationError

if TYPE_CHECKING:
    from qflow.trust._keyring import Keyring
    from qflow.trust._signers import Signers

KIND: Final = "qflow.key"
ENVELOPE_BYTES_MAX: Final = 1024
SUBNET_BYTES_MAX: Final = 256
_NUMBER_MAX: Final = (1 << 63) - 1
_SIGNED: Final = b"qflow key envelope v1\n"
_WRAPPED: Final = b"QFKE\x01"
_SIGNATURE_BYTES: Final = 64


class Signer(Protocol):
    """Whoever signs an envelope: `NodeKey`."""

    @property
    def seed(self) -> bytes:
        """32 bytes, the private half."""
        ...

    @property
    def did(self) -> str:
        """The did:key."""
        ...


class KeyEnvelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One data key on its way. Its fields are those of the block."""

    v: int = 1
    kind: str = KIND
    subnet: str
    chain: bytes
    """16 bytes, of the execution."""
    number: int
    """Of the data key, in the keyring that it was made in."""
    epoch: int
    """Of the subnet key of `node` that it is wrapped under."""
    node: str
    """The did:key of whoever wrapped it."""
    wrapped: bytes
    sig: bytes = b""

    @property
    def bound(self) -> bytes:
        """What the wrapped key is bound to."""
        return _bound(self.subnet, self.chain, self.number, self.epoch, self.node)

    @property
    def message(self) -> bytes:
        """What `node` signs."""
        fields = msgspec.structs.asdict(self)
        del fields["sig"]
        return _SIGNED + _core.encode(fields)


def make_envelope(
    keys: Keyring,
    signer: Signer,
    *,
    subnet: str,
    chain: bytes,
    number: int,
    epoch: int | None = None,
) -> tuple[bytes, bytes]:
    """The envelope of an execution's data key under the newest subnet key, or that of an earlier
    epoch: (CID, block).

    For one epoch always the same. Raises ErasedError, UnavailableError, SigningKeyError.
    """
    did = signer.did
    epoch, wrapped = keys.rewrapped(
        chain, number, lambda epoch: _bound(subnet, chain, number, epoch, did), epoch
    )
    made = KeyEnvelope(
        subnet=subnet, chain=chain, number=number, epoch=epoch, node=did, wrapped=wrapped
    )
    signed = msgspec.structs.replace(made, sig=_core.sign(signer.seed, made.message))
    block = _core.encode(msgspec.structs.asdict(signed))
    return bytes(_core.cid_of(block)), block


def parse_envelope(block: bytes) -> KeyEnvelope:
    """An envelope, of which nothing but its form is checked. Raises VerificationError."""
    if len(block) > ENVELOPE_BYTES_MAX:
        raise VerificationError(f"a key envelope has at most {ENVELOPE_BYTES_MAX} bytes")
    try:
        fields: Any = _core.decode(block)
        found = msgspec.convert(fields, KeyEnvelope)
    except (ValueError, TypeError) as error:
        raise VerificationError(f"not a key envelope: {error}") from None
    whole = (
        set(fields) == {field.name for field in msgspec.structs.fields(KeyEnvelope)}
        and (found.v, found.kind) == (1, KIND)
        and (len(found.chain), len(found.sig)) == (16, _SIGNATURE_BYTES)
        and len(found.wrapped) == _core.WRAPPED_BYTES
        and 0 <= found.number <= _NUMBER_MAX
        and 0 <= found.epoch < 1 << 32
        and 0 < len(found.subnet.encode()) <= SUBNET_BYTES_MAX
    )
    if not whole:
        raise VerificationError("not a key envelope of a version that is known")
    return found


def open_envelope(block: bytes, keys: Keyring, signers: Signers, *, subnet: str) -> KeyEnvelope:
    """An envelope that a trusted node of this subnet signed and that a known key opens.

    Raises VerificationError (changed, of another subnet, of a stranger), UnavailableError (no
    subnet key that is known here opens it).
    """
    found = parse_envelope(block)
    if found.subnet != subnet:
        raise VerificationError(f"a key of subnet {found.subnet!r:.80}, not of {subnet!r}")
    signers.verify(found.node, found.message, found.sig)
    keys.unwrapped(found.number, found.wrapped, found.bound)
    return found


def _bound(subnet: str, chain: bytes, number: int, epoch: int, node: str) -> bytes:
    return _WRAPPED + _core.encode(
        {"subnet": subnet, "chain": chain, "number": number, "epoch": epoch, "node": node}
    )
