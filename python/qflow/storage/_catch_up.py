"""One endpoint told all that it is owed: keys, what it releases, and then pins by whole CARs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import anyio

from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.errors import ErasedError, QflowError, UnavailableError
from qflow.storage import _wanted
from qflow.storage._blocks import Block, text_of
from qflow.storage._endpoint import Endpoint, Tell, backoff_ms
from qflow.storage._held import Held
from qflow.storage._kubo import CAR_BYTES
from qflow.storage._rpc import PATIENCE
from qflow.storage._sqlite import SqliteBlocks
from qflow.storage._walk import BrokenRootError, Walk
from qflow.storage._wanted import Kind, Row

ROOTS_MAX: Final = 10_000
"""In one CAR."""
RELEASES_MAX: Final = 1_000
"""Told, and noted, together."""
HALVINGS_MAX: Final = 6
"""A CAR is half as large after each failure, down to 256 KiB: so a slow endpoint gets on, too."""
DOUBLINGS_MAX: Final = 4
"""And it has twice as long to answer: so a root with very much beneath it is pinned, too."""
DOUBT_MS: Final = 60_000
"""After this nothing is on its way to an endpoint any more."""
STUCK_S_MAX: Final = 3_600.0
"""Between two attempts at one pin that an endpoint cannot set although it answers."""
PINNED: Final = "q.qflow.state.pinned.v1"

Envelope = Callable[[bytes], Block | None]

_log = logger("qflow.storage")


class CatchUp:
    """What one endpoint is owed, and telling it so, one attempt at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        blocks: SqliteBlocks,
        clock: Clock,
        envelope: Envelope | None,
        tell: Tell | None,
    ) -> None:
        self.endpoint = endpoint
        self._blocks, self._clock = blocks, clock
        self._database = blocks.database
        self._envelope, self._tell = envelope, tell
        self._attempting = anyio.Lock()
        self._held = Held()
        self._is_known = False
        """It has answered since the process started: nobody put another in its place before."""
        self._pinned = self._released = 0
        """Since that was last told."""

    async def attempt(self, roots: Sequence[bytes] = ()) -> bool:
        """Tell it all that is due; whether it then has all of `roots`, which are pinned here.

        What went wrong there is noted, and it is asked again later. Raises as the `Database` does
        when this home's own store fails.
        """
        async with self._attempting:
            if self._is_known and not self.endpoint.failures and not await self._owes_something():
                return await self._has(roots)
            if await self.endpoint.bad_until_ms():
                return False
            try:
                async with self.endpoint.opened() as kubo:
                    if await self.endpoint.introduce(await kubo.identity()):
                        _log.warning("an endpoint was replaced", endpoint=self.endpoint.url)
                        self._held.clear()
                    self._is_known = True
                    await self._tell_all()
            except UnavailableError as error:
                # Perhaps it lacks what it was believed to have: the next CAR leaves out nothing.
                self._held.clear()
                await self.endpoint.failed(error)
                return await self._has(roots)
            await self.endpoint.answered()
            self._tell_done()
            return await self._has(roots)

    async def _owes_something(self) -> bool:
        # As a write: so it comes after what woke us, which may still be on its way to the disk.
        due_ms = await self._database.write_async(
            lambda db: _wanted.next_due_ms(db, self.endpoint.url)
        )
        return due_ms is not None and due_ms <= self._clock.now_ms()

    async def _has(self, roots: Sequence[bytes]) -> bool:
        url = self.endpoint.url
        return await self._database.read_async(lambda db: _wanted.has_all(db, url, roots))

    async def _tell_all(self) -> None:
        # First: a new envelope has those of before removed.
        while rows := await self._due("key", RELEASES_MAX):
            await self._pin_keys(rows)
        while rows := await self._due("unpin", RELEASES_MAX):
            await self.endpoint.kubo.unpin_many([row.subject for row in rows])
            await self._release_done(rows)
        while rows := await self._due("remove", RELEASES_MAX):
            await self._remove(rows)
        while rows := await self._due("pin", ROOTS_MAX >> self._halvings):
            await self._pin(rows)

    @property
    def _halvings(self) -> int:
        return min(self.endpoint.failures, HALVINGS_MAX)

    async def _remove(self, rows: Sequence[Row]) -> None:
        cids = [row.subject for row in rows]
        await self.endpoint.kubo.unpin_many(cids)
        for cid in await self.endpoint.kubo.remove(cids):
            _log.info("others pin it there", endpoint=self.endpoint.url, cid=text_of(cid))
        await self._release_done(rows)

    async def _release_done(self, rows: Sequence[Row]) -> None:
        """After a failure what was given up may still be on its way there, and pin once more what
        is released now: so it is released again a little later."""
        doubtful = [row for row in rows if self.endpoint.failures and not row.tries]
        due_ms = self._clock.now_ms() + DOUBT_MS

        def note(db: sqlite3.Connection) -> None:
            _wanted.done(db, self.endpoint.url, [row for row in rows if row not in doubtful])
            for row in doubtful:
                _wanted.put_off(db, self.endpoint.url, row, due_ms, None)

        await self._database.write_async(note)
        self._released += len(rows) - len(doubtful)

    # -- keys -------------------------------------------------------------------------------

    async def _pin_keys(self, rows: Sequence[Row]) -> None:
        made = await anyio.to_thread.run_sync(self._make_envelopes, rows)
        made = await self._database.write_async(lambda db: _noted(db, made))
        if not made:
            return
        blocks = [block for _, block in made]
        roots = list(dict.fromkeys(cid for cid, _ in blocks))
        refused = await self.endpoint.kubo.import_car(roots, _unique(blocks), pin_roots=True)
        sent = [(row, cid) for row, (cid, _) in made if cid not in refused]
        now_ms = self._clock.now_ms()

        def note(db: sqlite3.Connection) -> None:
            _wanted.done(db, self.endpoint.url, [row for row, _ in sent])
            for row, cid in sent:
                # Erased meanwhile: what was just sent goes there again.
                _wanted.replace_envelope(db, self.endpoint.url, row.subject, cid, now_ms)

        await self._database.write_async(note)
        self._pinned += len(sent)
        await self._put_off({row: refused[cid] for row, (cid, _) in made if cid in refused})

    def _make_envelopes(self, rows: Sequence[Row]) -> list[tuple[Row, Block]]:
        """Blocks. What has no envelope is owed no more; a key that is damaged holds up no other."""
        made, over, problems = [], [], dict[Row, str]()
        for row in rows:
            try:
                block = None if self._envelope is None else self._envelope(row.subject)
            except ErasedError:
                erase = partial(_wanted.want_no_key, chain=row.subject, at_ms=self._clock.now_ms())
                self._database.write(erase)
            except QflowError as error:
                _log.error("the envelope of a key cannot be made", why=str(error))
                problems[row] = str(error)
            else:
                if block is None:
                    over.append(row)
                else:
                    made.append((row, block))
        if over:
            self._database.write(lambda db: _wanted.done(db, self.endpoint.url, over))
        if problems:
            self._database.write(partial(self._note_problems, problems=problems))
        return made

    # -- pins -------------------------------------------------------------------------------

    async def _pin(self, rows: Sequence[Row]) -> None:
        """Send and pin these roots; each is noted with the CAR that completes it."""
        try:
            walk = Walk(self._blocks, [row.subject for row in rows], self._held)
            noted = 0
            while noted < len(rows):
                noted = await self._send(walk, rows, noted)
        except BrokenRootError as error:
            row = next(row for row in rows if row.subject == error.root)
            _log.error("a pin cannot be sent", cid=text_of(row.subject), why=str(error))
            await self._put_off({row: str(error)})

    async def _send(self, walk: Walk, rows: Sequence[Row], noted: int) -> int:
        """One CAR, with the pins that it completes; how many roots are pinned by then."""
        bytes_max = CAR_BYTES >> self._halvings
        blocks = await anyio.to_thread.run_sync(walk.take, bytes_max)
        complete = walk.complete
        ready = rows[noted:complete]
        kubo = self.endpoint.kubo
        if not ready:
            # A root larger than a CAR: what is sent so far waits there, unpinned, for the rest.
            await kubo.import_car([blocks[0][0]], blocks, pin_roots=False)
            return noted
        roots = [row.subject for row in ready]
        patience = PATIENCE << min(self.endpoint.failures, DOUBLINGS_MAX)
        refused = await kubo.import_car(roots, blocks, pin_roots=True, patience=patience)
        await self._done([row for row in ready if row.subject not in refused])
        self._pinned += len(ready) - len(refused)
        if not refused:
            self._held.add(walk.told())
        elif self._held:
            # Perhaps what was left out is not there any more. Still due, they go whole next.
            self._held.clear()
        else:
            missed = {row: refused[row.subject] for row in ready if row.subject in refused}
            await self._put_off(missed)
        return complete

    # -- noting it --------------------------------------------------------------------------

    async def _due(self, kind: Kind, limit: int) -> list[Row]:
        url, now_ms = self.endpoint.url, self._clock.now_ms()
        return await self._database.read_async(
            lambda db: _wanted.due(db, url, kind, now_ms, max(1, limit))
        )

    async def _done(self, rows: Sequence[Row]) -> None:
        url = self.endpoint.url
        await self._database.write_async(lambda db: _wanted.done(db, url, rows))

    async def _put_off(self, problems: dict[Row, str]) -> None:
        if problems:
            await self._database.write_async(partial(self._note_problems, problems=problems))

    def _note_problems(self, db: sqlite3.Connection, problems: dict[Row, str]) -> None:
        for row, why in problems.items():
            due_ms = self._clock.now_ms() + backoff_ms(row.tries + 1, STUCK_S_MAX)
            _wanted.put_off(db, self.endpoint.url, row, due_ms, why[:1000])

    def _tell_done(self) -> None:
        told = {"pinned": self._pinned, "released": self._released}
        if self._tell is not None and any(told.values()):
            self._tell(PINNED, {"endpoint": self.endpoint.url, **told})
        self._pinned = self._released = 0


def _noted(db: sqlite3.Connection, made: Sequence[tuple[Row, Block]]) -> list[tuple[Row, Block]]:
    """Keep what is about to be sent, so that it can be removed; without what was erased by now."""
    left = []
    for row, (cid, data) in made:
        if not _wanted.is_erased(db, row.subject):
            db.execute("INSERT OR IGNORE INTO outbox_envelope VALUES (?, ?)", (row.subject, cid))
            left.append((row, (cid, data)))
    return left


def _unique(blocks: Sequence[Block]) -> list[Block]:
    return list(dict(blocks).items())
