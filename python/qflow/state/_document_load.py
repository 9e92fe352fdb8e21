"""A document read from the disk: every block, seal and signature verified, or nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._document_form import About, Owner
from qflow.state._document_rows import BlockRow, Row
from qflow.state._document_store import Store

if TYPE_CHECKING:
    from qflow._core import CrdtDocument


class Tail(NamedTuple):
    """Where the log of a document ends, and what lies behind its base."""

    head: bytes
    number: int
    """Of the last block."""
    base: int
    """Number of the base."""
    blocks: int = 0
    size_bytes: int = 0
    operations: int = 0

    def with_blocks(self, new: Sequence[BlockRow]) -> Tail:
        """With blocks added at the end."""
        if not new:
            return self
        return Tail(
            new[-1].cid,
            new[-1].number,
            self.base,
            self.blocks + len(new),
            self.size_bytes + sum(block.size for block in new),
            self.operations + sum(block.operations for block in new),
        )


class Loaded(NamedTuple):
    """A document, read from the disk."""

    core: CrdtDocument
    tail: Tail
    about: About
    snapshot: bytes


class Identity(NamedTuple):
    """Who writes: the node's key as a replica."""

    replica: bytes
    seed: bytes | None
    """None: nobody is there to sign, and nothing is written."""
    hash_key: bytes


def load(store: Store, row: Row, owner: Owner, me: Identity, upto: int | None = None) -> Loaded:
    """Read a document, up to the number of its last block; every block and signature verified.

    Blocks. Raises VerificationError, which names document and block: nothing is believed then."""
    stored = store.load(row, owner, upto)
    text = b"".join(stored.snapshot)
    if stored.about.cid is None:
        core = _core.CrdtDocument(row.id, replica=me.replica, hash_key=me.hash_key)
    elif bytes(_core.cid_of(text, "raw")) == stored.about.cid:
        core = _core.CrdtDocument.load(text, replica=me.replica, hash_key=me.hash_key)
    else:
        raise VerificationError(f"document {row.name}: its snapshot is another one than its base's")
    replay(core, store, row, owner, stored.blocks, stored.base.cid)
    base = stored.base
    tail = Tail(base.cid, base.number, base.number).with_blocks(stored.blocks)
    return Loaded(core, tail, stored.about, text)


def replay(
    core: CrdtDocument,
    store: Store,
    row: Row,
    owner: Owner,
    blocks: Sequence[BlockRow],
    before: bytes,
) -> None:
    """Apply the changes in blocks of a document's log. Raises VerificationError, as `load`."""
    for block, packs in zip(blocks, store.packs(row, owner, blocks, before), strict=True):
        for pack in packs:
            try:
                checked = _core.check_changes(pack, doc=row.id, members=None)
            except ValueError as error:
                raise damaged(row, block, str(error)) from None
            if checked.refused:
                raise damaged(row, block, checked.refused[0][1])
            # What the graph refuses it refused when it came: it was never part of the document.
            core.apply(checked)


def damaged(row: Row, block: BlockRow, why: str) -> VerificationError:
    """Why a document stays closed."""
    return VerificationError(f"document {row.name}: block {_core.Cid(block.cid)}: {why}")
