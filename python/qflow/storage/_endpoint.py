"""How one endpoint stands: whether it answers, how fast, and whether it lied."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio

from qflow.clock import Clock, random_bytes
from qflow.diagnostics import logger
from qflow.storage import _wanted
from qflow.storage._database import Database
from qflow.storage._kubo import Identity, Kubo

BACKOFF_S_MAX: Final = 60.0
"""Between two attempts at an endpoint that keeps failing."""
BAD_S: Final = 600.0
"""So long an endpoint is not used after it gave other bytes than it should have; twice as long
each time it does so again before it gave right ones."""
BAD_S_MAX: Final = 86_400.0
"""The longest of these times."""
LOST: Final = "q.qflow.state.endpoint_lost.v1"
BACK: Final = "q.qflow.state.endpoint_back.v1"

Tell = Callable[[str, dict[str, Any]], None]
"""Told the type of an event and its data, on the event loop."""

_log = logger("qflow.storage")


def backoff_ms(tries: int, longest_s: float) -> int:
    """How long to wait after so many failures: twice as long each time, up to `longest_s`.

    Between half of it and all: endpoints that failed together are not asked together.
    """
    whole_s = min(longest_s, float(2 ** min(tries, 30)))
    return round(1000 * whole_s * (0.5 + random_bytes(1)[0] / 510))


class Endpoint:
    """A Kubo of the settings, and what is known of it. What lasts is in the `Database`."""

    def __init__(
        self, url: str, database: Database, clock: Clock, *, timeout_s: float, tell: Tell | None
    ) -> None:
        self.kubo: Final = Kubo(url, timeout_s=timeout_s)
        self.url: Final = self.kubo.url
        self._database, self._clock, self._tell = database, clock, tell
        self._users = 0
        self._opening = anyio.Lock()
        self._stack = AsyncExitStack()
        self.failures = 0
        """One after the other."""
        self.due_ms = 0
        """Not asked before, unless somebody insists."""
        self.latency_ms: float | None = None
        """Of a block, lately; None: it was not asked for any."""
        self._problem: str | None = None
        self._is_suspect = False
        """It lied, and gave no good block since."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Kubo]:
        """Its connections, shared by all who use it at the time."""
        async with self._opening:
            if not self._users:
                await self._stack.enter_async_context(self.kubo)
            self._users += 1
        try:
            yield self.kubo
        finally:
            with anyio.CancelScope(shield=True):
                async with self._opening:
                    self._users -= 1
                    if not self._users:
                        await self._stack.aclose()

    async def bad_until_ms(self) -> int:
        """Until when it is not used since it lied; 0 when it is."""
        query = "SELECT bad_until_ms, lies FROM outbox_endpoint WHERE url = ?"
        found: tuple[int, int] | None = await self._database.read_async(
            lambda db: db.execute(query, (self.url,)).fetchone()
        )
        until_ms, lies = found or (0, 0)
        self._is_suspect = bool(lies)
        return until_ms if until_ms > self._clock.now_ms() else 0

    async def took(self, ms: float) -> None:
        """A block came from it, and was good, after so long."""
        self.latency_ms = ms if self.latency_ms is None else 0.8 * self.latency_ms + 0.2 * ms
        if self._is_suspect:
            # It lied before: were it to do so again, that would be a first time.
            self._is_suspect = False
            await self._database.write_async(lambda db: self._change(db, lies=0, bad_until_ms=0))

    async def introduce(self, identity: Identity) -> bool:
        """It answered. True when it is another than before, which has nothing of ours."""

        def note(db: sqlite3.Connection) -> bool:
            query = "SELECT peer, version FROM outbox_endpoint WHERE url = ?"
            before = db.execute(query, (self.url,)).fetchone() or (None, None)
            if before == (identity.peer, identity.version):
                return False
            self._change(db, peer=identity.peer, version=identity.version)
            if before[0] in (None, identity.peer):
                return False
            _wanted.fill(db, self.url, self._clock.now_ms())
            return True

        return await self._database.write_async(note)

    async def answered(self) -> None:
        """It did what it was asked to."""
        if self.failures or self._problem is not None or await self._has_problem():
            since_ms = await self._database.write_async(self._heal)
            if since_ms is not None:
                _log.info("an endpoint is back", endpoint=self.url)
                lost_ms = max(0, self._clock.now_ms() - since_ms)
                self._say(BACK, {"endpoint": self.url, "lost_ms": lost_ms})
        self.failures, self.due_ms, self._problem = 0, 0, None

    def put_off(self) -> None:
        """Ask it again later."""
        self.failures += 1
        self.due_ms = self._clock.now_ms() + backoff_ms(self.failures, BACKOFF_S_MAX)

    async def failed(self, error: Exception) -> None:
        """It did not. It is asked again later and later."""
        self.put_off()
        self.latency_ms = None
        what = _without(str(error), self.url)
        if what == self._problem:
            return
        begins = await self._database.write_async(lambda db: self._note_problem(db, what))
        self._problem = what
        if begins:
            _log.warning("an endpoint is lost", endpoint=self.url, why=what)
            self._say(LOST, {"endpoint": self.url, "problem": what[:1000], "lied": False})

    async def lied(self, error: Exception) -> None:
        """It gave other bytes than it should have: it is marked, and not used for some time."""
        what = _without(str(error), self.url)

        def mark(db: sqlite3.Connection) -> int:
            query = "SELECT lies FROM outbox_endpoint WHERE url = ?"
            lies = int((db.execute(query, (self.url,)).fetchone() or (0,))[0])
            bad_s = min(BAD_S_MAX, BAD_S * (1 << min(lies, 20)))
            until_ms = self._clock.now_ms() + round(bad_s * 1000)
            self._change(db, lies=lies + 1, bad_until_ms=until_ms)
            self._note_problem(db, what)
            return until_ms

        self.due_ms = await self._database.write_async(mark)
        self._problem, self.latency_ms, self._is_suspect = what, None, True
        _log.error("an endpoint gave other bytes", endpoint=self.url, why=what)
        self._say(LOST, {"endpoint": self.url, "problem": what[:1000], "lied": True})

    async def _has_problem(self) -> bool:
        """As noted by an earlier process."""
        query = "SELECT 1 FROM outbox_endpoint WHERE url = ? AND problem NOT NULL"
        return bool(
            await self._database.read_async(lambda db: db.execute(query, (self.url,)).fetchone())
        )

    def _heal(self, db: sqlite3.Connection) -> int | None:
        query = "SELECT since_ms FROM outbox_endpoint WHERE url = ? AND problem NOT NULL"
        row: tuple[int | None] | None = db.execute(query, (self.url,)).fetchone()
        self._change(db, problem=None, since_ms=None)
        return row[0] if row else None

    def _note_problem(self, db: sqlite3.Connection, what: str) -> bool:
        """True when there was none before."""
        query = "SELECT problem, since_ms FROM outbox_endpoint WHERE url = ?"
        problem, since_ms = db.execute(query, (self.url,)).fetchone() or (None, None)
        since_ms = self._clock.now_ms() if since_ms is None else since_ms
        self._change(db, problem=what, since_ms=since_ms)
        return not problem

    def _change(self, db: sqlite3.Connection, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        db.execute(
            f"UPDATE outbox_endpoint SET {names} WHERE url = ?",  # noqa: S608  (names are ours)
            (*values.values(), self.url),
        )

    def _say(self, event: str, data: Mapping[str, Any]) -> None:
        if self._tell is not None:
            self._tell(event, dict(data))


def _without(text: str, url: str) -> str:
    return text.removeprefix(f"{url}: ")
