"""A node's files while no node runs: reading them, and recording what a person decides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from qflow import model
from qflow.audit import History, Index
from qflow.audit._erasures import apply_erasures
from qflow.audit._own import own_chain
from qflow.audit._result import with_problem, with_result
from qflow.cli._exit import NOT_FOUND, Refusal
from qflow.cli._reader import open_reader
from qflow.errors import ExecutionNotFoundError
from qflow.trust import Keyring, load_seed, public_half

if TYPE_CHECKING:
    from qflow.audit import Source
    from qflow.config import Config


def open_files(config: Config) -> AbstractAsyncContextManager[Offline | NoHistory]:
    """The files in the home of a configuration. Refused when it has no home."""
    home = config.home
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
        self._config, self._home = config, config.home

    async def __aenter__(self) -> Self:
        self._source: Source = open_reader(self._home / "log")
        self._index = Index(self._home / "index.db")
        self._index.catch_up(self._source)
        self._history = History(self._index, self._source, self._keys())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._index.close()
        self._keyring.close()

    def _keys(self) -> Keyring | None:
        """The keys of this home, without those that the log says are destroyed; None for a copy
        that has none: payloads stay sealed."""
        self._keyring = Keyring(self._home, lambda: load_seed(self._home))
        if not self._keyring.exists or not (self._home / "node.key").exists():
            return None
        chain = own_chain(public_half(load_seed(self._home)))
        apply_erasures(History(self._index, self._source), chain, self._keyring, mark=False)
        return self._keyring

    async def list(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[model.Execution]:
        """As `Client.list`."""
        found = self._index.executions(status=status, flow=flow, limit=limit, before=before)
        return [with_problem(view, self._history) for view in found]

    async def show(self, execution: str) -> model.Execution:
        """As `Client.show`."""
        return with_result(self._index.execution(execution), self._history)

    async def history(
        self, execution: str, *, after: int = -1, limit: int = 1000, payloads: bool = False
    ) -> Sequence[dict[str, Any]]:
        """As `Client.history`."""
        from qflow.api import record_document

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
        # Imported here: a decision needs the engine, and most commands only look.
        from qflow.cli._recording import record

        await record(self._config, self._index, self._keyring, execution, kind, reason)
        self._index.catch_up(self._source)
