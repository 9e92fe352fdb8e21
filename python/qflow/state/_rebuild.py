"""The index, made again from the version blocks that are pinned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from qflow import _core, model
from qflow.diagnostics import logger
from qflow.errors import ErasedError, QflowError, UnavailableError
from qflow.state import _index
from qflow.state._commit import PIN_NAME, head_of, saved_of
from qflow.state._index import Head
from qflow.state._ports import Pins
from qflow.state._reader import Reader, name_of
from qflow.state._saved import Refused, Saved
from qflow.state._version import Summary, is_version
from qflow.storage import SqliteBlocks

_DAG_CBOR: Final = b"\x01\x71"
"""How a CIDv1 of that codec begins."""
SEALED: Final = Summary(flow="", why="", size=0, frames=0, status="sealed")
"""What is shown of a version whose key is not here."""

_log = logger("qflow.state")

Row = tuple[Saved, Head]


class Unlisted(NamedTuple):
    """A pin of a version that the index does not list."""

    cid: bytes
    number: int


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


def rebuild(reader: Reader, store: SqliteBlocks) -> int:
    """Make the index anew from what is pinned; gives how many versions there are."""
    rows: dict[bytes, Row | None] = {}

    def job(db: sqlite3.Connection) -> int | None:
        cids = pinned(db)
        if any(cid not in rows for cid in cids):
            return None  # pinned meanwhile; a bad block is marked by a write of its own
        return write(db, [row for cid in cids if (row := rows[cid]) is not None])

    while True:
        new = [cid for cid in store.database.read(pinned) if cid not in rows]
        found = rows_of(reader, store, new)
        rows |= {cid: found.get(cid) for cid in new}
        if (count := store.database.write(job)) is not None:
            return count


def unlisted(db: sqlite3.Connection) -> dict[bytes, list[Unlisted]]:
    """By chain, the pins that are named as those of versions and that the index does not list: it
    was made anew while they could not be read, or not believed."""
    query = (
        "SELECT cid, name FROM pin WHERE name GLOB ? AND NOT EXISTS"
        " (SELECT 1 FROM state_version WHERE state_version.cid = pin.cid)"
    )
    found: dict[bytes, list[Unlisted]] = {}
    for cid, name in db.execute(query, (f"{PIN_NAME}/*/*",)):
        _, execution, number = name.split("/", 2)
        with suppress(ValueError):  # a name by others
            found.setdefault(model.id_bytes(execution), []).append(Unlisted(cid, int(number)))
    return found


def still_unlisted(
    db: sqlite3.Connection, chain: bytes, ones: Iterable[Unlisted], newer_than: int
) -> list[Refused]:
    """What is to be said of those, the newest first."""
    why = "it is pinned, but not listed: it could not be read, or somebody took it off the list"
    return [
        Refused(one.cid, why, chain)
        for one in sorted(ones, key=lambda one: -one.number)
        if one.number > newer_than and _is_unlisted(db, one.cid)
    ]


def _is_unlisted(db: sqlite3.Connection, cid: bytes) -> bool:
    pinned = db.execute("SELECT 1 FROM pin WHERE cid = ?", (cid,)).fetchone()
    return pinned is not None and _index.version_of(db, cid) is None


def release(
    db: sqlite3.Connection, store: SqliteBlocks, pins: Pins | None, ones: Iterable[Unlisted]
) -> None:
    """Let go of the pins of those that are still not listed, here and at every endpoint."""
    for one in ones:
        if _is_unlisted(db, one.cid):
            store.unpin_block(db, one.cid)
            if pins is not None:
                pins.want_unpin(db, one.cid)


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
