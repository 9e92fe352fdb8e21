"""Where in the log the records are that a query asks for: chunks that are worth reading.

What is left out holds no such record, or the file is damaged, which is an error: each list of
chunks is compared with its tally, and each row carries a checksum.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from qflow import _core
from qflow.audit._query import Query
from qflow.audit._tables import Cursor, ForeignError, load_cursor, one_look

CHUNK_RECORDS: Final = 256
FIELDS: Final = "ftans"
TERMS_MAX: Final = 512
"""Of one field; a pattern that stands for more is compared with the records alone."""
COMMON: Final = 2
"""A list that has more than one chunk of so many costs more than it saves."""


class Plan(NamedTuple):
    """Which chunks to read for a query."""

    asked: _core.Filter
    chunks: Sequence[int]
    """In the order of the log."""
    cursor: Cursor
    """How far the index had come; its tail is to be read too."""


class _Group(NamedTuple):
    """Terms of which one must stand in a chunk, and in how many chunks they stand together."""

    weight: int
    terms: list[str]


def plan(db: sqlite3.Connection, query: Query) -> Plan:
    """Raises ForeignError when a list or row is not what was written."""
    asked = query.filter()
    with one_look(db):
        cursor = load_cursor(db)
        return Plan(asked, _chunks(db, query, asked, cursor), cursor)


def addresses(db: sqlite3.Connection, plan: Plan, chunk: int) -> tuple[int, list[int]]:
    """The index of the first record of a chunk, and the addresses of all. Raises ForeignError."""
    if chunk == plan.cursor.size // CHUNK_RECORDS:
        first, found = unpacked(chunk, plan.cursor.tail)
        end = plan.cursor.size
    else:
        row = db.execute("SELECT addresses FROM chunks WHERE number = ?", (chunk,)).fetchone()
        first, found = unpacked(chunk, row[0] if row else b"")
        end = (chunk + 1) * CHUNK_RECORDS
    if first != max(chunk * CHUNK_RECORDS, plan.cursor.first) or first + len(found) != end:
        raise ForeignError(f"chunk {chunk} has not all its records")
    return first, found


def unpacked(chunk: int, row: bytes) -> tuple[int, list[int]]:
    """The first index and the addresses in a packed row. Raises ForeignError."""
    try:
        return _core.unpack_addresses(chunk, row)
    except (TypeError, ValueError):
        raise ForeignError("a row is damaged") from None


def _chunks(
    db: sqlite3.Connection, query: Query, asked: _core.Filter, cursor: Cursor
) -> Sequence[int]:
    whole = range(cursor.first // CHUNK_RECORDS, cursor.size // CHUNK_RECORDS)
    if not whole:
        return whole
    groups = [_weighed(db, [word]) for word in asked.words]
    for field in FIELDS:
        if asked.asks(field):
            terms = _terms(db, asked, field)
            if len(terms) <= TERMS_MAX:
                groups.append(_weighed(db, terms))
    found = _within(db, groups, whole)
    if query.since is None and query.until is None:
        return found
    rows = db.execute("SELECT number, times FROM spans ORDER BY number").fetchall()
    try:
        timely = _core.select_chunks(rows, whole.start, whole.stop, query.since, query.until)
    except (TypeError, ValueError, OverflowError):
        raise ForeignError("the times of the chunks are damaged") from None
    return timely if found is whole else sorted(set(found).intersection(timely))


def _within(db: sqlite3.Connection, groups: list[_Group], whole: range) -> Sequence[int]:
    """The chunks that have a term of each group, as far as that is worth asking for."""
    found: set[int] | None = None
    for group in sorted(groups):
        if group.weight * COMMON > len(whole):
            break
        listed = {chunk for term in group.terms for chunk in _listed(db, term)}
        found = listed if found is None else found & listed
        if not found:
            break
    return whole if found is None else sorted(found)


def _weighed(db: sqlite3.Connection, terms: list[str]) -> _Group:
    return _Group(sum(_tally(db, term)[0] for term in terms), terms)


def _tally(db: sqlite3.Connection, term: str) -> tuple[int, int]:
    query = "SELECT chunks, digest FROM terms WHERE term = ?"
    return db.execute(query, (term,)).fetchone() or (0, 0)


def _listed(db: sqlite3.Connection, term: str) -> list[int]:
    """The chunks that have a term. Raises ForeignError when the tally says otherwise."""
    rows = db.execute("SELECT rowid FROM words WHERE words MATCH ?", (f'"{term}"',))
    found = [row[0] for row in rows]
    _compare(_tally(db, term), found)
    return found


def _compare(tally: tuple[int, int], numbers: Sequence[int]) -> None:
    try:
        same = tally == (len(numbers), _core.spread(numbers))
    except OverflowError:
        same = False
    if not same:
        raise ForeignError("a list has not what was written")


def _terms(db: sqlite3.Connection, asked: _core.Filter, field: str) -> list[str]:
    """The terms of the values of a field that are asked for."""
    exact = asked.exact(field)
    if exact is not None:
        return asked.terms(field, [exact])
    rows = db.execute("SELECT name FROM names WHERE field = ?", (field,))
    names = [row[0] for row in rows]
    if _tally(db, f"{field}=") != (len(names), _core.spread_names(field, names)):
        raise ForeignError("a name is missing")
    return asked.terms(field, names)
