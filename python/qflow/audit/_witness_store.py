"""A witness: what it knows of each log, durable before it answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import msgspec

from qflow import _core
from qflow.audit._witness import (
    EMPTY,
    OK,
    OUT_OF_ORDER,
    Answer,
    Head,
    Refusal,
    Request,
    answer_of,
    is_equivocation,
    judge,
    origin_of,
    parse_request,
    signer_of,
)
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.errors import CorruptError, UnavailableError
from qflow.trust._files import sync

HEADS_MAX: Final = 256
"""Cosigned heads kept of one log, to know an equivocation about any of them; the oldest go."""
EQUIVOCATIONS_MAX: Final = 64
"""Kept of one log; two notes are proof enough, further ones are only logged."""
BUSY_S: Final = 5.0
"""How long another process may hold the file; then the request is refused."""
VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE log (vkey TEXT PRIMARY KEY, origin TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- One row for each size of a log: two heads of one size cannot both be here.
CREATE TABLE head (
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL,
    at_ms INTEGER NOT NULL, PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE equivocation (
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, first BLOB NOT NULL,
    second BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (origin, size, root)
) STRICT, WITHOUT ROWID;
"""
_LATEST: Final = "SELECT size, root, note FROM head WHERE origin = ? ORDER BY size DESC LIMIT 1"
_AT: Final = "SELECT size, root, note FROM head WHERE origin = ? AND size = ?"
# Compare and set in one statement: nothing is stored unless the newest is still the one judged.
_ADVANCE: Final = """
INSERT INTO head SELECT :origin, :size, :root, :note, :at_ms
WHERE coalesce((SELECT max(size) FROM head WHERE origin = :origin), 0) = :old
"""
_FORGET: Final = """
DELETE FROM head WHERE origin = :origin AND size NOT IN
(SELECT size FROM head WHERE origin = :origin ORDER BY size DESC LIMIT :kept)
"""

_log = logger("qflow.witness")


class Cosigner(Protocol):
    """The part of a node's key that cosigns."""

    @property
    def origin(self) -> str: ...

    @property
    def seed(self) -> bytes: ...


class Equivocation(msgspec.Struct, frozen=True):
    """Two heads of one size with different roots, both signed by the log: proof that it lies."""

    origin: str
    size: int
    first: str
    """The signed note that was cosigned."""
    second: str
    """The signed note that was refused."""
    at_ms: int


class WitnessedLog(msgspec.Struct, frozen=True):
    """A log that a witness cosigns for."""

    origin: str
    vkeys: tuple[str, ...]
    size: int
    """Of the newest head that was cosigned; 0 when none was."""
    at_ms: int | None


class Witness:
    """Cosigns heads of the logs that it knows, never two that contradict each other.

    Blocking, and safe to call from several threads; several processes may share the file. After a
    failed write it cosigns no more until it is opened again. `path` is made when it is missing: a
    witness whose file was removed or brought back from a copy has forgotten what it cosigned.
    Raises CorruptError, and changes nothing, when the file is not a witness's.
    """

    def __init__(
        self, path: str | PathLike[str], key: Cosigner, clock: Clock, logs: Iterable[str] = ()
    ) -> None:
        self._path, self._key, self._clock = Path(path), key, clock
        self._lock = Lock()
        self._given: dict[str, list[str]] = {}
        for vkey in logs:
            self._given.setdefault(origin_of(vkey), []).append(vkey)
        self._db = open_file(self._path)
        self.poisoned: str | None = None
        """Why nothing more is cosigned, or None."""

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._db.close()

    @property
    def vkey(self) -> str:
        """The verifier key of the cosignatures (C2SP tlog-cosignature)."""
        return _core.generate_witness_vkey(self._key.origin, self._key.seed)

    def add_log(self, vkey: str) -> bool:
        """Cosign for a log from now on, also after a restart; False when that was so. Durable.

        Raises ConfigError for what is no verifier key.
        """
        row = (vkey, origin_of(vkey))
        with self._lock, self._writing("add a log") as db:
            return db.execute("INSERT OR IGNORE INTO log VALUES (?, ?)", row).rowcount == 1

    def remove_log(self, vkey: str) -> bool:
        """Cosign no more for this key; False when none was added. Durable.

        What was cosigned stays known: if the log is added again, it goes on from there.
        """
        with self._lock, self._writing("remove a log") as db:
            return db.execute("DELETE FROM log WHERE vkey = ?", (vkey,)).rowcount == 1

    def logs(self) -> list[WitnessedLog]:
        """The logs, by origin."""
        with self._lock, self._reading():
            rows = self._db.execute("SELECT DISTINCT origin FROM log")
            origins = sorted({origin for (origin,) in rows} | self._given.keys())
            return [self._described(origin) for origin in origins]

    def equivocations(self) -> list[Equivocation]:
        """The proofs of logs that lied, the oldest first."""
        query = "SELECT origin, size, first, second, at_ms FROM equivocation ORDER BY at_ms"
        with self._lock, self._reading():
            return [
                Equivocation(origin, size, first.decode(), second.decode(), at_ms)
                for origin, size, first, second, at_ms in self._db.execute(query)
            ]

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one `add-checkpoint`. What a cosignature says is durable on return."""
        request = parse_request(body)
        if isinstance(request, Refusal):
            return answer_of(request)
        if self.poisoned is not None:
            return Answer(OUT_OF_ORDER, b"a write failed: this witness cosigns no more\n")
        try:
            with self._lock:
                decided = self._decide(request)
        except UnavailableError as error:
            return Answer(OUT_OF_ORDER, f"{error}\n".encode())
        return (
            answer_of(decided) if isinstance(decided, Refusal) else self._cosign(request, decided)
        )

    def _cosign(self, request: Request, vkey: str) -> Answer:
        name, seed, time_s = self._key.origin, self._key.seed, self._clock.now_ms() // 1000
        return Answer(OK, _core.cosign(request.head.note, vkey, name, seed, time_s).encode())

    def _decide(self, request: Request) -> Refusal | str:
        """A refusal, or the key that signed the head, which is durable then."""
        with self._reading():
            vkey = signer_of(request, self._keys(request.origin))
        if isinstance(vkey, Refusal):
            return vkey
        head = request.head
        with self._writing("keep a head") as db:
            latest = self._head(_LATEST, (request.origin,)) or EMPTY
            known = self._head(_AT, (request.origin, head.size))
            if known is not None and is_equivocation(head, known):
                self._accuse(db, request.origin, known, head)
            refusal = judge(request, latest)
            if refusal is None and head.size > latest.size:
                self._advance(db, request.origin, latest, head)
        return refusal or vkey

    def _advance(self, db: sqlite3.Connection, origin: str, latest: Head, head: Head) -> None:
        values = {"size": head.size, "root": head.root, "note": head.note, "old": latest.size}
        values |= {"origin": origin, "at_ms": self._clock.now_ms()}
        if db.execute(_ADVANCE, values).rowcount != 1:
            raise sqlite3.IntegrityError("the newest head is not the one that was judged")
        db.execute(_FORGET, {"origin": origin, "kept": HEADS_MAX})

    def _accuse(self, db: sqlite3.Connection, origin: str, known: Head, head: Head) -> None:
        _log.error("a log signed two heads of one size", log=origin, size=head.size)
        (count,) = db.execute(
            "SELECT count(*) FROM equivocation WHERE origin = ?", (origin,)
        ).fetchone()
        if count < EQUIVOCATIONS_MAX:
            row = (origin, head.size, head.root, known.note, head.note, self._clock.now_ms())
            db.execute("INSERT OR IGNORE INTO equivocation VALUES (?, ?, ?, ?, ?, ?)", row)

    def _keys(self, origin: str) -> Sequence[str]:
        rows = self._db.execute("SELECT vkey FROM log WHERE origin = ?", (origin,))
        return [*dict.fromkeys([*self._given.get(origin, ()), *(vkey for (vkey,) in rows)])]

    def _head(self, query: str, parameters: tuple[str | int, ...]) -> Head | None:
        row = self._db.execute(query, parameters).fetchone()
        return None if row is None else Head(*row)

    def _described(self, origin: str) -> WitnessedLog:
        query = "SELECT size, at_ms FROM head WHERE origin = ? ORDER BY size DESC LIMIT 1"
        size, at_ms = self._db.execute(query, (origin,)).fetchone() or (0, None)
        return WitnessedLog(origin, tuple(self._keys(origin)), size, at_ms)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(f"the witness cannot read {self._path}: {error}") from error

    @contextmanager
    def _writing(self, what: str) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when left. If it fails, what is on the disk is not known."""
        if self.poisoned is not None:
            raise UnavailableError(self.poisoned)
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise UnavailableError(f"the witness cannot {what}: {error}") from error
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            self.poisoned = f"the witness could not {what}: {error}"
            _log.exception("witness stopped", why=self.poisoned)
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise UnavailableError(self.poisoned) from error


def open_file(path: Path) -> sqlite3.Connection:
    """The state of a witness. Raises CorruptError or UnavailableError."""
    try:
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    except sqlite3.DatabaseError as error:
        kind = UnavailableError if isinstance(error, sqlite3.OperationalError) else CorruptError
        raise kind(f"{path}: {error}") from error
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _TABLES.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")
    if version not in (0, VERSION):
        raise UnavailableError(f"{path} is of version {version}; this Qflow knows {VERSION}")
    if version == 0:
        path.chmod(0o600)
        sync(path.parent)
