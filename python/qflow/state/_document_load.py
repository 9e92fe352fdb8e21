"""A document read from the disk: every block, seal and signature verified, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._document_form import About, Owner
from qflow.state._document_rows import BlockRow, Row
from qflow.state._document_store import Store, Tail, damaged

if TYPE_CHECKING:
    from qflow._core import CheckedChanges, CrdtDocument


class Loaded(NamedTuple):
    """A document, read from the disk."""

    core: CrdtDocument
    tail: Tail
    about: About
    snapshot: bytes
    waiting: list[CheckedChanges]
    """Changes that what they build on has not reached: in the log, and in no delta."""


class Identity(NamedTuple):
    """Who writes: the node's key as a replica."""

    replica: bytes
    seed: bytes | None
    """None: nobody is there to sign, and nothing is written."""
    hash_key: bytes


def load(store: Store, row: Row, owner: Owner, me: Identity, tail: Tail | None = None) -> Loaded:
    """Read a document as it is now, or as far as `tail`; every block and signature verified.

    Blocks. Raises VerificationError, which names document and block: nothing is believed then;
    ErasedError when it was deleted meanwhile."""
    stored = store.load(row, owner, tail)
    text = b"".join(stored.snapshot)
    if stored.about.cid is None:
        core = _core.CrdtDocument(row.id, replica=me.replica, hash_key=me.hash_key)
    elif bytes(_core.cid_of(text, "raw")) == stored.about.cid:
        core = _core.CrdtDocument.load(text, replica=me.replica, hash_key=me.hash_key)
    else:
        raise VerificationError(f"document {row.name}: its snapshot is another one than its base's")
    base = stored.base
    packs = store.packs(row, owner, stored.blocks, base.cid)
    waiting = replay(core, row, stored.blocks, packs)
    read = Tail(base.cid, base.number, base.number).with_blocks(stored.blocks)
    return Loaded(core, read, stored.about, text, waiting)


def replay(
    core: CrdtDocument, row: Row, blocks: Sequence[BlockRow], packs: Iterable[Sequence[bytes]]
) -> list[CheckedChanges]:
    """Apply the changes in blocks of a document's log, of which these are the packs of each; those
    that still wait. Raises VerificationError, as `load`."""
    held: list[CheckedChanges] = []
    for block, some in zip(blocks, packs, strict=True):
        for pack in some:
            try:
                checked = _core.check_changes(pack, doc=row.id, members=None)
            except ValueError as error:
                raise damaged(row, block, f": {error}") from None
            if checked.refused:
                raise damaged(row, block, f": {checked.refused[0][1]}")
            # What the graph refuses it refused when it came: it was never part of the document.
            if core.apply(checked).waiting:
                held.append(checked)
    left = [one.only([c for c in one.cids if not core.knows_change(c)]) for one in held]
    return [one for one in left if len(one)]
