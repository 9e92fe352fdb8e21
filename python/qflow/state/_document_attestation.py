"""Attestations: members say which snapshot they have made at a cut. Enough equal ones, and the log
before the cut goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple, Self

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._form import FORMAT, ID_BYTES, check_bytes, check_kind, check_link

KIND: Final = "qflow.document.attestation"
BYTES_MAX: Final = 8 << 20
"""A clock has up to 65,536 entries."""
_SIGNED: Final = b"qflow crdt snapshot v1\n"
_KEYS: Final = frozenset({"v", "kind", "doc", "cut", "snapshot", "replica", "sig"})


class Attestation(NamedTuple):
    """A member has made this snapshot at this cut."""

    doc: bytes
    cut: bytes
    """A clock: what the snapshot is made of."""
    snapshot: bytes
    """CID of the snapshot in plain: equal on every replica that has the same operations."""
    replica: bytes
    sig: bytes

    @property
    def says(self) -> tuple[bytes, bytes]:
        """What has to be equal."""
        return self.cut, self.snapshot

    def encode(self) -> bytes:
        """Its bytes for other replicas."""
        return _core.encode(_plain(*self[:4]) | {"sig": self.sig})

    @classmethod
    def made(cls, doc: bytes, cut: bytes, snapshot: bytes, replica: bytes, seed: bytes) -> Self:
        """Sign that this replica has made it."""
        signed = _SIGNED + _core.encode(_plain(doc, cut, snapshot, replica))
        return cls(doc, cut, snapshot, replica, _core.sign(seed, signed))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read and verify it; whether the replica is a member is for the caller to see.

        Raises VerificationError."""
        try:
            if len(data) > BYTES_MAX:
                raise ValueError(f"an attestation of {len(data)} bytes")
            made = check_kind(_core.decode(data), KIND, _KEYS)
            check_bytes("doc", made["doc"], ID_BYTES)
            check_bytes("cut", made["cut"], None)
            check_bytes("replica", made["replica"], 32)
            check_bytes("sig", made["sig"], 64)
            snapshot = check_link("snapshot", made["snapshot"], "raw")
        except ValueError as error:
            raise VerificationError(f"an attestation: {error}") from None
        one = cls(made["doc"], made["cut"], snapshot, made["replica"], made["sig"])
        signed = _SIGNED + _core.encode(_plain(*one[:4]))
        if not _core.verify_signature(one.replica, signed, one.sig):
            raise VerificationError("the signature of an attestation is not good")
        return one


def attested_by(
    attestations: Iterable[Attestation],
    says: tuple[bytes, bytes],
    doc: bytes,
    members: Collection[bytes],
) -> set[bytes]:
    """The members that say this."""
    return {
        one.replica
        for one in attestations
        if one.doc == doc and one.says == says and one.replica in members
    }


def cuts_proposed(attestations: Iterable[Attestation], members: Collection[bytes]) -> list[bytes]:
    """The cuts that members attest, the one that most of them do first: to agree on one, others
    make their snapshot there and not at a cut of their own."""
    counts = Counter(one.cut for one in attestations if one.replica in members)
    return sorted(counts, key=lambda cut: (-counts[cut], cut))


def enough_of(members: Collection[bytes], quorum: int | None) -> int:
    """So many equal ones are enough: a majority (one of one, two of two or three), unless told
    otherwise."""
    if quorum is None:
        return len(members) // 2 + 1
    return max(1, min(quorum, len(members)))


def _plain(doc: bytes, cut: bytes, snapshot: bytes, replica: bytes) -> dict[str, Any]:
    return {
        "v": FORMAT,
        "kind": KIND,
        "doc": doc,
        "cut": cut,
        "snapshot": _core.Cid(snapshot),
        "replica": replica,
    }
