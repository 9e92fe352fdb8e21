"""A whole document as bytes for another replica: its snapshot, who attests it, and its changes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple, Self

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._document_attestation import Attestation, attested_by, enough_of
from qflow.state._form import FORMAT, ID_BYTES, check_bytes, check_kind, check_text

KIND: Final = "qflow.document.export"
EXPORT_BYTES_MAX: Final = 1 << 30
LIST_MAX: Final = 65_536
_KEYS: Final = frozenset({"v", "kind", "subnet", "doc", "cut", "snapshot", "attestations", "packs"})


class Exported(NamedTuple):
    """A document, in plain. The changes are signed, the snapshot is attested."""

    subnet: str
    doc: bytes
    cut: bytes | None
    """The clock of the snapshot; None: there is none, and all changes are in the packs."""
    snapshot: bytes
    attestations: list[bytes]
    packs: list[bytes]

    def encode(self) -> bytes:
        """Its bytes."""
        return _core.encode({"v": FORMAT, "kind": KIND} | self._asdict())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read its form; nothing was verified. Raises ValueError."""
        if len(data) > EXPORT_BYTES_MAX:
            raise ValueError(f"an export of {len(data)} bytes")
        made: dict[str, Any] = check_kind(_core.decode(data), KIND, _KEYS)
        check_text("subnet", made["subnet"], 1000)
        check_bytes("doc", made["doc"], ID_BYTES)
        if made["cut"] is not None:
            check_bytes("cut", made["cut"], None)
        check_bytes("snapshot", made["snapshot"], None)
        for name in ("attestations", "packs"):
            if not isinstance(made[name], list) or len(made[name]) > LIST_MAX:
                raise ValueError(f"{name} is not a list of at most {LIST_MAX}")
            for item in made[name]:
                check_bytes(name, item, None)
        return cls(**made)

    def check(self, subnet: str, doc: bytes) -> None:
        """Raise VerificationError when it is of another document."""
        if (self.subnet, self.doc) != (subnet, doc):
            raise VerificationError("it is an export of another document")

    def check_attested(self, members: Collection[bytes], me: bytes, quorum: int | None) -> bytes:
        """The CID of the snapshot, when enough of the members other than this replica attest it.

        Raises VerificationError."""
        cid = bytes(_core.cid_of(self.snapshot, "raw"))
        others = set(members) - {me}
        said = [Attestation.parse(data) for data in self.attestations]
        have = attested_by(said, (self.cut or b"", cid), self.doc, others)
        wanted = enough_of(others, quorum)
        if len(have) < wanted:
            raise VerificationError(
                f"{len(have)} of {wanted} members attest the snapshot {_core.Cid(cid)}"
            )
        return cid
