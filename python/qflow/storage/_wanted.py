"""The outbox's tables in `state.db`: what each endpoint still has to pin, release and remove."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

Kind = Literal["pin", "unpin", "remove", "key"]

TABLES: Final = (
    """CREATE TABLE outbox_endpoint (
  number INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, peer TEXT, version TEXT,
  problem TEXT, since_ms INTEGER, lies INTEGER NOT NULL, bad_until_ms INTEGER NOT NULL
) STRICT""",
    # The subject is a CID, or the chain whose key it is. The stamp says whether a row is still the
    # one that was read: what is wanted may change while an endpoint is busy with it.
    """CREATE TABLE outbox (
  endpoint INTEGER NOT NULL, subject BLOB NOT NULL, kind TEXT NOT NULL, stamp INTEGER NOT NULL,
  since_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, tries INTEGER NOT NULL, problem TEXT,
  PRIMARY KEY (endpoint, subject)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX outbox_order ON outbox (endpoint, kind, since_ms)",
    """CREATE TABLE outbox_key (
  chain BLOB PRIMARY KEY, erased INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    # Written before an envelope is first sent: it can be removed after its key is gone.
    """CREATE TABLE outbox_envelope (
  chain BLOB NOT NULL, cid BLOB NOT NULL, PRIMARY KEY (chain, cid)
) STRICT, WITHOUT ROWID""",
)

_WANT: Final = """INSERT OR REPLACE INTO outbox
SELECT number, ?, ?, random(), ?, 0, 0, NULL FROM outbox_endpoint"""
_FILL: Final = "INSERT OR IGNORE INTO outbox SELECT ?, {}, '{}', random(), ?, 0, 0, NULL FROM {}"


class Row(msgspec.Struct, frozen=True):
    """Something that an endpoint has to do."""

    subject: bytes
    stamp: int
    tries: int


class EndpointStatus(msgspec.Struct, frozen=True):
    """How one endpoint stands. Times are UTC milliseconds."""

    url: str
    version: str | None
    """Of its program, when it last answered."""
    pins: int
    """That it still has to set, those of keys among them."""
    releases: int
    """That it still has to take back."""
    owed_since_ms: int | None
    """The oldest of them."""
    problem: str | None
    """Why the last attempt failed; None when it did not."""
    problem_since_ms: int | None
    stuck: str | None
    """Why one of the pins cannot be set although the endpoint answers."""
    bad_until_ms: int
    """It gave other bytes than it should have: it is not used before then; 0: it did not."""


def want(db: sqlite3.Connection, kind: Kind, subject: bytes, at_ms: int) -> None:
    """Each endpoint has this to do, and nothing else about the subject any more."""
    db.execute(_WANT, (subject, kind, at_ms))


def want_key(db: sqlite3.Connection, chain: bytes, at_ms: int) -> None:
    """Each endpoint has to have the envelope of this chain's key, unless it was erased."""
    db.execute("INSERT OR IGNORE INTO outbox_key VALUES (?, 0)", (chain,))
    if not is_erased(db, chain):
        want(db, "key", chain, at_ms)


def want_no_key(
    db: sqlite3.Connection, chain: bytes, at_ms: int, envelopes: Iterable[bytes] = ()
) -> None:
    """Each endpoint has to remove every envelope of this chain's key, now and when it comes back:
    those that are known here, and `envelopes`.

    That holds for ever: the key cannot be wanted again.
    """
    known = [(chain, cid) for cid in envelopes]
    db.executemany("INSERT OR IGNORE INTO outbox_envelope VALUES (?, ?)", known)
    db.execute("INSERT OR REPLACE INTO outbox_key VALUES (?, 1)", (chain,))
    db.execute("DELETE FROM outbox WHERE subject = ?", (chain,))
    for (cid,) in db.execute(
        "SELECT cid FROM outbox_envelope WHERE chain = ?", (chain,)
    ).fetchall():
        want(db, "remove", cid, at_ms)


def is_key_wanted(db: sqlite3.Connection, chain: bytes) -> bool:
    """Whether endpoints have this chain's envelope, or are to have it, or never again."""
    return bool(db.execute("SELECT 1 FROM outbox_key WHERE chain = ?", (chain,)).fetchone())


def wanted_keys(db: sqlite3.Connection) -> list[bytes]:
    """The chains whose envelopes endpoints have, or are to have."""
    return [chain for (chain,) in db.execute("SELECT chain FROM outbox_key WHERE NOT erased")]


def release_key(db: sqlite3.Connection, chain: bytes, at_ms: int) -> None:
    """Each endpoint has to remove the envelopes of this chain's key; it may be wanted again."""
    db.execute("DELETE FROM outbox_key WHERE chain = ? AND NOT erased", (chain,))
    db.execute("DELETE FROM outbox WHERE subject = ?", (chain,))
    for (cid,) in db.execute(
        "SELECT cid FROM outbox_envelope WHERE chain = ?", (chain,)
    ).fetchall():
        want(db, "remove", cid, at_ms)


def is_erased(db: sqlite3.Connection, chain: bytes) -> bool:
    """Whether no endpoint is to have this chain's key."""
    row = db.execute("SELECT erased FROM outbox_key WHERE chain = ?", (chain,)).fetchone()
    return row is not None and bool(row[0])


def enlist(db: sqlite3.Connection, urls: Iterable[str], at_ms: int) -> None:
    """Know these endpoints; one that is new has to have everything that is pinned here."""
    for url in urls:
        if not db.execute("SELECT 1 FROM outbox_endpoint WHERE url = ?", (url,)).fetchone():
            db.execute(
                "INSERT INTO outbox_endpoint (url, lies, bad_until_ms) VALUES (?, 0, 0)", (url,)
            )
            fill(db, url, at_ms)


def fill(db: sqlite3.Connection, url: str, at_ms: int) -> None:
    """The endpoint has to have everything that is pinned here, besides what it owes already."""
    number = number_of(db, url)
    for subject, kind, source in (
        ("cid", "pin", "pin"),
        ("chain", "key", "outbox_key WHERE NOT erased"),
        ("cid", "remove", "outbox_envelope JOIN outbox_key USING (chain) WHERE erased"),
    ):
        db.execute(_FILL.format(subject, kind, source), (number, at_ms))


def dismiss(db: sqlite3.Connection, urls: Sequence[str]) -> None:
    """Forget every endpoint but these, and what it had to do."""
    for number, url in db.execute("SELECT number, url FROM outbox_endpoint").fetchall():
        if url not in urls:
            db.execute("DELETE FROM outbox WHERE endpoint = ?", (number,))
            db.execute("DELETE FROM outbox_endpoint WHERE number = ?", (number,))


def number_of(db: sqlite3.Connection, url: str) -> int:
    """The number of an endpoint; 0, which has no rows, when it was dismissed."""
    row = db.execute("SELECT number FROM outbox_endpoint WHERE url = ?", (url,)).fetchone()
    return 0 if row is None else int(row[0])


def due(db: sqlite3.Connection, url: str, kind: Kind, now_ms: int, limit: int) -> list[Row]:
    """What an endpoint has to do of one kind, the oldest first."""
    query = (
        "SELECT subject, stamp, tries FROM outbox"
        " WHERE endpoint = ? AND kind = ? AND due_ms <= ? ORDER BY since_ms LIMIT ?"
    )
    found = db.execute(query, (number_of(db, url), kind, now_ms, limit))
    return [Row(*row) for row in found]


def next_due_ms(db: sqlite3.Connection, url: str) -> int | None:
    """When the endpoint next has something to do; None when it has nothing."""
    query = "SELECT min(due_ms) FROM outbox WHERE endpoint = ?"
    found: int | None = db.execute(query, (number_of(db, url),)).fetchone()[0]
    return found


def done(db: sqlite3.Connection, url: str, rows: Iterable[Row]) -> None:
    """The endpoint did this; what has changed since it was read stays."""
    query = "DELETE FROM outbox WHERE endpoint = ? AND subject = ? AND stamp = ?"
    number = number_of(db, url)
    db.executemany(query, [(number, row.subject, row.stamp) for row in rows])


def put_off(db: sqlite3.Connection, url: str, row: Row, due_ms: int, problem: str | None) -> None:
    """The endpoint answers, but this one is not done yet: why, when that is known."""
    query = (
        "UPDATE outbox SET due_ms = ?, tries = tries + 1, problem = ?"
        " WHERE endpoint = ? AND subject = ? AND stamp = ?"
    )
    db.execute(query, (due_ms, problem, number_of(db, url), row.subject, row.stamp))


def has_all(db: sqlite3.Connection, url: str, roots: Iterable[bytes]) -> bool:
    """Whether the endpoint has pinned all of these. One that is not pinned here any more was, or
    will be, released there: that nothing is owed about it says no more."""
    query = (
        "SELECT 1 FROM pin WHERE cid = ?2 AND NOT EXISTS"
        " (SELECT 1 FROM outbox WHERE endpoint = ?1 AND subject = ?2)"
    )
    number = number_of(db, url)
    return number > 0 and all(db.execute(query, (number, root)).fetchone() for root in roots)


def replace_envelope(
    db: sqlite3.Connection, url: str, chain: bytes, cid: bytes, at_ms: int
) -> None:
    """The endpoint has this envelope of a chain: those of before have to go there."""
    query = """INSERT OR REPLACE INTO outbox
SELECT ?, cid, 'remove', random(), ?, 0, 0, NULL FROM outbox_envelope
WHERE chain = ? AND cid <> ?"""
    number = number_of(db, url)
    db.execute(query, (number, at_ms, chain, cid))
    if is_key_wanted(db, chain) and not is_erased(db, chain):
        # It may have been released before it was wanted again.
        db.execute("DELETE FROM outbox WHERE endpoint = ? AND subject = ?", (number, cid))


_STATUS: Final = """
SELECT url, version,
  (SELECT count(*) FROM outbox WHERE endpoint = number AND kind IN ('pin', 'key')),
  (SELECT count(*) FROM outbox WHERE endpoint = number AND kind IN ('unpin', 'remove')),
  (SELECT min(since_ms) FROM outbox WHERE endpoint = number),
  problem, since_ms,
  (SELECT problem FROM outbox WHERE endpoint = number AND problem NOT NULL LIMIT 1),
  bad_until_ms
FROM outbox_endpoint ORDER BY number"""


def statuses(db: sqlite3.Connection) -> list[EndpointStatus]:
    """How every endpoint stands; what they owe is counted."""
    return [EndpointStatus(*row) for row in db.execute(_STATUS)]
