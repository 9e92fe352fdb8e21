"""The tables of documents in `state.db`: which there are, and the blocks of each in their order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from qflow.errors import CorruptError, ErasedError, StaleError
from qflow.state._document_words import ALIVE, Listed

TABLES: Final = (
    """CREATE TABLE document (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL, key INTEGER NOT NULL, created_ms INTEGER NOT NULL,
  head BLOB NOT NULL, published BLOB
) STRICT""",
    # The base is the one with the least number.
    """CREATE TABLE document_block (
  document INTEGER NOT NULL, number INTEGER NOT NULL, cid BLOB NOT NULL, size INTEGER NOT NULL,
  operations INTEGER NOT NULL, PRIMARY KEY (document, number)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE document_operation (
  document INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (document, digest)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE document_attestation (
  document INTEGER NOT NULL, replica BLOB NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (document, replica)
) STRICT, WITHOUT ROWID""",
    # Sealed: the changes in it have what was written.
    """CREATE TABLE document_evidence (
  document INTEGER NOT NULL, digest BLOB NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (document, digest)
) STRICT, WITHOUT ROWID""",
    # Heads of chains that nobody needs any more: they are let go a piece at a time.
    "CREATE TABLE document_release (cid BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
)
EVIDENCE_MAX: Final = 1024
"""Kept of a document's equivocations; further ones are the same replicas' as a rule."""
_OF_ONE: Final = (
    "document_block",
    "document_operation",
    "document_attestation",
    "document_evidence",
)


class Row(NamedTuple):
    """A document."""

    number: int
    """Of the row: names the document in the other tables."""
    id: bytes
    name: str
    state: str
    key: int
    """Number of the data key."""
    created_ms: int
    head: bytes
    """CID of the last block; what is pinned."""
    published: bytes | None
    """The head that other stores have, or are to have."""


class BlockRow(NamedTuple):
    """A block of a document."""

    number: int
    cid: bytes
    size: int
    operations: int


_SELECT: Final = "SELECT number, id, name, state, key, created_ms, head, published FROM document"


def row_of(db: sqlite3.Connection, doc: bytes) -> Row | None:
    """The row of a document; None when there is none."""
    rows = _rows(db, "WHERE id = ?", (doc,))
    return rows[0] if rows else None


def rows(db: sqlite3.Connection) -> list[Row]:
    """All documents, by name."""
    return _rows(db, "ORDER BY name", ())


def listed(db: sqlite3.Connection) -> list[Listed]:
    """All documents by name, with what lies behind their bases."""
    query = (
        "SELECT d.id, d.name, d.state, d.created_ms, count(b.number) - 1,"
        " coalesce(sum(b.size), 0), coalesce(sum(b.operations), 0)"
        " FROM document AS d LEFT JOIN document_block AS b ON b.document = d.number"
        " GROUP BY d.number ORDER BY d.name"
    )
    return [
        Listed(
            id=doc, name=name, state=state, created_ms=created, blocks=max(0, blocks),
            size_bytes=size, operations=operations,
        )
        for doc, name, state, created, blocks, size, operations in db.execute(query)
    ]  # fmt: skip


def insert(db: sqlite3.Connection, row: Row, base: BlockRow) -> Row:
    """Add a document with its base. The number of the row is given here."""
    statement = (
        "INSERT INTO document (id, name, state, key, created_ms, head) VALUES (?, ?, ?, ?, ?, ?)"
    )
    cursor = db.execute(statement, row[1:7])
    made = row._replace(number=cursor.lastrowid or 0)
    put_blocks(db, made.number, [base])
    return made


def put_blocks(db: sqlite3.Connection, number: int, blocks: Iterable[BlockRow]) -> None:
    """List blocks of a document."""
    db.executemany(
        "INSERT INTO document_block VALUES (?, ?, ?, ?, ?)", [(number, *block) for block in blocks]
    )


def blocks_of(db: sqlite3.Connection, number: int, after: int = -1) -> list[BlockRow]:
    """The blocks of a document behind a number, in order."""
    query = (
        "SELECT number, cid, size, operations FROM document_block"
        " WHERE document = ? AND number > ? ORDER BY number"
    )
    return [BlockRow(*row) for row in db.execute(query, (number, after))]


def drop_blocks(db: sqlite3.Connection, number: int) -> None:
    """Forget which blocks a document has."""
    db.execute("DELETE FROM document_block WHERE document = ?", (number,))


def set_head(db: sqlite3.Connection, number: int, head: bytes) -> None:
    """The last block is another one."""
    db.execute("UPDATE document SET head = ? WHERE number = ?", (head, number))


def set_state(db: sqlite3.Connection, number: int, state: str) -> None:
    """The document is being erased, or is."""
    db.execute("UPDATE document SET state = ? WHERE number = ?", (state, number))


def forget(db: sqlite3.Connection, number: int) -> None:
    """Forget all of a document but its row: the name stays taken."""
    for table in _OF_ONE:
        db.execute(f"DELETE FROM {table} WHERE document = ?", (number,))  # noqa: S608


def alive(db: sqlite3.Connection, doc: bytes) -> Row:
    """The row of a document that was not deleted. Raises ErasedError."""
    row = row_of(db, doc)
    if row is None or row.state != ALIVE:
        raise ErasedError("the document was deleted")
    return row


def checked_head(db: sqlite3.Connection, doc: bytes, expected: bytes) -> Row:
    """The row of a document that is as its owner knows it. Raises ErasedError, StaleError."""
    row = alive(db, doc)
    if row.head != expected:
        raise StaleError(f"another process has written document {row.name}: read it again")
    return row


# -- operation ids -------------------------------------------------------------------------


def take_operation(db: sqlite3.Connection, number: int, digest: bytes) -> bool:
    """Note an operation; False when it is known."""
    statement = "INSERT OR IGNORE INTO document_operation VALUES (?, ?)"
    return db.execute(statement, (number, digest)).rowcount > 0


# -- attestations and evidence -------------------------------------------------------------


def put_attestation(db: sqlite3.Connection, number: int, replica: bytes, data: bytes) -> None:
    """Keep the last attestation of a replica."""
    statement = "INSERT OR REPLACE INTO document_attestation VALUES (?, ?, ?)"
    db.execute(statement, (number, replica, data))


def attestations_of(db: sqlite3.Connection, number: int) -> list[bytes]:
    """The last attestation of each replica."""
    query = "SELECT data FROM document_attestation WHERE document = ? ORDER BY replica"
    return [data for (data,) in db.execute(query, (number,))]


def put_evidence(db: sqlite3.Connection, number: int, digest: bytes, sealed: bytes) -> bool:
    """Keep what shows an equivocation; False when it is here, or EVIDENCE_MAX are."""
    (count,) = db.execute(
        "SELECT count(*) FROM document_evidence WHERE document = ?", (number,)
    ).fetchone()
    if count >= EVIDENCE_MAX:
        return False
    statement = "INSERT OR IGNORE INTO document_evidence VALUES (?, ?, ?)"
    return db.execute(statement, (number, digest, sealed)).rowcount > 0


def evidence_of(db: sqlite3.Connection, number: int) -> list[tuple[bytes, bytes]]:
    """What is kept of equivocations: digest and sealed bytes."""
    query = "SELECT digest, sealed FROM document_evidence WHERE document = ? ORDER BY digest"
    return db.execute(query, (number,)).fetchall()


# -- what is let go ------------------------------------------------------------------------


def want_release(db: sqlite3.Connection, cid: bytes) -> None:
    """A chain of blocks is to be let go from this one down. It has a pin."""
    db.execute("INSERT OR IGNORE INTO document_release VALUES (?)", (cid,))


def releases(db: sqlite3.Connection) -> list[bytes]:
    """What is to be let go."""
    return [cid for (cid,) in db.execute("SELECT cid FROM document_release")]


def is_wanted_release(db: sqlite3.Connection, cid: bytes) -> bool:
    """Whether this is still to be let go: another process may have done it."""
    query = "SELECT 1 FROM document_release WHERE cid = ?"
    return db.execute(query, (cid,)).fetchone() is not None


def released(db: sqlite3.Connection, cid: bytes) -> None:
    """It was let go."""
    db.execute("DELETE FROM document_release WHERE cid = ?", (cid,))


# -- publishing ----------------------------------------------------------------------------


def unpublished(db: sqlite3.Connection, limit: int) -> list[Row]:
    """Documents whose last block other stores are not to have yet."""
    where = "WHERE state = ? AND published IS NOT head ORDER BY number LIMIT ?"
    return _rows(db, where, (ALIVE, limit))


def set_published(db: sqlite3.Connection, number: int, cid: bytes | None) -> None:
    """Other stores are to have this block of the document, and all beneath it."""
    db.execute("UPDATE document SET published = ? WHERE number = ?", (cid, number))


def _rows(db: sqlite3.Connection, rest: str, values: Sequence[object]) -> list[Row]:
    found = db.execute(f"{_SELECT} {rest}", tuple(values))
    try:
        return [msgspec.convert(row, Row, builtin_types=(bytes,)) for row in found]
    except msgspec.ValidationError as error:
        raise CorruptError(f"state.db is damaged: its list of documents: {error}") from None
