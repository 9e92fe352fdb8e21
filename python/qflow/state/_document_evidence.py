"""Evidence of equivocation, kept on the disk: sealed, for it has what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from qflow import _core
from qflow.errors import VerificationError
from qflow.state import _document_rows as rows
from qflow.state._document_form import Owner

_SEALED: Final = b"QFDE\x01"
_DIGEST: Final = "qflow v1 crdt evidence"


class Evidence(NamedTuple):
    """Changes of one replica that follow the same one, each with its signature: two or more."""

    replica: bytes
    changes: tuple[bytes, ...]
    """CIDs, sorted."""
    proofs: tuple[tuple[bytes, bytes], ...]
    """Body and signature of each."""

    @property
    def digest(self) -> bytes:
        """Names it: 32 bytes."""
        return _core.derive_key(_DIGEST, b"".join([self.replica, *self.changes]))

    def keep(self, number: int, owner: Owner, db: sqlite3.Connection) -> bool:
        """Within a transaction; False when it is here, or the bound is reached."""
        fields = [self.replica, list(self.changes), [list(proof) for proof in self.proofs]]
        bound = _SEALED + owner.doc + self.digest
        sealed = owner.key.seal_bytes(_core.encode(fields), bound=bound)
        return rows.put_evidence(db, number, self.digest, sealed)


def evidence_in(pack: bytes, doc: bytes) -> Evidence:
    """The evidence in a pack of such changes."""
    checked = _core.check_changes(pack, doc=doc, members=None)
    proofs = dict(sorted(zip(checked.cids, checked.bodies, strict=True)))
    replica = _core.decode(next(iter(proofs.values()))[0])["replica"]
    return Evidence(replica, tuple(proofs), tuple(proofs.values()))


def unsealed(found: Sequence[tuple[bytes, bytes]], owner: Owner) -> list[Evidence]:
    """What is kept of a document. Raises VerificationError."""
    made = []
    for digest, sealed in found:
        text = owner.key.unseal_bytes(sealed, bound=_SEALED + owner.doc + digest)
        replica, changes, proofs = _core.decode(text)
        one = Evidence(replica, tuple(changes), tuple((body, sig) for body, sig in proofs))
        if one.digest != digest:
            raise VerificationError("evidence of an equivocation is another one than it says")
        made.append(one)
    return made
