"""The engine's checkpoints on their way into the store of states.

The records are durable by now, and say which state is meant. A worker reads what the chain has had
since the version before, and commits all that waits in one go. Whoever waits for a checkpoint hears
when its version is durable, or why there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
import msgspec

from qflow import _core, model
from qflow.audit import History
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.engine import Checkpoint
from qflow.errors import (
    BusyError,
    CorruptError,
    LockedError,
    PoisonedError,
    QflowError,
    StaleError,
)
from qflow.state import Draft, Saved, States

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.node._stored import Stored

WAITING_MAX: Final = 1000
"""At the bound only those are taken that somebody waits for; the engine makes the others later, and
bounds the bytes of all."""
DRAFTS_MAX: Final = 3
"""Made at once of one checkpoint when its execution's versions are deleted meanwhile."""
GROUP_MAX: Final = 64
"""Committed together."""
GROUP_BYTES_MAX: Final = 16 << 20
HISTORY_BYTES_MAX: Final = 16 << 20
"""Of records and payloads that are committed together; one execution alone may have more."""
DOCUMENTS_MAX: Final = 64
"""Flows whose documents are kept ready."""
_AGAIN_MS: Final = 1000
"""Before the next try when other processes keep the store to themselves."""
_log = logger(__name__)

Done = Callable[[str | None, Exception | None], None]
Confirm = Callable[[Sequence[bytes]], Awaitable[None]]


class _Waiting(msgspec.Struct):
    checkpoint: Checkpoint
    done: list[Done]
    """Its own, and those of the ones that were left out for it."""


class Checkpoints:
    """Fills the engine's port of that name. Entered: it works. Left: all that was taken is kept, or
    its end was told."""

    def __init__(
        self,
        states: States,
        history: History,
        clock: Clock,
        *,
        keep: int,
        poisoned: Callable[[], str | None],
        confirm: Confirm | None = None,
    ) -> None:
        self._states, self._history, self._clock = states, history, clock
        self._keep, self._poisoned, self._confirm = keep, poisoned, confirm
        self._waiting: dict[int, _Waiting] = {}
        """In the order in which they are committed."""
        self._optional: dict[str, _Waiting] = {}
        """Those among them that a newer one of the execution may take the place of."""
        self._kept = self._left_out = self._committing = 0
        self._changed = anyio.Event()
        self._stopping = False
        self._confirming: set[bytes] = set()
        """Versions that other stores are to have first: not pruned before."""
        self._documents: dict[str, bytes] = {}
        self._tasks = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._work, name="qflow checkpoints")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._stopping = True
        self._changed.set()
        return await self._tasks.__aexit__(kind, error, trace)

    # -- the port --------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """See `engine.Checkpoints`."""
        return len(self._waiting) < WAITING_MAX

    def keep(self, checkpoint: Checkpoint, done: Done) -> None:
        """See `engine.Checkpoints`."""
        item = _Waiting(checkpoint, [done])
        if (before := self._optional.pop(checkpoint.execution, None)) is not None:
            del self._waiting[id(before)]
            self._left_out += 1
            item.done = [*before.done, done]
        self._waiting[id(item)] = item
        if not checkpoint.is_urgent:
            self._optional[checkpoint.execution] = item
        self._changed.set()

    def status(self) -> dict[str, int]:
        """Since the start: how many were `kept`, and `left_out` for newer ones; how many wait."""
        waiting = len(self._waiting) + self._committing
        return {"kept": self._kept, "left_out": self._left_out, "waiting": waiting}

    # -- the worker ------------------------------------------------------------------------

    async def _work(self) -> None:
        # Shielded: whoever cancels the node still learns what is durable.
        with anyio.CancelScope(shield=True):
            while True:
                while not self._waiting:
                    if self._stopping:
                        return
                    self._changed = anyio.Event()
                    await self._changed.wait()
                await self._keep_some()

    async def _keep_some(self) -> None:
        group = self._group()
        self._committing = len(group)
        results = await anyio.to_thread.run_sync(self._commit, [i.checkpoint for i in group])
        kept = [result.chain for result in results if isinstance(result, Saved)]
        again: list[_Waiting] = []
        for item, result in zip(group, results, strict=True):
            if isinstance(result, LockedError | BusyError) and not self._stopping:
                again.append(item)
            else:
                self._settle(item, result)
        self._committing = 0
        if kept:
            await anyio.to_thread.run_sync(self._prune, kept, frozenset(self._confirming))
        if again:
            self._waiting = {**{id(item): item for item in again}, **self._waiting}
            _log.warning("checkpoints wait: other processes keep the store of states busy")
            await self._clock.sleep_until(self._clock.now_ms() + _AGAIN_MS)

    def _settle(self, item: _Waiting, result: Saved | Exception) -> None:
        self._kept += isinstance(result, Saved)
        if isinstance(result, Saved) and item.checkpoint.is_urgent and self._confirm is not None:
            self._confirming.add(result.cid)
            self._tasks.start_soon(self._confirmed, item, result)
        else:
            _tell(item, result)

    async def _confirmed(self, item: _Waiting, saved: Saved) -> None:
        assert self._confirm is not None
        try:
            await self._confirm([saved.cid])
        except QflowError as error:
            for done in item.done:
                done(str(_core.Cid(saved.cid)), error)
        else:
            _tell(item, saved)
        finally:
            self._confirming.discard(saved.cid)

    def _group(self) -> list[_Waiting]:
        """Take what is committed next: the oldest, one of each execution."""
        group: list[_Waiting] = []
        seen: set[str] = set()
        size = 0
        for item in self._waiting.values():
            if item.checkpoint.execution in seen:
                continue
            seen.add(item.checkpoint.execution)
            size += item.checkpoint.size_bytes
            if (group and size > GROUP_BYTES_MAX) or len(group) == GROUP_MAX:
                break
            group.append(item)
        for item in group:
            del self._waiting[id(item)]
            if self._optional.get(item.checkpoint.execution) is item:
                del self._optional[item.checkpoint.execution]
        return group

    def _commit(self, group: Sequence[Checkpoint]) -> list[Saved | Exception]:
        """In a thread: each becomes a version, or an error. A draft that is refused only because
        versions were deleted since its records were read is made again."""
        found: list[Saved | Exception | None] = [None] * len(group)
        due = list(range(len(group)))
        for _ in range(DRAFTS_MAX):
            gone: list[int] = []
            for drafts in self._pieces(group, due):
                made = self._committed(list(drafts.values()))
                for (at, draft), one in zip(drafts.items(), made, strict=True):
                    found[at] = one
                    if isinstance(one, StaleError) and self._is_gone(draft):
                        gone.append(at)
            due = gone
            if not due:
                break
        for at in due:
            found[at] = BusyError("its versions are being deleted again and again")
        return [one for one in found if one is not None]

    def _pieces(
        self, group: Sequence[Checkpoint], due: Sequence[int]
    ) -> Iterator[dict[int, Draft | Exception]]:
        """Drafts by their place in the group, as many as are in memory at a time: where versions
        were lost, each has the whole history of its execution."""
        drafts: dict[int, Draft | Exception] = {}
        size = 0
        for at in due:
            drafts[at] = draft = self._drafted(group[at])
            size += _history_bytes(draft)
            if size >= HISTORY_BYTES_MAX:
                yield drafts
                drafts, size = {}, 0
        if drafts:
            yield drafts

    def _is_gone(self, draft: Draft | Exception) -> bool:
        """Whether a draft begins behind what the store has of its chain by now."""
        if isinstance(draft, Exception):
            return False
        record = _core.decode_record(draft.records[0][0])
        first: int = record["seq"]
        try:
            return self._states.next_seq(record["chain"]) < first
        except QflowError:
            return False

    def _committed(self, found: Sequence[Draft | Exception]) -> list[Saved | Exception]:
        drafts = [draft for draft in found if isinstance(draft, Draft)]
        try:
            saved = iter(self._states.commit_many(drafts) if drafts else ())
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            failed = self._failed(error)
            return [failed if isinstance(draft, Draft) else draft for draft in found]
        return [next(saved) if isinstance(draft, Draft) else draft for draft in found]

    def _failed(self, error: Exception) -> Exception:
        if (why := self._poisoned()) is not None and not isinstance(error, PoisonedError):
            return PoisonedError(why)
        return error

    def _drafted(self, checkpoint: Checkpoint) -> Draft | Exception:
        chain = model.id_bytes(checkpoint.execution)
        try:
            # Of a version that goes further the store will say that this one is stale.
            first = min(self._states.next_seq(chain), checkpoint.seq)
            return Draft(
                key=checkpoint.key,
                records=self._records(chain, first, checkpoint.seq),
                blocks=checkpoint.blocks,
                document=self._document(checkpoint.definition),
                status=checkpoint.status,
            )
        except (QflowError, ValueError, OSError) as error:
            return self._failed(error)

    def _records(
        self, chain: bytes, first: int, last: int
    ) -> list[tuple[bytes, tuple[bytes, bytes] | None]]:
        records = []
        for seq, found in enumerate(self._history.stored(chain, first), first):
            records.append(found)
            if seq == last:
                return records
        raise CorruptError(f"the log has no record {last} of {model.id_text(chain)}")

    def _document(self, definition: str) -> bytes:
        if (data := self._documents.get(definition)) is None:
            data = self._history.block(_core.Cid(definition))
            if len(self._documents) >= DOCUMENTS_MAX:
                self._documents.clear()
            self._documents[definition] = data
        return data

    def _prune(self, chains: Sequence[bytes], spare: frozenset[bytes]) -> None:
        try:
            self._states.prune_many(chains, self._keep, spare=spare)
        except QflowError as error:
            # They stay until the next time.
            _log.warning("older checkpoints stay", error=str(error))


def confirming(config: Config, stored: Stored) -> Confirm | None:
    """What whoever waits for a checkpoint waits for besides; None for a quorum of this home."""
    return stored.elsewhere.outbox.confirm if config.storage.quorum > 1 else None


def _history_bytes(draft: Draft | Exception) -> int:
    if isinstance(draft, Exception):
        return 0
    return sum(len(data) + (len(block[1]) if block else 0) for data, block in draft.records)


def _tell(item: _Waiting, result: Saved | Exception) -> None:
    for done in item.done:
        if isinstance(result, Saved):
            done(str(_core.Cid(result.cid)), None)
        else:
            done(None, result)
