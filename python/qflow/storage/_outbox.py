"""What other stores are still to be told, durable beside what it is about, and who tells them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from os import PathLike
from typing import Any, Final

import anyio
import msgspec
from anyio.lowlevel import current_token

from qflow.clock import Clock, SystemClock
from qflow.diagnostics import logger
from qflow.errors import BusyError, ConfigError, LockedError, QflowError, UnavailableError
from qflow.storage import _wanted
from qflow.storage._catch_up import CatchUp, Envelope
from qflow.storage._database import Database, _waker
from qflow.storage._endpoint import BACKOFF_S_MAX, Endpoint, Tell, backoff_ms
from qflow.storage._kubo import TIMEOUT_S
from qflow.storage._sqlite import SqliteBlocks
from qflow.storage._wanted import EndpointStatus, Kind

POLL_MS: Final = 5_000
"""Rows of other processes are seen after this; one's own at once."""

_log = logger("qflow.storage")


class Pin(msgspec.Struct, frozen=True):
    """Whether an endpoint has a pin."""

    endpoint: str
    is_owed: bool
    """It still has to set it."""
    problem: str | None
    """What kept it from that, last."""


class Outbox:
    """Has Kubo endpoints pin, release and remove what this home does.

    The `want_` methods are for jobs of the `Database`: what is wanted is durable with the job, and
    done at each endpoint once it can be reached, in whatever order; again is no harm, and a kill
    at any moment loses nothing. An endpoint that is new in the settings gets everything that is
    pinned here; `run` forgets one that left them. What a pin is called stays here: it could tell a
    stranger what it is about.

    `envelope(chain)` gives the envelope of a chain's key, from a thread: None when it has no key
    of its own, ErasedError when the key was destroyed. `tell` hears of what endpoints did. Raises
    ConfigError for a URL that is none, or twice, and for a `quorum` that can never be met.
    """

    def __init__(
        self,
        database: Database,
        urls: Sequence[str] = (),
        *,
        clock: Clock | None = None,
        timeout_s: float = TIMEOUT_S,
        quorum: int = 1,
        envelope: Envelope | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._database, self._clock = database, clock or SystemClock()
        self._blocks = SqliteBlocks(database)
        self.endpoints: Final = tuple(
            Endpoint(url, database, self._clock, timeout_s=timeout_s, tell=tell) for url in urls
        )
        self._urls = [endpoint.url for endpoint in self.endpoints]
        if len(set(self._urls)) < len(self._urls):
            raise ConfigError("storage.kubo names an endpoint twice")
        check_quorum(quorum, len(self._urls))
        self._quorum = quorum
        self._tasks = {
            endpoint.url: CatchUp(endpoint, self._blocks, self._clock, envelope, tell)
            for endpoint in self.endpoints
        }
        database.schema(_wanted.TABLES)
        if set(self._urls) - {status.url for status in self.status()}:
            database.write(lambda db: _wanted.enlist(db, self._urls, self._clock.now_ms()))
        self._wake: Callable[[], object] | None = None

    # -- within a caller's transaction ------------------------------------------------------

    def want_pin(self, db: sqlite3.Connection, cid: bytes, name: str = "") -> None:
        """A block and all beneath it is to be pinned at every endpoint. It is pinned here."""
        self._want(db, "pin", cid)

    def want_unpin(self, db: sqlite3.Connection, cid: bytes) -> None:
        """A pin is to be released at every endpoint."""
        self._want(db, "unpin", cid)

    def want_remove(self, db: sqlite3.Connection, cid: bytes) -> None:
        """A block is to be released and removed at every endpoint, unless others pin it there."""
        self._want(db, "remove", cid)

    def want_key(self, db: sqlite3.Connection, chain: bytes) -> None:
        """The envelope of a chain's key is to be pinned at every endpoint, and none of before.

        Asked again when the envelope is another one, after a rotation. Nothing when the key was
        given up.
        """
        _wanted.want_key(db, chain, self._clock.now_ms())
        self.wake()

    def is_key_wanted(self, db: sqlite3.Connection, chain: bytes) -> bool:
        """Whether the envelope of a chain's key was wanted and not released, or was given up."""
        return _wanted.is_key_wanted(db, chain)

    def renew_keys(self, db: sqlite3.Connection) -> None:
        """Every envelope is another one now, after a rotation."""
        for chain in _wanted.wanted_keys(db):
            self.want_key(db, chain)

    def release_key(self, db: sqlite3.Connection, chain: bytes) -> None:
        """No endpoint has to have an envelope of this chain's key, until it is wanted again."""
        _wanted.release_key(db, chain, self._clock.now_ms())
        self.wake()

    def want_no_key(
        self, db: sqlite3.Connection, chain: bytes, envelopes: Iterable[bytes] = ()
    ) -> None:
        """No endpoint is to have an envelope of this chain's key, now or ever again: those that
        were sent from here, and `envelopes`, by CID."""
        _wanted.want_no_key(db, chain, self._clock.now_ms(), envelopes)
        self.wake()

    def is_key_given_up(self, db: sqlite3.Connection, chain: bytes) -> bool:
        """Whether `want_no_key` was called for a chain."""
        return _wanted.is_erased(db, chain)

    def _want(self, db: sqlite3.Connection, kind: Kind, subject: bytes) -> None:
        _wanted.want(db, kind, subject, self._clock.now_ms())
        self.wake()

    # -- how it stands ----------------------------------------------------------------------

    def status(self) -> list[EndpointStatus]:
        """How each endpoint stands; blocks."""
        return self._database.read(_wanted.statuses)

    def pins_of(self, cid: bytes) -> list[Pin]:
        """Where a root that is pinned here is pinned, or is to be; blocks."""

        def find(db: sqlite3.Connection) -> list[Pin]:
            query = (
                "SELECT url, subject NOT NULL, coalesce(o.problem, e.problem)"
                " FROM outbox_endpoint AS e LEFT JOIN outbox AS o"
                " ON endpoint = number AND subject = ? AND kind = 'pin' ORDER BY number"
            )
            rows = db.execute(query, (cid,)).fetchall()
            return [Pin(url, bool(owed), what if owed else None) for url, owed, what in rows]

        return self._database.read(find)

    def owed(self, cids: Iterable[bytes]) -> int:
        """How much endpoints are still to be told about these; blocks."""
        query = "SELECT count(*) FROM outbox WHERE subject = ? AND endpoint = ?"
        given = list(cids)

        def count(db: sqlite3.Connection) -> int:
            numbers = [number for (number,) in db.execute("SELECT number FROM outbox_endpoint")]
            pairs = [(cid, number) for cid in given for number in numbers]
            return sum(int(db.execute(query, pair).fetchone()[0]) for pair in pairs)

        return self._database.read(count)

    # -- telling them -----------------------------------------------------------------------

    async def catch_up(self) -> list[EndpointStatus]:
        """Tell every endpoint all that it is owed, now; how they stand after that.

        An endpoint that fails is no error here: its status says it. Those that lied are left out.
        Raises as the `Database` does when this home's own store fails.
        """
        faults: list[QflowError] = []

        async def tell(task: CatchUp) -> None:
            try:
                await task.attempt()
            except (QflowError, OSError) as error:
                faults.append(_plain(error))

        async with anyio.create_task_group() as tasks:
            for task in self._tasks.values():
                tasks.start_soon(tell, task)
        if faults:
            raise faults[0]
        return await self._database.read_async(_wanted.statuses)

    async def settle(self, roots: Sequence[bytes], copies: int) -> None:
        """Return as soon as `copies` endpoints have pinned these, which are pinned here.

        Raises UnavailableError when fewer could, also because another process keeps this home's
        store to itself, or released one of them meanwhile; the rest goes on being owed.
        PoisonedError and CorruptError of that store.
        """
        settled = 0
        faults: list[QflowError] = []

        async def tell(task: CatchUp) -> None:
            nonlocal settled
            try:
                if await task.attempt(roots):
                    settled += 1
            except (QflowError, OSError) as error:
                faults.append(_plain(error))
            if settled >= copies:
                tasks.cancel_scope.cancel()

        if copies <= 0:
            return
        async with anyio.create_task_group() as tasks:
            for task in self._tasks.values():
                tasks.start_soon(tell, task)
        if settled < copies:
            raise _unsettled(settled, copies, faults)

    async def confirm(self, roots: Sequence[bytes]) -> None:
        """As `settle` for the quorum, of which this home is one. At once for a quorum of 1."""
        await self.settle(roots, self._quorum - 1)

    async def run(self) -> None:
        """Tell endpoints what they are owed as soon as it is wanted, until cancelled.

        An endpoint that fails is asked again later and later; so is this home's own store.
        """
        wakes = [anyio.Event() for _ in self.endpoints]
        soon = _waker(current_token())

        def wake() -> None:
            for number, event in enumerate(wakes):
                event.set()
                wakes[number] = anyio.Event()

        self._wake = lambda: soon(wake)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._dismiss)
                for number, task in enumerate(self._tasks.values()):
                    tasks.start_soon(self._attend, task, wakes, number)
        finally:
            self._wake = None

    def wake(self) -> None:
        """Look at once whether something is owed; from any thread."""
        if (wake := self._wake) is not None:
            wake()

    async def _dismiss(self) -> None:
        """Forget the endpoints that left the settings; nothing is written when there are none."""
        tries = 0
        while True:
            try:
                known = {status.url for status in await self._database.read_async(_wanted.statuses)}
                if known - set(self._urls):
                    forget = partial(_wanted.dismiss, urls=self._urls)
                    await self._database.write_async(forget)
            except QflowError as error:
                _log.error("endpoints are not forgotten", why=str(error))
            else:
                return
            tries += 1
            due_ms = self._clock.now_ms() + backoff_ms(tries, BACKOFF_S_MAX)
            await self._clock.sleep_until(due_ms)

    async def _attend(self, task: CatchUp, wakes: list[anyio.Event], number: int) -> None:
        endpoint = task.endpoint
        async with endpoint.opened():
            while True:
                woken = wakes[number]
                if self._clock.now_ms() >= endpoint.due_ms:
                    try:
                        await task.attempt()
                    except (QflowError, OSError) as error:
                        # Not the endpoint's fault but this home's: whoever writes hears it, too.
                        _log.error("endpoints are not told", endpoint=endpoint.url, why=str(error))
                        endpoint.put_off()
                await self._pause(woken, endpoint)

    async def _pause(self, woken: anyio.Event, endpoint: Endpoint) -> None:
        """Until the endpoint is due again; else until something is wanted, or time to look."""
        now_ms = self._clock.now_ms()
        if endpoint.due_ms > now_ms:
            await self._clock.sleep_until(endpoint.due_ms)
            return
        async with anyio.create_task_group() as tasks:

            async def wait(call: Any, *arguments: Any) -> None:
                await call(*arguments)
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait, self._clock.sleep_until, now_ms + POLL_MS)
            tasks.start_soon(wait, woken.wait)


def _plain(error: QflowError | OSError) -> QflowError:
    return error if isinstance(error, QflowError) else UnavailableError(str(error))


def _unsettled(settled: int, copies: int, faults: Sequence[QflowError]) -> QflowError:
    """Why too few have it: worst is a store of ours that is not written any more."""
    for fault in faults:
        if not isinstance(fault, LockedError | BusyError | UnavailableError):
            return fault
    why = f" ({faults[0]})" if faults else ""
    return UnavailableError(
        f"{settled} of {copies} other stores have it{why}; it is durable here, and they get it"
        " when they answer, unless it was released meanwhile"
    )


def check_quorum(quorum: int, endpoints: int) -> None:
    """Raise ConfigError when there are fewer stores than have to have everything."""
    if quorum > 1 + endpoints:
        raise ConfigError(
            f"storage.quorum is {quorum}, but there are {1 + endpoints} stores: this home and"
            f" {endpoints} of storage.kubo"
        )


def endpoint_statuses(path: str | PathLike[str]) -> list[EndpointStatus]:
    """How the endpoints of a home stand, by its `state.db`, which is there; blocks.

    Raises UnavailableError, CorruptError.
    """

    def find(db: sqlite3.Connection) -> list[EndpointStatus]:
        query = "SELECT 1 FROM sqlite_schema WHERE name = 'outbox_endpoint'"
        return _wanted.statuses(db) if db.execute(query).fetchone() else []

    with Database(path) as database:
        return database.read(find)
