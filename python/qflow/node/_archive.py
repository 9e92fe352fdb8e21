"""The log, its index and the store of states, as the engine wants to see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from qflow import _core, model
from qflow.audit import Entry as Found
from qflow.audit import History, Index, Log
from qflow.audit._read import Unsealer
from qflow.audit._result import key_number, with_result
from qflow.diagnostics import logger
from qflow.engine import Entry
from qflow.engine._replay import CHECKPOINT
from qflow.engine._snapshot import check_form
from qflow.errors import (
    ErasedError,
    ExecutionNotFoundError,
    QflowError,
    UnavailableError,
    VerificationError,
)
from qflow.node._adoption import is_restored
from qflow.state import Saved, States

_log = logger(__name__)


class Beginning(NamedTuple):
    """From where an execution is replayed."""

    seq: int
    """The number of a checkpoint's record."""
    frozen: Any
    """The state that it names."""


class Archive:
    """Fills the engine's port of that name. Without a store of states, every execution is replayed
    from its first record."""

    def __init__(
        self,
        index: Index,
        history: History,
        log: Log,
        keys: Unsealer,
        states: States | None,
        *,
        node: str,
    ) -> None:
        self._index, self._history, self._log, self._keys = index, history, log, keys
        self._states, self._node = states, node
        self.floor = 0
        """What lies before this address is about to go: it is read as long as it is there."""

    def execution(self, execution: str) -> model.Execution | None:
        self._index.catch_up(self._log)
        try:
            return with_result(self._index.execution(execution), self._history)
        except ExecutionNotFoundError:
            return None

    def entries(self, execution: str) -> Iterator[Entry]:
        """See the engine's port. Raises UnavailableError for a chain of another node that has not
        come here to its end."""
        chain, last = model.id_bytes(execution), None
        begins = self.beginning(chain)
        for entry in self._history.replay_source(chain, 0 if begins is None else begins.seq):
            value = entry.value
            if isinstance(value, model.Withheld):
                raise _withheld(execution, value)
            if begins is not None and entry.seq == begins.seq:
                value = begins.frozen
            last = Entry(entry.seq, entry.hash, entry.record, value)
            yield last
        if last is not None and last.record["node"] != self._node:
            self._check_restored(execution, last)

    def _check_restored(self, execution: str, last: Entry) -> None:
        """Part of a restore that was cut off may look like a whole chain. Who went on with it would
        write another history than the one that is to come."""
        if not is_restored(self._history, execution, last.seq):
            raise UnavailableError(
                f"{execution} came from {last.record['node']}, and a restore of it was cut off at"
                f" record {last.seq}: restore it again"
            )

    def beginning(self, chain: bytes) -> Beginning | None:
        """The newest checkpoint of a chain whose state is good: a version that verifies, of the
        very record that the log has, with the state that this record names. None: record 0.

        What was refused, and why, is a line in the program's log. Nothing that the store says is
        believed without the record: an older copy of the store, or another one, can only make a
        replay longer.
        """
        newest = self._history.snapshot(chain)
        if newest is None or self._states is None:
            return None
        found = None
        versions = self._versions(self._states, chain, newest.seq)
        for saved in versions:
            try:
                found = self._checked(self._states, chain, saved)
                break
            except (QflowError, ValueError) as error:
                _refused(chain, saved.seq, str(error))
        if not versions or versions[0].seq != newest.seq:
            begins = 0 if found is None else found.seq
            _refused(chain, newest.seq, _missing(newest), begins=begins)
        return found

    def _versions(self, states: States, chain: bytes, seq: int) -> list[Saved]:
        """What the store says that it has, newest first, as far as the log goes."""
        try:
            return [saved for saved in states.history(chain) if saved.seq <= seq]
        except QflowError as error:
            _refused(chain, seq, str(error))
            return []

    def _checked(self, states: States, chain: bytes, saved: Saved) -> Beginning:
        (entry,) = self._history.records(chain, after=saved.seq - 1, limit=1)
        version = states.version(saved.cid)
        if (version.chain, version.seq, version.head) != (chain, entry.seq, entry.hash):
            raise VerificationError("it is of another history than the log's")
        named = entry.record["meta"].get("state")
        if entry.record["type"] != CHECKPOINT or named != str(_core.Cid(version.state)):
            raise VerificationError(f"its state is not the one on record, {named}")
        frozen = _core.decode(states.load(saved.cid))
        check_form(frozen)
        return Beginning(entry.seq, frozen)

    def key(self, execution: str) -> _core.SealingKey | None:
        number = key_number(self._history, execution)
        return None if number is None else self._keys.key_of(model.id_bytes(execution), number)

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


def _missing(newest: Found) -> str:
    if newest.record["payload"] is not None:
        return "it was written in an older form, and is not begun from"
    return (
        "the store of states does not have it: the node ended before it was kept, or the store is"
        " new or an older copy"
    )


def _refused(chain: bytes, seq: int, why: str, **more: Any) -> None:
    _log.warning(
        "a checkpoint is not begun from",
        execution=model.id_text(chain),
        seq=seq,
        why=why,
        **more,
    )


def _withheld(execution: str, why: model.Withheld) -> Exception:
    text = f"the payloads of {execution} are {why.value}"
    return ErasedError(text) if why is model.Withheld.ERASED else UnavailableError(text)
