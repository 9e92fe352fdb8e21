"""What is done for documents in the background: compacting, letting go, telling other stores."""

from __future__ import annotations

import sqlite3
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio

from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.errors import QflowError, UnavailableError
from qflow.state import _document_rows as rows
from qflow.state._document_compaction import Compaction
from qflow.state._document_store import Store, pin_name
from qflow.state._document_words import ERASING, Compacted, CompactionLimits
from qflow.state._ports import Pins

if TYPE_CHECKING:
    from qflow.state._document_live import Live

PUBLISH_MS: Final = 30_000
"""Other stores hear of a document's new blocks this often at most: each of them is a pin there."""
PUBLISH_MAX: Final = 256
"""Documents told of in one transaction."""
_log = logger("qflow.state")


class Care:
    """Works while it is entered. Left: what was begun is finished or given up."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: CompactionLimits,
        *,
        pins: Pins | None,
        quorum: int | None,
    ) -> None:
        self._store, self._clock, self._limits, self._pins = store, clock, limits, pins
        self.quorum = quorum
        self._due: dict[bytes, Live] = {}
        self._kept: dict[bytes, tuple[int, int]] = {}
        """By document: so many operations and bytes had to stay in its log the last time. It is
        looked at again when there are twice as many."""
        self._one = anyio.Lock()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._changed, self._idle = anyio.Event(), anyio.Event()
        self._stopping, self._busy = False, True

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._work, name="qflow documents")
        self._tasks.start_soon(self._publish_again, name="qflow documents elsewhere")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._tasks is not None
        self._stopping = True
        self._changed.set()
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._tasks = None
        with anyio.CancelScope(shield=True):
            await self.publish()

    # -- compacting ------------------------------------------------------------------------

    def look_at(self, live: Live) -> None:
        """Compact a document soon if that is due."""
        tail, limits = live.tail, self._limits
        operations, size_bytes = self._kept.get(live.row.id, (0, 0))
        due = (
            tail.operations >= max(limits.operations, 2 * operations)
            or tail.size_bytes >= max(limits.size_bytes, 2 * size_bytes)
            or tail.blocks >= limits.blocks
        )
        if due and live.row.id not in self._due:
            self._due[live.row.id] = live
            self.wake()

    def forget(self, live: Live) -> None:
        """It was closed."""
        self._due.pop(live.row.id, None)
        self._kept.pop(live.row.id, None)

    def wake(self) -> None:
        """Something is to be done."""
        if not self._busy:
            self._busy, self._idle = True, anyio.Event()
        self._changed.set()

    async def settle(self) -> None:
        """Return when nothing is due and nothing runs."""
        while self._busy:
            await self._idle.wait()

    async def compact(self, live: Live) -> Compacted:
        """Compact a document now; one at a time."""
        async with self._one:
            live.check_open()
            compaction = Compaction(
                self._store, live, self._clock, self._limits, self.quorum, self._paused
            )
            with anyio.CancelScope(shield=True):
                done = await compaction.run()
            self._kept[live.row.id] = (live.tail.operations, live.tail.size_bytes)
            live.telling.compacted(done)
            await self._release()
            return done

    async def _work(self) -> None:
        while True:
            self._changed = anyio.Event()
            await self._release()
            if self._due:
                live = self._due.pop(next(iter(self._due)))
                await self._compact_due(live)
                if self._due:
                    await self._clock.sleep_until(self._clock.now_ms() + self._limits.pause_ms)
            elif not self._changed.is_set():
                self._busy = False
                self._idle.set()
                await self._changed.wait()

    async def _compact_due(self, live: Live) -> None:
        try:
            await self.compact(live)
        except UnavailableError:  # closed meanwhile
            return
        except (QflowError, OSError, TypeError, ValueError) as error:
            # What members attested or wrote is at fault: the others go on.
            self._kept[live.row.id] = (live.tail.operations, live.tail.size_bytes)
            _log.error("a document is not compacted", document=live.row.name, why=str(error))

    def _paused(self) -> bool:
        """Asked between two pieces of work: whether to give up."""
        return self._stopping

    async def _release(self) -> None:
        """Let go of what is not needed any more; what is left is let go at the next opening."""
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._store.release, self._paused)
        except (QflowError, OSError) as error:
            _log.error("blocks of documents are not let go", why=str(error))

    # -- erasing ---------------------------------------------------------------------------

    def begin_erasing(self, db: sqlite3.Connection, doc: bytes) -> None:
        """Within a transaction: the document is nobody's any more, here and elsewhere."""
        row = rows.row_of(db, doc)
        if row is None:
            return
        self._store.blocks.pin_block(db, row.head, f"{pin_name(doc)}/old")
        rows.want_release(db, row.head)
        rows.forget(db, row.number)
        rows.set_state(db, row.number, ERASING)
        if self._pins is not None and row.published is not None:
            self._pins.want_unpin(db, row.published)
        rows.set_published(db, row.number, None)

    # -- other stores ----------------------------------------------------------------------

    async def publish(self) -> int:
        """See `Documents.publish`."""
        if self._pins is None:
            return 0
        count = 0
        while some := await self._store.database.write_async(partial(self._publish, self._pins)):
            count += some
        return count

    def _publish(self, pins: Pins, db: sqlite3.Connection) -> int:
        due = rows.unpublished(db, PUBLISH_MAX)
        for row in due:
            pins.want_pin(db, row.head, pin_name(row.id))
            if row.published is not None:
                pins.want_unpin(db, row.published)
            rows.set_published(db, row.number, row.head)
        return len(due)

    async def _publish_again(self) -> None:
        if self._pins is None:
            return
        while True:
            try:
                await self.publish()
            except (QflowError, OSError) as error:
                _log.error("other stores are not told of documents", why=str(error))
            await self._clock.sleep_until(self._clock.now_ms() + PUBLISH_MS)
