"""The log and its index, as the engine wants to see them."""

from __future__ import annotations

from collections.abc import Iterator

from qflow import _core, model
from qflow.audit import History, Index, Log
from qflow.engine import Entry
from qflow.errors import ExecutionNotFoundError


class Archive:
    """Fills the engine's port of that name."""

    def __init__(self, index: Index, history: History, log: Log) -> None:
        self._index, self._history, self._log = index, history, log

    def execution(self, execution: str) -> model.Execution | None:
        self._index.catch_up(self._log)
        try:
            return self._index.execution(execution)
        except ExecutionNotFoundError:
            return None

    def entries(self, execution: str) -> Iterator[Entry]:
        chain = model.id_bytes(execution)
        newest = self._history.snapshot(chain)
        start = 0 if newest is None else newest.seq
        for entry in self._history.replay_source(chain, start):
            yield Entry(entry.seq, entry.hash, entry.record, entry.value)

    def block(self, cid: str) -> bytes | None:
        found = _core.Cid(cid)
        self._index.catch_up(self._log)
        return None if self._index.block(bytes(found)) is None else self._history.block(found)

    def unfinished(self) -> Iterator[model.Execution]:
        return iter(self._index.unfinished())
