"""The embedded blockstore: blocks, pins and their counts in a `Database`."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import anyio

from qflow import _core
from qflow.diagnostics import logger
from qflow.errors import BlockNotFoundError, QflowError, VerificationError
from qflow.storage._blocks import (
    Block,
    check_blocks,
    check_name,
    fits,
    is_raw,
    text_of,
)
from qflow.storage._database import Database

BAD_BLOCKS_MAX: Final = 64
"""Kept of those whose bytes did not fit; the oldest go."""
PAGE: Final = 1_000
"""Pins that are read at a time."""
BATCH_BLOCKS: Final = 4_096
BATCH_BYTES: Final = 4 << 20
"""Of blocks that are stored or removed in one transaction."""
WALK_BYTES: Final = 4 << 20
"""Of blocks that `walk` has in memory; one block more at most."""

_TABLES: Final = (
    # An index of its own: to find, count and list blocks touches none of their bytes.
    """CREATE TABLE block (
  cid BLOB PRIMARY KEY, refs INTEGER NOT NULL, size INTEGER NOT NULL, place INTEGER
) STRICT, WITHOUT ROWID""",
    "CREATE TABLE block_data (place INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT",
    "CREATE TABLE pin (cid BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE bad_block (
  number INTEGER PRIMARY KEY, cid BLOB NOT NULL, data BLOB NOT NULL
) STRICT""",
    # Let go while their links could not be read: what they held is still counted.
    "CREATE TABLE unread_block (cid BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
)
# In a damaged row bytes may read as another type; they are bytes that do not fit, then.
_LOAD: Final = (
    "SELECT COALESCE(CAST(data AS BLOB), x'') FROM block JOIN block_data USING (place)"
    " WHERE cid = ?"
)
_FIND: Final = "SELECT refs, place FROM block WHERE cid = ?"

_log = logger("qflow.storage")


class SqliteBlocks:
    """A `Blockstore` in a `Database`, and its parts for a transaction of one's own.

    `refs` of a block counts its pin and the blocks that link to it and are themselves held
    (refs > 0). So what is held is what a pin reaches; pinning a root whose parts are held already
    costs one step a part and not a walk, and what may go is seen without one.
    The functions that take a connection are for jobs of the `Database`: they hash nothing that
    they are given, and what they did is durable with the job.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.schema(_TABLES)

    @property
    def database(self) -> Database:
        """Where the blocks are."""
        return self._database

    # -- the port ---------------------------------------------------------------------------

    async def put_many(self, blocks: Iterable[Block]) -> None:
        """See `Blockstore`; all of them in one transaction."""
        given = list(blocks)
        await anyio.to_thread.run_sync(check_blocks, given)
        await self._database.write_async(lambda db: self.put_blocks(db, given))

    async def get(self, cid: bytes) -> bytes:
        """See `Blockstore`."""
        return (await self.get_many([cid]))[0]

    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        """See `Blockstore`."""
        return await anyio.to_thread.run_sync(self.load, cids)

    async def has(self, cid: bytes) -> bool:
        """See `Blockstore`."""
        return await self._database.read_async(lambda db: _find(db, cid)[1] is not None)

    async def delete(self, cids: Iterable[bytes]) -> None:
        """See `Blockstore`."""
        given = list(cids)
        await self._database.write_async(lambda db: self.delete_blocks(db, given))

    async def pin(self, cid: bytes, name: str = "") -> None:
        """See `Blockstore`. Raises VerificationError when a block beneath is not what it was."""
        try:
            await self._database.write_async(lambda db: self.pin_block(db, cid, name))
        except BadBlockError as error:
            await anyio.to_thread.run_sync(self._put_aside, [error.cid])
            raise

    async def unpin(self, cid: bytes) -> None:
        """See `Blockstore`."""
        await self._database.write_async(lambda db: self.unpin_block(db, cid))

    async def pins(self) -> AsyncIterator[tuple[bytes, str]]:
        """See `Blockstore`."""
        page: list[tuple[bytes, str]] = [(b"", "")]
        while page:
            page = await self._database.read_async(partial(_pins_after, cid=page[-1][0]))
            for pin in page:
                yield pin

    # -- for callers that may block ---------------------------------------------------------

    def load(self, cids: Sequence[bytes]) -> list[bytes]:
        """As `get_many`; blocks."""
        found = self._database.read(lambda db: self.load_blocks(db, cids))
        blocks = []
        for cid, data in zip(cids, found, strict=True):
            if data is None:
                raise BlockNotFoundError(f"block {text_of(cid)} is not here")
            blocks.append((cid, data))
        bad = [cid for (cid, _), fit in zip(blocks, fits(blocks), strict=True) if not fit]
        if bad:
            self._put_aside(bad)
            raise BadBlockError(bad[0])
        return [data for _, data in blocks]

    def walk(self, roots: Iterable[bytes]) -> Iterator[Block]:
        """The blocks of these roots and of all beneath, each once, a parent before its parts.

        Hashed again, and memory-flat. Raises as `get`, and ValueError for a codec whose links are
        not known.
        """
        due = list(dict.fromkeys(roots))[::-1]
        seen = set(due)
        while due:
            cids = self.take_some(due)
            links = []
            for cid, data in zip(cids, self.load(cids), strict=True):
                yield cid, data
                links += _core.block_links(cid, data)
            new = [cid for cid in dict.fromkeys(links) if cid not in seen]
            seen.update(new)
            due += new[::-1]

    def lacking(self, cids: Iterable[bytes]) -> list[bytes]:
        """Those of these blocks that are not here, or damaged: those can be stored again then.

        Each is hashed; memory-flat; blocks.
        """
        due = list(dict.fromkeys(cids))[::-1]
        lacking: list[bytes] = []
        while due:
            part = self.take_some(due)
            read = partial(self.load_blocks, cids=part)
            found = list(zip(part, self._database.read(read), strict=True))
            here = [(cid, data) for cid, data in found if data is not None]
            bad = [cid for (cid, _), fit in zip(here, fits(here), strict=True) if not fit]
            if bad:
                self._put_aside(bad)
            lacking += bad + [cid for cid, data in found if data is None]
        return lacking

    def take_some(self, due: list[bytes]) -> list[bytes]:
        """Take as many CIDs off the end of a list as have WALK_BYTES together; blocks."""
        return self._database.read(partial(_fill, due=due))

    def ingest(self, blocks: Iterable[Block]) -> int:
        """Store blocks that were hashed already, such as `read_car` gives; how many were new.
        What is damaged here is mended.

        Durable on return, in transactions of BATCH_BYTES; what came before an error stays, for
        whoever tries again, until it is collected.
        """
        count, batch, size = 0, list[Block](), 0
        for block in blocks:
            batch.append(block)
            size += len(block[1])
            if size >= BATCH_BYTES:
                count += self._database.write(partial(self.mend_blocks, blocks=batch))
                batch, size = [], 0
        return count + self._database.write(partial(self.mend_blocks, blocks=batch))

    def collect(self) -> tuple[int, int]:
        """Remove the blocks that no pin reaches: how many, and their bytes. Durable on return.

        In transactions of BATCH_BYTES, so that others write in between. What others have put
        and not pinned yet goes too: their pin says what is missing, and they put it again.
        """
        self._database.write(self._settle_counts)
        count = size_bytes = 0
        while True:
            gone, size = self._database.write(self._collect_some)
            count, size_bytes = count + gone, size_bytes + size
            if not gone:
                return count, size_bytes

    # -- for a transaction of one's own -----------------------------------------------------

    def put_blocks(self, db: sqlite3.Connection, blocks: Iterable[Block]) -> int:
        """Store blocks that are not here yet; how many there were. The caller has hashed them."""
        count = 0
        for cid, data in blocks:
            row = db.execute(_FIND, (cid,)).fetchone()
            if row is not None and row[1] is not None:
                continue
            place = db.execute("INSERT INTO block_data (data) VALUES (?)", (data,)).lastrowid
            db.execute(
                "INSERT INTO block VALUES (?, 0, ?, ?)"
                " ON CONFLICT DO UPDATE SET place = excluded.place",
                (cid, len(data), place),
            )
            count += 1
        return count

    def mend_blocks(self, db: sqlite3.Connection, blocks: Iterable[Block]) -> int:
        """As `put_blocks`, also over blocks that were damaged here and not noticed yet.

        Reads each that is here. For blocks that come from elsewhere: a checkpoint mostly stores
        what it has just stored before, and would read it all each time.
        """
        given = list(blocks)
        _mark(db, [cid for cid, data in given if self.load_blocks(db, [cid]) != [data]])
        return self.put_blocks(db, given)

    def load_blocks(self, db: sqlite3.Connection, cids: Iterable[bytes]) -> list[bytes | None]:
        """What is stored as these blocks, None for one that is not here; nothing is hashed."""
        rows = (db.execute(_LOAD, (cid,)).fetchone() for cid in cids)
        return [None if row is None else row[0] for row in rows]

    def pin_block(self, db: sqlite3.Connection, cid: bytes, name: str = "") -> None:
        """As `pin`. What is newly held is hashed, except for raw blocks, which link to none."""
        check_name(name)
        new = db.execute("INSERT OR IGNORE INTO pin VALUES (?, ?)", (cid, name)).rowcount
        if new:
            _hold(db, cid)
        else:
            db.execute("UPDATE pin SET name = ? WHERE cid = ?", (name, cid))

    def unpin_block(self, db: sqlite3.Connection, cid: bytes) -> bool:
        """As `unpin`; False when it was not pinned."""
        if not db.execute("DELETE FROM pin WHERE cid = ?", (cid,)).rowcount:
            return False
        _release(db, cid)
        return True

    def delete_blocks(self, db: sqlite3.Connection, cids: Iterable[bytes]) -> int:
        """As `delete`: how many went. Raises ValueError when one is held."""
        count = 0
        for cid in cids:
            refs, place = _find(db, cid)
            if refs:
                raise ValueError(f"block {text_of(cid)} is pinned, or beneath a pin")
            if place is not None:
                _remove(db, cid, place)
                count += 1
        return count

    def garbage(self, db: sqlite3.Connection) -> list[tuple[bytes, int]]:
        """The blocks that no pin reaches, with their bytes, in the order of their CIDs."""
        query = "SELECT cid, size FROM block WHERE {}place IS NOT NULL ORDER BY cid"
        if (counts := _counts_due(db)) is None:
            return db.execute(query.format("refs = 0 AND ")).fetchall()
        return [row for row in db.execute(query.format("")) if not counts[row[0]]]

    def recount(self, db: sqlite3.Connection) -> int:
        """Count anew what is held, from the pins down; for how many blocks it was wrong.

        Reads every block that has links. Raises BlockNotFoundError or VerificationError, and
        changes nothing, while something beneath a pin is missing or damaged.
        """
        return _set_counts(db, _counted(db))

    def _settle_counts(self, db: sqlite3.Connection) -> None:
        if (counts := _counts_due(db)) is not None:
            _set_counts(db, counts)

    def _put_aside(self, cids: Sequence[bytes]) -> None:
        try:
            self._database.write(partial(_mark, cids=cids))
        except QflowError as error:
            # That the block is bad is the caller's news, and it is bad the next time too.
            _log.warning("bad blocks are not marked", why=str(error))

    def _collect_some(self, db: sqlite3.Connection) -> tuple[int, int]:
        query = "SELECT cid, size, place FROM block WHERE refs = 0 AND place IS NOT NULL"
        count = size_bytes = 0
        for cid, size, place in db.execute(f"{query} LIMIT {BATCH_BLOCKS}").fetchall():
            _remove(db, cid, place)
            count, size_bytes = count + 1, size_bytes + size
            if size_bytes >= BATCH_BYTES:
                break
        return count, size_bytes


class BadBlockError(VerificationError):
    """The store has other bytes than it was given."""

    def __init__(self, cid: bytes) -> None:
        super().__init__(f"block {text_of(cid)} is damaged in the store; it is not served any more")
        self.cid = cid


def _find(db: sqlite3.Connection, cid: bytes) -> tuple[int, int | None]:
    """How often it is held, and where its bytes are: None when they are not here."""
    row: tuple[int, int | None] = db.execute(_FIND, (cid,)).fetchone() or (0, None)
    return row


def _links(db: sqlite3.Connection, cid: bytes) -> list[bytes]:
    """The links of a block, each once. Raises BadBlockError, BlockNotFoundError, ValueError."""
    if is_raw(cid):
        return []
    row = db.execute(_LOAD, (cid,)).fetchone()
    if row is None:
        raise BlockNotFoundError(f"block {text_of(cid)} is not here")
    if not fits([(cid, row[0])])[0]:
        raise BadBlockError(cid)
    return list(dict.fromkeys(_core.block_links(cid, row[0])))


def _held(db: sqlite3.Connection, cid: bytes) -> list[bytes]:
    """As `_links`; the block must be here."""
    if _find(db, cid)[1] is None:
        raise BlockNotFoundError(f"block {text_of(cid)} is not here")
    return _links(db, cid)


def _counted(db: sqlite3.Connection) -> Counter[bytes]:
    """What `refs` has to be, from the pins down; of a block that none of them reaches, 0."""
    counts = Counter(cid for (cid,) in db.execute("SELECT cid FROM pin"))
    due = list(counts)
    while due:
        new = _held(db, due.pop())
        due += [cid for cid in new if cid not in counts]
        counts.update(new)
    return counts


def _counts_due(db: sqlite3.Connection) -> Counter[bytes] | None:
    """As `_counted`, when something was let go whose links could not be read, so that `refs` may
    be too high; else None. None also while something beneath a pin cannot be read: what that holds
    is not known, and must not be taken for garbage."""
    if db.execute("SELECT 1 FROM unread_block LIMIT 1").fetchone() is None:
        return None
    try:
        return _counted(db)
    except (BadBlockError, BlockNotFoundError) as error:
        _log.warning("what damaged blocks held stays until the pins are whole", why=str(error))
        return None


def _set_counts(db: sqlite3.Connection, counts: Counter[bytes]) -> int:
    known = dict(db.execute("SELECT cid, refs FROM block"))
    wrong = [(counts[cid], cid) for cid, refs in known.items() if counts[cid] != refs]
    db.executemany("UPDATE block SET refs = ? WHERE cid = ?", wrong)
    db.execute("DELETE FROM block WHERE refs = 0 AND place IS NULL")
    db.execute("DELETE FROM unread_block")
    return len(wrong)


def _hold(db: sqlite3.Connection, root: bytes) -> None:
    """Count one more for a block, and for all that this newly holds."""
    due = [root]
    while due:
        cid = due.pop()
        refs, place = _find(db, cid)
        if place is None:
            raise BlockNotFoundError(f"block {text_of(cid)} is not here")
        db.execute("UPDATE block SET refs = ? WHERE cid = ?", (refs + 1, cid))
        if not refs:
            due += _links(db, cid)


def _release(db: sqlite3.Connection, root: bytes) -> None:
    """Count one less for a block, and for all that this held alone.

    What is beneath a block that cannot be read stays held: nothing is lost by it, and the next
    `collect` counts it anew.
    """
    due = [root]
    while due:
        cid = due.pop()
        refs, place = _find(db, cid)
        if refs == 1 and place is None:
            db.execute("DELETE FROM block WHERE cid = ?", (cid,))
        elif refs:
            db.execute("UPDATE block SET refs = ? WHERE cid = ?", (refs - 1, cid))
        if refs == 1:
            try:
                due += _links(db, cid)
            except (BadBlockError, BlockNotFoundError) as error:
                _log.warning("what it held cannot be released", why=str(error))
                db.execute("INSERT OR IGNORE INTO unread_block VALUES (?)", (cid,))


def _remove(db: sqlite3.Connection, cid: bytes, place: int) -> None:
    db.execute("DELETE FROM block_data WHERE place = ?", (place,))
    db.execute("DELETE FROM block WHERE cid = ?", (cid,))


def _mark(db: sqlite3.Connection, cids: Iterable[bytes]) -> None:
    """Put the bytes of bad blocks aside, so that good ones can be stored."""
    for cid in cids:
        _, place = _find(db, cid)
        row = db.execute(_LOAD, (cid,)).fetchone()
        if place is None or (row is not None and fits([(cid, row[0])])[0]):
            continue  # somebody else has been here
        data = b"" if row is None else row[0]  # None: its place was damaged
        _log.error("a block is damaged in the store", cid=text_of(cid), bytes=len(data))
        db.execute("INSERT INTO bad_block (cid, data) VALUES (?, ?)", (cid, data))
        db.execute("UPDATE block SET place = NULL WHERE cid = ?", (cid,))
        db.execute("DELETE FROM block WHERE cid = ? AND refs = 0", (cid,))
        # Where the place was damaged and not the bytes, they are another block's, and good.
        db.execute(
            "DELETE FROM block_data WHERE place = :at"
            " AND NOT EXISTS (SELECT 1 FROM block WHERE place = :at)",
            {"at": place},
        )
    db.execute(
        "DELETE FROM bad_block WHERE number NOT IN"
        " (SELECT number FROM bad_block ORDER BY number DESC LIMIT ?)",
        (BAD_BLOCKS_MAX,),
    )


def _pins_after(db: sqlite3.Connection, cid: bytes) -> list[tuple[bytes, str]]:
    query = "SELECT cid, name FROM pin WHERE cid > ? ORDER BY cid LIMIT ?"
    return db.execute(query, (cid, PAGE)).fetchall()


def _fill(db: sqlite3.Connection, due: list[bytes]) -> list[bytes]:
    """Take as many CIDs off the end of a list as fit into memory together."""
    taken, size = [], 0
    while due and size < WALK_BYTES:
        taken.append(due.pop())
        row = db.execute("SELECT size FROM block WHERE cid = ?", taken[-1:]).fetchone()
        size += 0 if row is None else row[0]
    return taken
