"""A node's files while no node runs: reading them, and recording what a person decides."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from qflow import _core, model
from qflow.api import actor_of, record_document
from qflow.audit import History, Index, Log
from qflow.cli._exit import NOT_FOUND, Refusal
from qflow.cli._reader import open_reader
from qflow.clock import SystemClock
from qflow.engine import Flow, Identity, Live, Status
from qflow.engine._replay import replay
from qflow.engine._state import FINAL, Event
from qflow.errors import ExecutionNotFoundError, ExecutionStateError
from qflow.node._archive import Archive
from qflow.trust import NodeKey, load_or_create_key

if TYPE_CHECKING:
    from qflow.audit import Source
    from qflow.config import Config


def open_files(config: Config) -> AbstractAsyncContextManager[Offline | NoHistory]:
    """The files in the home of a configuration. Refused when it has no home."""
    home = Path(config.home)
    if (home / "log").is_dir():
        return Offline(config)
    if home.is_dir():
        return nullcontext(NoHistory())
    raise Refusal(f"{home} is not there", NOT_FOUND, "qflow init makes a home; --home names one")


class NoHistory:
    """A home in which no node ever ran."""

    async def list(self, **_: Any) -> Sequence[model.Execution]:
        """None."""
        return []

    async def schedules(self) -> Sequence[model.Schedule]:
        """None."""
        return []

    async def show(self, execution: str) -> model.Execution:
        """Not found."""
        raise ExecutionNotFoundError(f"there is no execution {execution!r}: no node ever ran here")


class Offline:
    """The methods of `Client` that need no running node. Entered: the index has caught up.

    What changes something takes the lock of the log, records one decision, and lets go: no step
    runs, and no other execution is touched. Raises `LockedError` when a node runs after all.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._home = config, Path(config.home)
        self._clock = SystemClock()

    async def __aenter__(self) -> Self:
        self._source: Source = open_reader(self._home / "log")
        self._index = Index(self._home / "index.db")
        self._index.catch_up(self._source)
        self._history = History(self._index, self._source)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._index.close()

    async def list(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[model.Execution]:
        """As `Client.list`."""
        return self._index.executions(status=status, flow=flow, limit=limit, before=before)

    async def show(self, execution: str) -> model.Execution:
        """As `Client.show`."""
        view = self._index.execution(execution)
        if view.status not in (Status.COMPLETED, Status.FAULTED):
            return view
        last = self._history.last(model.id_bytes(view.id))
        value = None if last is None or last.value is msgspec.UNSET else last.value
        field = "output" if view.status == Status.COMPLETED else "problem"
        return msgspec.structs.replace(view, **{field: value})

    async def history(
        self, execution: str, *, after: int = -1, limit: int = 1000, payloads: bool = False
    ) -> Sequence[dict[str, Any]]:
        """As `Client.history`."""
        chain = model.id_bytes(self._index.execution(execution).id)
        entries = self._history.records(chain, after=after, limit=limit, values=payloads)
        return [record_document(entry.index, entry.record, entry.value) for entry in entries]

    async def schedules(self) -> Sequence[model.Schedule]:
        """As `Client.schedules`."""
        return self._index.schedules()

    async def pause(self, execution: str, *, reason: str | None = None) -> None:
        """Record a pause. Durable on return."""
        await self._record(execution, "paused", reason)

    async def resume(self, execution: str, *, reason: str | None = None) -> None:
        """Record that it goes on, once a node runs. Durable on return."""
        await self._record(execution, "resumed", reason)

    async def abort(self, execution: str, *, reason: str | None = None) -> None:
        """Record its end. Durable on return."""
        await self._record(execution, "aborted", reason)

    async def _record(self, execution: str, kind: str, reason: str | None) -> None:
        async with self._writing() as (log, key):
            known = self._index.execution(execution)
            if known.status in FINAL:
                raise ExecutionStateError(f"execution {known.id} is over; it cannot be {kind}")
            live = self._restored(known, Archive(self._index, self._history, log))
            event = Event(
                kind=kind,
                at=max(self._clock.now_ms(), live.state.now),
                meta={} if reason is None else {"reason": reason},
            )
            identity = Identity(node=key.did, subnet=self._config.subnet)
            # What the decision asks for is not done here: a node that starts asks for it again.
            records, blocks, _ = live.decide(
                event, identity, actor_of(os.getuid()), self._config.engine.snapshot_every_facts
            )
            if not records:
                raise ExecutionStateError(
                    f"execution {known.id} is {known.status}; it cannot be {kind}"
                )
            await log.append(records, blocks)
        self._index.catch_up(self._source)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[Log, NodeKey]]:
        """The log, locked; the index and the history read from it meanwhile."""
        key, reader = load_or_create_key(self._home), self._source
        bounds = self._config.log
        async with Log(
            str(self._home / "log"),
            key,
            queue_bytes_max=bounds.queue_bytes_max,
            segment_bytes=bounds.segment_bytes,
        ) as log:
            self._index.catch_up(log)
            self._history = History(self._index, log)
            try:
                yield log, key
            finally:
                self._history = History(self._index, reader)

    def _restored(self, known: model.Execution, archive: Archive) -> Live:
        flow = Flow(_core.decode(self._history.block(_core.Cid(known.definition))))
        restored = replay(flow, known.id, archive.entries(known.id))
        live = Live(flow, known.definition, restored.state)
        live.seq, live.prev = restored.seq, restored.prev
        live.since_snapshot = restored.since_snapshot
        return live
