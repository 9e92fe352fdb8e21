"""Versions let go: pins released here and wanted released elsewhere, rows and blocks gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from qflow import _core
from qflow.state import _index
from qflow.state._commit import head_of
from qflow.state._ports import Pins
from qflow.state._saved import Removed, Saved
from qflow.state._version import Version
from qflow.storage import SqliteBlocks


def remove(
    db: sqlite3.Connection, store: SqliteBlocks, pins: Pins | None, versions: Sequence[Saved]
) -> tuple[Removed, list[bytes]]:
    """Remove versions within a transaction; what went, and the CIDs of its blocks.

    Blocks that another version holds stay. When the head goes, the next one of its line becomes it.
    """
    lines = {chain: _index.line_of(db, chain) for chain in {saved.chain for saved in versions}}
    gone: list[tuple[bytes, int]] = []
    for saved in versions:
        store.unpin_block(db, saved.cid)
        if pins is not None:
            pins.want_unpin(db, saved.cid)
        _index.drop_version(db, saved.cid)
        gone += _drop(db, store, saved.cid)
    for chain, line in lines.items():
        settle_head(db, store, chain, line)
    removed = Removed(len(versions), len(gone), sum(size for _, size in gone))
    return removed, [cid for cid, _ in gone]


def surplus(line: Sequence[Saved], keep: int, *, labelled: bool) -> list[Saved]:
    """What a pruning takes of a line (see `line_of`): all but the newest `keep` without a label.

    Those with a label stay, and count for nothing; with `labelled` they are as the others."""
    counted = [saved for saved in line if labelled or saved.label is None]
    return counted[keep:]


def settle_head(
    db: sqlite3.Connection, store: SqliteBlocks, chain: bytes, line: Sequence[Saved]
) -> None:
    """Make the first version of its line (see `line_of`) that is kept and can be read the head of a
    chain, unless the head is still there."""
    head = _index.head_of(db, chain)
    if head is not None and _index.version_of(db, head.cid) is not None:
        return
    _index.drop_head(db, chain)
    for saved in line:
        if _index.version_of(db, saved.cid) is None:
            continue
        (data,) = store.load_blocks(db, [saved.cid])
        if data is not None and bytes(_core.cid_of(data)) == saved.cid:
            version = Version.parse(data)
            chosen = head is not None and head.chosen
            made = head_of(saved.cid, version.fields())._replace(chosen=chosen)
            _index.put_head(db, made, saved.flow)
            return


def _drop(db: sqlite3.Connection, store: SqliteBlocks, root: bytes) -> list[tuple[bytes, int]]:
    """Delete a block and what is beneath it, as far as no pin holds it; each with its bytes.

    Only what this version held: blocks that nobody has pinned yet may be part of an import.
    """
    due, gone = [root], list[tuple[bytes, int]]()
    while due:
        cid = due.pop()
        (data,) = store.load_blocks(db, [cid])
        try:
            store.delete_blocks(db, [cid])
        except ValueError:
            continue
        if data is not None:
            gone.append((cid, len(data)))
            due += _links(cid, data)
    return gone


def _links(cid: bytes, data: bytes) -> list[bytes]:
    try:
        return _core.block_links(cid, data)
    except ValueError:  # damaged: what it held is garbage that a collection finds
        return []
