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
    StaleError,
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
        come here to its end, and for one of which a version that is good goes further; StaleError
        when such a version has another history: somebody else owns the execution."""
        chain, last = model.id_bytes(execution), None
        # Looked up before the log is: what a version ends with was durable before it was kept.
        newest = self._newest(chain)
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
        if last is not None and newest is not None:
            self._check_follows(execution, last, newest)

    def _check_restored(self, execution: str, last: Entry) -> None:
        """Part of a restore that was cut off may look like a whole chain. Who went on with it would
        write another history than the one that is to come."""
        if not is_restored(self._history, execution, last.seq):
            raise UnavailableError(
                f"{execution} came from {last.record['node']}, and a restore of it was cut off at"
                f" record {last.seq}: restore it again"
            )

    def _check_follows(self, execution: str, last: Entry, newest: Saved) -> None:
        """Whoever goes on has to follow the newest version. The log may be an older copy of it, or
        have a part of it only, as a restore was cut off: what was done would be done again. Or
        somebody else owns the execution by now, and this history of it ends here."""
        if newest.epoch < last.record["epoch"] or self._has(newest, last.seq):
            return
        if not self._is_good(newest):
            return
        log = f"the log ends with record {last.seq} of epoch {last.record['epoch']}"
        mark = f"a checkpoint at record {newest.seq} of epoch {newest.epoch}"
        if newest.seq > last.seq:
            raise UnavailableError(
                f"{execution} goes further in the store of states than in the log: there is {mark},"
                f" and {log}. qflow checkpoint restore {execution} brings it in, unless the log"
                " went another way"
            )
        raise StaleError(
            f"{execution} has another history in the store of states: there is {mark}, written by"
            f" {newest.node}, and {log}, which does not follow it. It goes on there, and not here"
        )

    def _has(self, saved: Saved, last: int) -> bool:
        """Whether the log, up to a chain's last record, has the one that a version ends with."""
        if saved.seq > last:
            return False
        (entry,) = self._history.records(saved.chain, after=saved.seq - 1, limit=1)
        return entry.hash == saved.head

    def is_to_be_restored(self, execution: str) -> bool:
        """See the engine's port."""
        newest = self._newest(model.id_bytes(execution))
        if newest is None or self.execution(execution) is not None or not self._is_good(newest):
            return False
        _log.warning("a subflow waits: qflow checkpoint restore brings it in", execution=execution)
        return True

    def _newest(self, chain: bytes) -> Saved | None:
        try:
            return None if self._states is None else self._states.newest(chain)
        except QflowError as error:
            _log.warning("the store of states is not asked", error=str(error))
            return None

    def _is_good(self, saved: Saved) -> bool:
        try:
            return self._states is not None and self._states.version(saved.cid).chain == saved.chain
        except QflowError as error:
            _refused(saved.chain, saved.seq, str(error))
            return False

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
        return [saved for saved in self._known(states, chain) if saved.seq <= seq]

    def _known(self, states: States, chain: bytes) -> list[Saved]:
        try:
            return states.history(chain)
        except QflowError as error:
            _log.warning(
                "the store of states cannot be read",
                execution=model.id_text(chain),
                error=str(error),
            )
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

    def begins(self, execution: str, seq: int) -> int:
        """See the engine's port: beyond every epoch that the store of states knows of, too."""
        if not is_restored(self._history, execution, seq):
            return 0
        chain = model.id_bytes(execution)
        versions = [] if self._states is None else self._known(self._states, chain)
        return 1 + max((saved.epoch for saved in versions), default=0)

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
