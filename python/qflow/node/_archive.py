"""The log and its index, as the engine wants to see them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from qflow import _core, model
from qflow.audit import History, Index, Log
from qflow.engine import Entry, Status
from qflow.engine._ends import aborted
from qflow.engine._state import FINAL
from qflow.errors import ExecutionNotFoundError


class Archive:
    """Fills the engine's port of that name."""

    def __init__(self, index: Index, history: History, log: Log) -> None:
        self._index, self._history, self._log = index, history, log

    def execution(self, execution: str) -> model.Execution | None:
        self._index.catch_up(self._log)
        try:
            return self.with_result(self._index.execution(execution))
        except ExecutionNotFoundError:
            return None

    def with_result(self, view: model.Execution) -> model.Execution:
        """An execution that is over, with its output or whole problem from its last record."""
        if view.status not in FINAL:
            return view
        last = self._history.last(model.id_bytes(view.id))
        if last is None:
            return view
        if view.status == Status.ABORTED:
            return msgspec.structs.replace(view, problem=aborted(last.record["meta"]))
        value = None if last.value is msgspec.UNSET else last.value
        field = "output" if view.status == Status.COMPLETED else "problem"
        return msgspec.structs.replace(view, **{field: value})

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
