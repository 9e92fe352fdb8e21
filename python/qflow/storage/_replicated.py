"""One blockstore of several: the embedded one, and Kubo endpoints beside it."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import anyio

from qflow.clock import Clock, SystemClock
from qflow.errors import (
    BlockNotFoundError,
    QflowError,
    UnavailableError,
    VerificationError,
)
from qflow.storage._blocks import Block, get_each, text_of
from qflow.storage._endpoint import Endpoint
from qflow.storage._outbox import Outbox, check_quorum
from qflow.storage._sqlite import SqliteBlocks

HEDGE_FACTOR: Final = 3.0
"""After so many times what an endpoint takes as a rule, the next is asked for the block, too."""
HEDGE_S_MIN: Final = 0.05
"""And not earlier than this; for one that was never asked, this."""
FETCHES_MAX: Final = 8
"""Blocks that are fetched at once."""


class Replicated:
    """A `Blockstore` whose blocks and pins are in `quorum` stores before they count as stored.

    The embedded store is one of them, and always has everything: with a quorum of 1 nothing waits
    for an endpoint, and the `Outbox` brings it up to date. What is pinned is owed to every
    endpoint; when a quorum is missed that is an UnavailableError, and what was stored by then
    stays: it is durable here, and goes to the endpoints when they answer.

    A block is read here, and only when it is missing or damaged from the endpoint that has been
    the fastest, then from the others; every block is hashed again, and a damaged one is mended. An
    endpoint that gives other bytes is marked: it is not used for BAD_S, see `Endpoint`.
    Raises ConfigError for a quorum that can never be met.
    """

    def __init__(
        self,
        local: SqliteBlocks,
        outbox: Outbox,
        *,
        quorum: int = 1,
        clock: Clock | None = None,
    ) -> None:
        check_quorum(quorum, len(outbox.endpoints))
        self._local, self._outbox, self._others = local, outbox, quorum - 1
        self._database = local.database
        self._clock = clock or SystemClock()

    async def put_many(self, blocks: Iterable[Block]) -> None:
        """See `Blockstore`. At endpoints blocks may go with their garbage until they are pinned."""
        given = list(blocks)
        await self._local.put_many(given)
        if self._others and given:
            await self._quorum(lambda endpoint: endpoint.kubo.put_many(given))

    async def get(self, cid: bytes) -> bytes:
        """See `Blockstore`."""
        try:
            return await self._local.get(cid)
        except (BlockNotFoundError, VerificationError) as error:
            data = await self._fetch(cid, error)
        await self._database.write_async(partial(self._mend, block=(cid, data)))
        return data

    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        """See `Blockstore`; FETCHES_MAX at once where they are not here."""
        try:
            return await self._local.get_many(cids)
        except (BlockNotFoundError, VerificationError):
            return await get_each(self.get, cids, FETCHES_MAX)

    async def has(self, cid: bytes) -> bool:
        """See `Blockstore`. An endpoint that does not answer has nothing."""
        if await self._local.has(cid):
            return True
        for endpoint in await self._usable():
            try:
                async with endpoint.opened() as kubo:
                    if await kubo.has(cid):
                        return True
            except UnavailableError as error:
                await endpoint.failed(error)
        return False

    async def delete(self, cids: Iterable[bytes]) -> None:
        """See `Blockstore`. Endpoints that are away remove them when they are back."""
        given = list(dict.fromkeys(cids))

        def remove(db: sqlite3.Connection) -> None:
            self._local.delete_blocks(db, given)
            for cid in given:
                self._outbox.want_remove(db, cid)

        await self._database.write_async(remove)
        await self._outbox.catch_up()

    async def pin(self, cid: bytes, name: str = "") -> None:
        """See `Blockstore`. The name stays here."""

        def pin(db: sqlite3.Connection) -> None:
            self._local.pin_block(db, cid, name)
            self._outbox.want_pin(db, cid, name)

        await self._database.write_async(pin)
        await self._outbox.settle([cid], self._others)

    async def unpin(self, cid: bytes) -> None:
        """See `Blockstore`. Endpoints release it when they answer."""

        def unpin(db: sqlite3.Connection) -> None:
            if self._local.unpin_block(db, cid):
                self._outbox.want_unpin(db, cid)

        await self._database.write_async(unpin)

    def pins(self) -> AsyncIterator[tuple[bytes, str]]:
        """See `Blockstore`: those of the embedded store, which endpoints follow."""
        return self._local.pins()

    # -- endpoints --------------------------------------------------------------------------

    async def _usable(self) -> list[Endpoint]:
        """Those that did not lie: the fastest first, those that failed of late last."""
        now_ms = self._clock.now_ms()
        usable = [one for one in self._outbox.endpoints if not await one.bad_until_ms()]
        return sorted(
            usable,
            key=lambda one: (
                one.due_ms > now_ms,
                math.inf if one.latency_ms is None else one.latency_ms,
            ),
        )

    async def _quorum(self, call: Callable[[Endpoint], Awaitable[None]]) -> None:
        """Return as soon as enough endpoints did it. Raises UnavailableError."""
        done = 0

        async def attempt(endpoint: Endpoint) -> None:
            nonlocal done
            try:
                async with endpoint.opened():
                    await call(endpoint)
            except UnavailableError as error:
                await endpoint.failed(error)
                return
            done += 1
            if done >= self._others:
                tasks.cancel_scope.cancel()

        usable = await self._usable()
        async with anyio.create_task_group() as tasks:
            for endpoint in usable:
                tasks.start_soon(attempt, endpoint)
        if done < self._others:
            raise UnavailableError(
                f"{done} of {self._others} other stores have the blocks; they are durable here"
            )

    async def _fetch(self, cid: bytes, here: QflowError) -> bytes:
        """A good block from the endpoint that is first to give it. Raises why it cannot be had."""
        faults: list[QflowError] = []
        found: list[bytes] = []
        moved = [anyio.Event()]

        async def ask(endpoint: Endpoint) -> None:
            begun = self._clock.elapsed_ms()
            try:
                async with endpoint.opened() as kubo:
                    found.append(await kubo.get(cid))
                await endpoint.took(float(self._clock.elapsed_ms() - begun))
            except QflowError as fault:
                await _note(endpoint, fault)
                faults.append(fault)
            moved[0].set()

        usable = await self._usable()
        async with anyio.create_task_group() as tasks:
            for asked, endpoint in enumerate(usable, 1):
                tasks.start_soon(ask, endpoint)
                is_last = asked == len(usable)
                limit_s = math.inf if is_last else _patience_s(endpoint)
                with anyio.move_on_after(limit_s):
                    while not found and len(faults) < asked:
                        await moved[0].wait()
                        moved[0] = anyio.Event()
                if found:
                    break
            tasks.cancel_scope.cancel()
        if found:
            return found[0]
        raise _worst(cid, [here, *faults])

    def _mend(self, db: sqlite3.Connection, block: Block) -> None:
        """Store a block that should be here and is not, or not any more."""
        query = "SELECT 1 FROM block WHERE cid = ? AND refs > 0 AND place IS NULL"
        if db.execute(query, (block[0],)).fetchone():
            self._local.put_blocks(db, [block])


async def _note(endpoint: Endpoint, fault: QflowError) -> None:
    """What an answer says of the endpoint. Noted also when the block came from another by now."""
    with anyio.CancelScope(shield=True):
        if isinstance(fault, VerificationError):
            await endpoint.lied(fault)
        elif isinstance(fault, UnavailableError):
            await endpoint.failed(fault)


def _patience_s(endpoint: Endpoint) -> float:
    return max(HEDGE_S_MIN, HEDGE_FACTOR * (endpoint.latency_ms or 0.0) / 1000)


def _worst(cid: bytes, faults: Sequence[QflowError]) -> QflowError:
    """Why a block cannot be had: somebody has other bytes, or may have it, or nobody has it."""
    for kind in (VerificationError, UnavailableError):
        for fault in faults:
            if isinstance(fault, kind):
                return fault
    return BlockNotFoundError(f"block {text_of(cid)} is not here, and not at an endpoint")
