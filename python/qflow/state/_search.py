"""Versions found by flow, execution, time, label and CID."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from qflow import _core, model
from qflow.audit._patterns import is_flow, is_like
from qflow.errors import BlockNotFoundError
from qflow.state import _index
from qflow.state._saved import Page, Saved

LIST_MAX: Final = 1000
"""Versions on a page."""
CID_CHARS_MIN: Final = 12
"""Of the beginning of a CID that means a version: the first 8 are those of every one."""
ID_CHARS_MIN: Final = 4
ID_CHARS: Final = 26
_CID_CHARS: Final = 59
_INTEGERS: Final = range(-(1 << 63), 1 << 63)
"""That SQLite has."""
_CID_BITS: Final = 36 * 8
_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"

Range = tuple[bytes, bytes]
"""The first and the last of what begins with a text."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What versions are to have; what is None is not asked for. See `States.list`."""

    flow: str | None = None
    execution: str | None = None
    label: str | None = None
    cid: str | None = None
    since: int | None = None
    until: int | None = None
    newest: bool = False
    limit: int = 100
    after: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LIST_MAX:
            raise ValueError(f"limit: {self.limit} is not from 1 to {LIST_MAX}")
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None and time not in _INTEGERS:
                raise ValueError(f"{name}: {time!s:.40} ms is no time")


def page(db: sqlite3.Connection, asked: Asked) -> Page:
    """One page of the versions that are asked for. Raises ValueError."""
    wanted, values = _conditions(db, asked)
    where = f"WHERE {' AND '.join(wanted)} " if wanted else ""
    rest = where + "ORDER BY at DESC, cid DESC LIMIT ?"
    found = _index.select(db, rest, (*values, asked.limit + 1))
    if len(found) <= asked.limit:
        return Page(found, None)
    last = found[asked.limit - 1]
    return Page(found[: asked.limit], f"{last.at}.{_core.Cid(last.cid)}")


def find(db: sqlite3.Connection, text: str) -> Saved:
    """The one version that a text means. Raises BlockNotFoundError: none, or several."""
    found = {saved.cid: saved for saved in _meant(db, text.strip())} if _is_text(text) else {}
    if not found:
        raise BlockNotFoundError(f"no checkpoint or execution is known by {text!r:.80}")
    if len(found) > 1:
        names = ", ".join(str(_core.Cid(cid)) for cid in list(found)[:3])
        raise BlockNotFoundError(f"{text!r:.80} means several checkpoints: {names}, ...")
    return next(iter(found.values()))


def _is_text(text: str) -> bool:
    """Whether SQLite can be asked for it: no half of a surrogate pair is in it."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _meant(db: sqlite3.Connection, text: str) -> list[Saved]:
    found = _index.select(db, "WHERE label = ? ORDER BY at DESC LIMIT 4", (text,))
    lower = text.lower()
    if len(text) >= CID_CHARS_MIN and (cids := cid_range(lower)):
        found += _index.select(db, "WHERE cid BETWEEN ? AND ? LIMIT 4", cids)
    if len(text) >= ID_CHARS_MIN and (ids := id_range(lower)):
        newest = "SELECT cid FROM state_head WHERE chain BETWEEN ? AND ?"
        found += _index.select(db, f"WHERE cid IN ({newest}) LIMIT 4", ids)
    return found


def _conditions(db: sqlite3.Connection, asked: Asked) -> tuple[list[str], list[object]]:
    wanted: list[str] = []
    values: list[object] = []

    def want(condition: str, *given: object) -> None:
        wanted.append(condition)
        values.extend(given)

    if asked.flow is not None:
        rows = db.execute("SELECT DISTINCT name FROM state_head")
        names = [name for (name,) in rows if is_flow(asked.flow, name)]
        of_flow = "SELECT chain FROM state_head WHERE name IN (SELECT value FROM json_each(?))"
        want(f"chain IN ({of_flow})", _json(names))
    if asked.label is not None:
        rows = db.execute("SELECT DISTINCT label FROM state_version WHERE label IS NOT NULL")
        names = [name for (name,) in rows if is_like(asked.label, name)]
        want("label IN (SELECT value FROM json_each(?))", _json(names))
    if asked.execution is not None:
        want("chain BETWEEN ? AND ?", *_range("execution", id_range(asked.execution.lower())))
    if asked.cid is not None:
        want("cid BETWEEN ? AND ?", *_range("cid", cid_range(asked.cid.lower())))
    if asked.since is not None:
        want("at >= ?", asked.since)
    if asked.until is not None:
        want("at < ?", asked.until)
    if asked.newest:
        want("cid IN (SELECT cid FROM state_head)")
    if asked.after is not None:
        want("(at, cid) < (?, ?)", *_position(asked.after))
    return wanted, values


def _json(names: list[str]) -> str:
    """Names as one value: there may be more than SQLite takes parameters."""
    return msgspec.json.encode(names).decode()


def _position(cursor: str) -> tuple[int, bytes]:
    at, _, cid = cursor.partition(".")
    try:
        if not at.isdecimal() or int(at) not in _INTEGERS:
            raise ValueError
        return int(at), bytes(_core.Cid(cid))
    except ValueError:
        raise ValueError(f"after: {cursor!r:.100} is no cursor of a list") from None


def _range(name: str, found: Range | None) -> Range:
    if found is None:
        raise ValueError(f"{name}: what is given is the beginning of none")
    return found


def id_range(text: str) -> Range | None:
    """The chains whose id begins with a text; None when no id does."""
    if not 0 < len(text) <= ID_CHARS or text[0] > "7" or text.strip(_CROCKFORD):
        return None
    rest = ID_CHARS - len(text)
    return model.id_bytes(text + "0" * rest), model.id_bytes(text + "z" * rest)


def cid_range(text: str) -> Range | None:
    """The CIDs of 36 bytes whose text in base 32 begins with a text; None when no CID does."""
    if not 0 < len(text) <= _CID_CHARS or text[0] != "b" or text[1:].strip(_BASE32):
        return None
    rest = _CID_CHARS - len(text)
    bounds = []
    for filler in ("a", "7"):
        number = 0
        for letter in text[1:] + filler * rest:
            number = number << 5 | _BASE32.index(letter)
        # 58 letters have 2 bits more than 36 bytes.
        bounds.append((number >> 2).to_bytes(_CID_BITS // 8, "big"))
    return bounds[0], bounds[1]
