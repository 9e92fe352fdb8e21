"""The index of versions: rows in `state.db`, made again from the version blocks when it is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

import msgspec

from qflow.errors import CorruptError
from qflow.state._saved import Saved

T = TypeVar("T")

FORMAT: Final = 1
"""Of these tables: others are dropped and made anew."""

_COLUMNS: Final = Saved.__struct_fields__
_SELECT: Final = (
    "SELECT cid, chain, flow, number, epoch, at, seq, head, state, size, frames, status, why, node,"
    " previous, label, description FROM state_version "
)
_INSERT: Final = (
    "INSERT OR IGNORE INTO state_version (cid, chain, flow, number, epoch, at, seq, head, state,"
    " size, frames, status, why, node, previous, label, description)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_TABLES: Final = (
    # In the order of `history`; each further index costs a checkpoint some pages to write.
    """CREATE TABLE state_version (
  cid BLOB NOT NULL, chain BLOB NOT NULL, flow TEXT NOT NULL, number INTEGER NOT NULL,
  epoch INTEGER NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL,
  state BLOB NOT NULL, size INTEGER NOT NULL, frames INTEGER NOT NULL, status TEXT NOT NULL,
  why TEXT NOT NULL, node TEXT NOT NULL, previous BLOB, label TEXT, description TEXT,
  PRIMARY KEY (chain, epoch, seq, number, cid)
) STRICT, WITHOUT ROWID""",
    "CREATE UNIQUE INDEX state_version_cid ON state_version (cid)",
    "CREATE INDEX state_version_at ON state_version (at, cid)",
    "CREATE INDEX state_version_label ON state_version (label) WHERE label IS NOT NULL",
    """CREATE TABLE state_head (
  chain BLOB PRIMARY KEY, cid BLOB NOT NULL, number INTEGER NOT NULL, epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL, head BLOB NOT NULL, history BLOB NOT NULL, flow BLOB NOT NULL,
  chosen INTEGER NOT NULL, name TEXT NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE TABLE state_index (format INTEGER NOT NULL) STRICT",
)
_DROPPED: Final = ("state_version", "state_head", "state_index")


class Head(NamedTuple):
    """What the next version of a chain has to follow."""

    chain: bytes
    cid: bytes
    number: int
    epoch: int
    seq: int
    head: bytes
    history: bytes
    flow: bytes
    """Root of the sealed document."""
    chosen: bool = False
    """An execution was continued from it on purpose: newer ones of its epoch do not replace it."""

    @property
    def order(self) -> tuple[int, int, int]:
        """Of two heads the one with the greater order is the newer."""
        return self.epoch, self.seq, self.number

    def gives_way_to(self, other: Head) -> bool:
        """Whether another one takes its place when it comes from elsewhere."""
        return other.epoch > self.epoch if self.chosen else other.order > self.order


_HEADLESS: Final = """SELECT EXISTS (
  SELECT 1 FROM state_version AS version WHERE NOT EXISTS (
    SELECT 1 FROM state_head AS head WHERE head.chain = version.chain)
) OR EXISTS (
  SELECT 1 FROM state_head AS head WHERE NOT EXISTS (
    SELECT 1 FROM state_version AS version WHERE version.cid = head.cid))"""


def is_whole(db: sqlite3.Connection) -> bool:
    """Whether the tables are there, in the format of this release, and each chain has its head."""
    found = "SELECT count(*) FROM sqlite_schema WHERE name IN (?, ?, ?)"
    if db.execute(found, _DROPPED).fetchone() != (len(_DROPPED),):
        return False
    if db.execute("SELECT format FROM state_index").fetchall() != [(FORMAT,)]:
        return False
    (is_headless,) = db.execute(_HEADLESS).fetchone()
    return not is_headless


def create(db: sqlite3.Connection) -> None:
    """Make the tables, empty, whatever was there."""
    for table in _DROPPED:
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _TABLES:
        db.execute(statement)
    db.execute("INSERT INTO state_index VALUES (?)", (FORMAT,))


def put_version(db: sqlite3.Connection, saved: Saved) -> bool:
    """Add a row; False when it is there."""
    return db.execute(_INSERT, msgspec.structs.astuple(saved)).rowcount > 0


def put_head(db: sqlite3.Connection, head: Head, name: str) -> None:
    """Set the newest version of a chain, and the name of its flow."""
    statement = "INSERT OR REPLACE INTO state_head VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    db.execute(statement, (*head, name))


def drop_version(db: sqlite3.Connection, cid: bytes) -> None:
    """Remove a row."""
    db.execute("DELETE FROM state_version WHERE cid = ?", (cid,))


def drop_head(db: sqlite3.Connection, chain: bytes) -> None:
    """Forget which version of a chain is the newest."""
    db.execute("DELETE FROM state_head WHERE chain = ?", (chain,))


def head_of(db: sqlite3.Connection, chain: bytes) -> Head | None:
    """What the next version of a chain has to follow; None when it has none."""
    row = db.execute("SELECT * FROM state_head WHERE chain = ?", (chain,)).fetchone()
    return None if row is None else _whole((*row[:-2], bool(row[-2])), Head)


def heads_of(db: sqlite3.Connection, chains: Iterable[bytes]) -> dict[bytes, Head]:
    """The heads of those chains that have one."""
    found = {chain: head_of(db, chain) for chain in chains}
    return {chain: head for chain, head in found.items() if head is not None}


def version_of(db: sqlite3.Connection, cid: bytes) -> Saved | None:
    """The row of a version."""
    rows = select(db, "WHERE cid = ?", (cid,))
    return rows[0] if rows else None


def newest_of(db: sqlite3.Connection, chain: bytes) -> Saved | None:
    """The row of a chain's newest version."""
    rows = select(db, "WHERE cid = (SELECT cid FROM state_head WHERE chain = ?)", (chain,))
    return rows[0] if rows else None


def versions_of(db: sqlite3.Connection, chain: bytes) -> list[Saved]:
    """All rows of a chain, the newest first."""
    return select(db, "WHERE chain = ? ORDER BY epoch DESC, seq DESC, number DESC", (chain,))


def line_of(db: sqlite3.Connection, chain: bytes) -> list[Saved]:
    """All rows of a chain, in the order in which they are worth keeping: the head and those before
    it, the newest first, and behind them those that were left when an older one was restored.

    A version that was deleted leaves a gap, over which numbers lead: what was left behind has a
    number that the line has, too.
    """
    rows = versions_of(db, chain)
    head = head_of(db, chain)
    if head is None:
        return rows
    by_cid = {row.cid: row for row in rows}
    line: list[Saved] = []
    at, number, seq = by_cid.get(head.cid), head.number, head.seq
    while at is not None:
        line.append(at)
        del by_cid[at.cid]
        number, seq = at.number, at.seq
        before = by_cid.get(at.previous or b"")
        if before is None:
            older = (row for row in by_cid.values() if row.number < number and row.seq < seq)
            before = max(older, key=lambda row: (row.epoch, row.number), default=None)
        at = before
    return line + list(by_cid.values())


def cids(db: sqlite3.Connection) -> set[bytes]:
    """Every version that is listed."""
    return {_whole(cid, bytes) for (cid,) in db.execute("SELECT cid FROM state_version")}


def chains(db: sqlite3.Connection) -> list[bytes]:
    """Every chain that has versions, the oldest execution first."""
    rows = db.execute("SELECT DISTINCT chain FROM state_version ORDER BY chain")
    return [_whole(chain, bytes) for (chain,) in rows]


def count(db: sqlite3.Connection) -> tuple[int, int]:
    """How many versions there are, and of how many chains."""
    (versions,) = db.execute("SELECT count(*) FROM state_version").fetchone()
    (heads,) = db.execute("SELECT count(*) FROM state_head").fetchone()
    return versions, heads


def select(db: sqlite3.Connection, rest: str, values: Iterable[object]) -> list[Saved]:
    """The rows of a query, whose part behind FROM is `rest`."""
    rows = db.execute(_SELECT + rest, tuple(values))
    return [_whole(dict(zip(_COLUMNS, row, strict=True)), Saved) for row in rows]


def _whole(row: object, kind: type[T]) -> T:
    """A row whose columns have their types: in a damaged file they may not."""
    try:
        return msgspec.convert(row, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise CorruptError(
            f"state.db is damaged: a row of its list of versions: {error}. Stop the node and move"
            " the file away: executions go on from the log"
        ) from None
