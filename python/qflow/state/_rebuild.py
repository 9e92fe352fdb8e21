"""The index, made again from the version blocks that are pinned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from qflow import _core
from qflow.diagnostics import logger
from qflow.errors import ErasedError, QflowError, UnavailableError
from qflow.state import _index
from qflow.state._commit import head_of, saved_of
from qflow.state._index import Head
from qflow.state._reader import Reader, name_of
from qflow.state._saved import Saved
from qflow.state._version import Summary, is_version
from qflow.storage import SqliteBlocks

_DAG_CBOR: Final = b"\x01\x71"
"""How a CIDv1 of that codec begins."""
SEALED: Final = Summary(flow="", why="", size=0, frames=0, status="sealed")
"""What is shown of a version whose key is not here."""

_log = logger("qflow.state")

Row = tuple[Saved, Head]


def pinned(db: sqlite3.Connection) -> list[bytes]:
    """The pinned blocks that may be versions."""
    found = db.execute("SELECT cid FROM pin ORDER BY cid")
    return [cid for (cid,) in found if isinstance(cid, bytes)]


def rows_of(reader: Reader, store: SqliteBlocks, cids: Iterable[bytes]) -> dict[bytes, Row]:
    """The rows of those pinned blocks that are versions and verify. Others are said in the log."""
    made: dict[bytes, Row] = {}
    for cid in cids:
        try:
            row = _row(reader, store, cid)
        except QflowError as error:
            _log.warning("a pinned version is not believed", cid=name_of(cid), why=str(error))
            continue
        if row is not None:
            made[cid] = row
    return made


def is_pinned_version(store: SqliteBlocks, cid: bytes) -> bool | None:
    """Whether a pinned block says of itself that it is a version; None when it is missing or
    damaged, so that nobody knows."""
    if cid[:2] != _DAG_CBOR:
        return False
    (data,) = store.database.read(lambda db: store.load_blocks(db, [cid]))
    if data is None or not _core.check_blocks([(cid, data)])[0]:
        return None
    return is_version(data)


def _row(reader: Reader, store: SqliteBlocks, cid: bytes) -> Row | None:
    if is_pinned_version(store, cid) is False:
        return None
    version = reader.version(cid)
    try:
        saved = reader.open(cid).saved
    except (ErasedError, UnavailableError):
        saved = saved_of(cid, version.fields(), SEALED)
    return saved, head_of(cid, version.fields())


def write(db: sqlite3.Connection, rows: Iterable[Row]) -> int:
    """Make the tables anew with these rows; how many there are."""
    _index.create(db)
    heads: dict[bytes, Row] = {}
    count = 0
    for saved, head in rows:
        _index.put_version(db, saved)
        known = heads.get(head.chain)
        if known is None or head.order > known[1].order:
            heads[head.chain] = saved, head
        count += 1
    for saved, head in heads.values():
        _index.put_head(db, head, saved.flow)
    return count
