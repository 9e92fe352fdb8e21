"""The log and its index, as the engine wants to see them."""

from __future__ import annotations

from collections.abc import Iterator

from qflow import _core, model
from qflow.audit import History, Index, Log
from qflow.audit._read import Unsealer
from qflow.audit._result import key_number, with_result
from qflow.engine import Entry
from qflow.errors import ErasedError, ExecutionNotFoundError, UnavailableError


class Archive:
    """Fills the engine's port of that name."""

    def __init__(self, index: Index, history: History, log: Log, keys: Unsealer) -> None:
        self._index, self._history, self._log, self._keys = index, history, log, keys
        self.floor = 0
        """What lies before this address is about to go: it is read as long as it is there."""

    def execution(self, execution: str) -> model.Execution | None:
        self._index.catch_up(self._log)
        try:
            return with_result(self._index.execution(execution), self._history)
        except ExecutionNotFoundError:
            return None

    def entries(self, execution: str) -> Iterator[Entry]:
        chain = model.id_bytes(execution)
        newest = self._history.snapshot(chain)
        start = 0 if newest is None else newest.seq
        for entry in self._history.replay_source(chain, start):
            if isinstance(entry.value, model.Withheld):
                raise _withheld(execution, entry.value)
            yield Entry(entry.seq, entry.hash, entry.record, entry.value)

    def key(self, execution: str) -> _core.SealingKey | None:
        number = key_number(self._history, execution)
        return None if number is None else self._keys.key(number)

    def block(self, cid: str) -> bytes | None:
        found = _core.Cid(cid)
        self._index.catch_up(self._log)
        known = self._index.block(bytes(found))
        return None if known is None else self._history.block(found)

    def keeps(self, cid: str) -> bool:
        self._index.catch_up(self._log)
        known = self._index.block(bytes(_core.Cid(cid)))
        return known is not None and known[0] >= self.floor

    def unfinished(self) -> Iterator[model.Execution]:
        return iter(self._index.unfinished())


def _withheld(execution: str, why: model.Withheld) -> Exception:
    text = f"the payloads of {execution} are {why.value}"
    return ErasedError(text) if why is model.Withheld.ERASED else UnavailableError(text)
