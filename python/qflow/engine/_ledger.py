"""Decisions made durable: the executions in memory, their chains, and the batches on their way.

Decisions may run ahead of the log, since the log keeps the order; what they ask for is done only
when the facts behind it are durable. While the log's queue is full, batches are held here in their
order, and nothing new is begun. When the log fails, nothing more is decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import anyio

from qflow import model
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.engine._crowd import Crowd, unmade
from qflow.engine._definitions import Definitions
from qflow.engine._flow import Flow
from qflow.engine._limits import Limits
from qflow.engine._listening import Listening
from qflow.engine._live import Batch, Changed, Decided, Identity, Live, Residents, Told
from qflow.engine._ports import Archive, Checkpoints, Journal, Keys
from qflow.engine._recover import timers
from qflow.engine._replay import replay
from qflow.engine._sealed import FACTS, STEP, Asked, Checkpoint
from qflow.engine._state import FINAL, Command, Event, State
from qflow.errors import (
    BusyError,
    ExecutionStateError,
    PoisonedError,
    QflowError,
    StaleError,
    UnavailableError,
)

_REASON_CHARS_MAX: Final = 500
_BEGIN: Final = frozenset({"attempt", "emit", "subflow", "go_on"})
"""Commands that only an execution as it stands may give."""
_log = logger(__name__)
Then = Callable[[Exception | None], None]


class Ledger:
    """What the engine has decided, in memory and in the log. Everything here is synchronous."""

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
        checkpoints: Checkpoints,
        keys: Keys,
        clock: Clock,
        identity: Identity,
        limits: Limits,
    ) -> None:
        self.archive, self.lives = archive, Residents(limits.executions_resident_max)
        self.failed: Exception | None = None
        self.carry: Callable[[Live, Command], None] = lambda live, command: None
        """Carries out a command; set by the engine."""
        self.told: Callable[[Live, Sequence[bytes]], None] | None = None
        """Hears of durable records."""
        self.stopped: Callable[[Exception], None] = lambda error: None
        """Called once, when the log or the store of states fails."""
        self.closed: Callable[[str, Exception], None] = lambda execution, error: None
        """Called when an execution stays shut."""
        self.changed, self.listening = Changed(), Listening()
        self._checkpoints = checkpoints
        self._journal, self._clock, self._identity = journal, clock, identity
        self._keys = keys
        self._every_facts = limits.checkpoint_every_facts
        self._held: deque[tuple[Batch, Then | None]] = deque()
        self._in_flight = self._submitted = self._settled = 0
        self._moved = anyio.Event()
        self._crowd = Crowd()
        self.definitions = Definitions(archive)
        self._broken: dict[str, str] = {}
        self.shut: dict[str, Exception] = {}
        """Executions of which nothing is decided, and why."""

    @property
    def has_room(self) -> bool:
        """Whether the store of states takes a checkpoint that nobody waits for."""
        return self._crowd.has_room_beside and self._checkpoints.has_room

    # -- deciding --------------------------------------------------------------------------

    def now(self, live: Live) -> int:
        """Never before the execution's last event: a clock set back does not reorder a chain."""
        return max(self._clock.now_ms(), live.state.now, live.at)

    def decide(self, batch: Batch, live: Live, event: Event, actor: str | None = None) -> bool:
        """Apply an event and add its facts to a batch. False: it did not matter, or its execution
        cannot go on and ends by itself."""
        if live.id in self._broken or live.id in self.shut:
            return False
        try:
            return self._decide(batch, live, event, actor)
        except PoisonedError:
            raise
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            self._give_up(live, error)
            return False

    def _decide(self, batch: Batch, live: Live, event: Event, actor: str | None) -> bool:
        """When this raises, the state in memory is past what can be recorded: drop it."""
        if self.failed is not None:
            raise PoisonedError("the node has stopped; nothing more is decided") from self.failed
        records, blocks, commands = live.decide(event, self._identity, actor or self._identity.node)
        if not records:
            return False
        batch.add(records, blocks)
        asked = live.due(commands, self._every_facts)
        made = Decided(live, records, [item for item in commands if item.kind != "checkpoint"])
        batch.after.append(made)
        live.pending += 1
        if asked is not None:
            self._checkpoint(batch, made, asked, event.at)
        self.changed.note(live, event.at)
        self.listening.note(live.id, live.listens)
        return True

    def _checkpoint(self, batch: Batch, made: Decided, asked: Asked, at: int) -> None:
        """Put a checkpoint behind a decision. Without room for one that nobody waits for, it comes
        behind a later decision, and a state that is too large goes without. One before a step is
        made later without room, and the step is never begun when it cannot be made."""
        live = made.live
        if asked.why == FACTS and not self.has_room:
            return
        if asked.why == STEP and not self._crowd.has_room:
            made.postponed = asked
            self._crowd.postpone()
            return
        try:
            records, made.checkpoint = self._sealed(live, asked, at)
        except ValueError as error:
            if asked.why == STEP:
                made.refused = unmade(live, error)
                return
            live.since -= self._every_facts if asked.why == FACTS else 0
            _log.warning("no checkpoint is made", execution=live.id, error=str(error))
            return
        batch.add(records, [])
        made.records = [*made.records, *records]

    def _sealed(
        self, live: Live, asked: Asked, at: int, actor: str | None = None
    ) -> tuple[list[bytes], Checkpoint]:
        actor = actor or self._identity.node
        records, made = live.checkpoint(asked, at, self._identity, actor)
        self._crowd.add(made)
        return records, made

    def _make_postponed(self) -> None:
        """Make checkpoints that had no room, as far as there is room now."""
        while self.failed is None and (made := self._crowd.take()) is not None:
            live, asked = made.live, made.postponed
            gone = live.id in self.shut or live.id in self._broken or not self._is_current(live)
            if asked is None or gone or live.state.status in FINAL:
                self._go_on(made)
                continue
            batch, at = Batch(), self.now(live)
            try:
                records, checkpoint = self._sealed(live, asked, at)
            except ValueError as error:
                made.refused = unmade(live, error)
                self._refuse(made, made.refused)
                continue
            batch.add(records, [])
            batch.after.append(Decided(live, records, made.commands, checkpoint))
            self.changed.note(live, at)
            self.submit(batch)

    def checkpoint(
        self, live: Live, asked: Asked, actor: str | None = None, told: Told | None = None
    ) -> tuple[Batch, Checkpoint]:
        """A batch with a checkpoint of an execution as it stands, to be submitted. Raises
        ValueError for one that cannot be made; then nothing was changed."""
        if self.failed is not None:
            raise PoisonedError("the node has stopped; nothing more is decided") from self.failed
        if live.id in self._broken:
            raise ValueError("it cannot go on, and ends by itself")
        batch, at = Batch(), self.now(live)
        records, made = self._sealed(live, asked, at, actor)
        batch.add(records, [])
        batch.after.append(Decided(live, records, checkpoint=made, told=told))
        live.pending += 1
        self.changed.note(live, at)
        return batch, made

    def post(self, live: Live, kind: str, frame: int = 0, value: Any = None) -> None:
        """Apply one event and send its facts on their way."""
        batch = Batch()
        event = Event(kind=kind, at=self.now(live), frame=frame, value=value)
        if self.decide(batch, live, event):
            self.submit(batch)

    def submit(self, batch: Batch, then: Then | None = None) -> None:
        """Hand a batch to the log. `then` is called when it is durable, or is not."""
        self._held.append((batch, then))
        self._submitted += 1
        self._hand_over()

    async def room(self) -> None:
        """Return when nothing waits for room in the log, nor in the store of states (see
        STATES_BYTES_MAX), or one of them has failed."""
        while self._held or (self.failed is None and not self._crowd.has_room):
            await self._moved.wait()

    def _hand_over(self) -> None:
        """Give the log what it has room for, in order."""
        while self._held:
            batch, then = self._held[0]
            try:
                self._give(batch, then)
            except BusyError as error:
                if self._in_flight:
                    return
                # Nothing is on its way whose end would call again.
                self._fail(error)
            except Exception as error:  # noqa: BLE001
                # Memory is ahead of the disk now, and stays so: nothing may follow.
                self._fail(error)
            else:
                self._held.popleft()
                self._in_flight += 1
        self.wake()

    def wake(self) -> None:
        """Whoever waits for room looks again."""
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _give(self, batch: Batch, then: Then | None) -> None:
        records, blocks = list(batch.records), list(batch.blocks.items())
        if batch.beside is not None:
            more, more_blocks = batch.beside.records()
            records, blocks = [*more, *records], [*more_blocks, *blocks]
        try:
            self._journal.submit(records, blocks, partial(self._done, batch, then))
        except BusyError:
            if batch.beside is not None:
                batch.beside.take_back()
            raise

    def _done(
        self, batch: Batch, then: Then | None, _: int | None, error: Exception | None
    ) -> None:
        self._in_flight -= 1
        self._settled += 1
        if error is not None:
            self._fail(error)
        else:
            self._follow(batch)
        if then is not None:
            then(error)
        self._hand_over()

    async def durable(self, batch: Batch) -> None:
        """Submit a batch and return when it is durable."""
        event = anyio.Event()
        failure: list[Exception] = []

        def then(error: Exception | None) -> None:
            if error is not None:
                failure.append(error)
            event.set()

        self.submit(batch, then)
        await event.wait()
        if failure:
            raise failure[0]

    def _follow(self, batch: Batch) -> None:
        """The batch is durable: tell it, and do what was asked for.

        Until then the execution stays in memory: what is carried out may bring in others.
        """
        for made in batch.after:
            self._tell(made.live, made.records)
            if made.refused is not None:
                self._refuse(made, made.refused)
                continue
            if made.postponed is not None:
                self._crowd.note_durable(made)
                continue
            checkpoint = made.checkpoint
            if checkpoint is None or not checkpoint.is_urgent:
                self._go_on(made)
            if checkpoint is not None:
                self._checkpoints.keep(checkpoint, partial(self._kept, made, checkpoint))
        self._make_postponed()

    def _go_on(self, made: Decided) -> None:
        live = made.live
        # What is not begun while it is paused, a resume asks for again.
        begins = self._is_current(live) and not live.state.paused
        for command in made.commands:
            if self.failed is None and (begins or command.kind not in _BEGIN):
                self._carry(live, command)
        live.pending -= 1
        if live.pending == 0 and live.id in self._broken and self.failed is None:
            self._mend(live)

    def _is_current(self, live: Live) -> bool:
        """Whether this is the execution as it stands: it may have been shut, or read again."""
        return self.lives.get(live.id) is live

    def _refuse(self, made: Decided, error: Exception) -> None:
        """What a decision asks for is not begun, as its checkpoint cannot be made."""
        made.commands = ()
        self._close(made.live.id, error)
        self._go_on(made)

    def _kept(
        self,
        made: Decided,
        checkpoint: Checkpoint,
        version: str | None,
        error: Exception | None,
    ) -> None:
        """A checkpoint is durable, or is not. What waited for it is done, or never is."""
        self._crowd.remove(checkpoint)
        if error is not None:
            self._not_kept(made, checkpoint, version, error)
        if checkpoint.is_urgent:
            self._go_on(made)
        if made.told is not None:
            made.told(version, error)
        self._make_postponed()
        self.wake()

    def _not_kept(
        self, made: Decided, checkpoint: Checkpoint, version: str | None, error: Exception
    ) -> None:
        """Nothing is lost, as the log has all of it; but what a flow wanted kept before a step, it
        wanted kept. So the step is not begun, and the execution waits for the next start."""
        if isinstance(error, PoisonedError):
            self._fail(error, "the store of states failed")
        elif isinstance(error, StaleError) or checkpoint.asked.why == STEP:
            made.commands = ()
            self._close(checkpoint.execution, error)
        else:
            _log.error(
                "a checkpoint was not kept" if version is None else "a checkpoint is durable here",
                execution=checkpoint.execution,
                seq=checkpoint.seq,
                **_why(error),
            )

    def _tell(self, live: Live, records: Sequence[bytes]) -> None:
        try:
            if self.told is not None:
                self.told(live, records)
        except Exception as error:  # noqa: BLE001 - who only listens must not stop the node
            _log.error("durable records were not told", execution=live.id, exc_info=error)

    def _carry(self, live: Live, command: Command) -> None:
        try:
            self.carry(live, command)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            if self.failed is None:
                self._give_up(live, error)

    def _fail(self, error: Exception, what: str = "the log failed") -> None:
        """Nothing more is decided, and what the log did not take is not durable."""
        if self.failed is None:
            self.failed = error
            _log.error(f"{what}; nothing more is decided", error=str(error))
            self.stopped(error)
        held, self._held = self._held, deque()
        for _, then in held:
            if then is not None:
                then(error)
        self.wake()

    def _give_up(self, live: Live, error: Exception) -> None:
        _log.error("an execution cannot go on", execution=live.id, **_why(error))
        self._broken.setdefault(live.id, f"{type(error).__name__}: {error}")
        self._mend(live)

    def _mend(self, live: Live) -> None:
        """End an execution that cannot go on, at its last durable state."""
        if live.pending:
            return
        reason = self._broken.pop(live.id)
        self.lives.drop(live.id)
        fresh = self.reach(live.id)
        if fresh is None:
            return
        batch = Batch()
        meta = {"reason": f"it cannot go on: {reason}"[:_REASON_CHARS_MAX]}
        event = Event(kind="aborted", at=self.now(fresh), meta=meta)
        try:
            self._decide(batch, fresh, event, None)
        except Exception as error:  # noqa: BLE001 - not even that can be recorded
            self._close(live.id, error)
        else:
            self.submit(batch)

    # -- creating and loading --------------------------------------------------------------

    def create(
        self, batch: Batch, flow: Flow, name: str, value: Any, actor: str, parent: str | None
    ) -> Live:
        """Begin an execution within a batch. Raises ExecutionStateError when it cannot be."""
        definition, block = self.definitions.of(flow)
        try:
            key = self._keys.take()
        except UnavailableError as error:
            raise ExecutionStateError(f"{flow.key} cannot be started: {error}") from error
        live = Live(flow, definition, State(id=name, flow=flow.key, parent=parent), key)
        meta: dict[str, Any] = {"definition": definition, "key": key.number}
        if parent is not None:
            meta["parent"] = parent
        if flow.base is not None:
            meta["base"] = flow.base
        event = Event(kind="created", at=self._clock.now_ms(), value=value, meta=meta)
        try:
            self._decide(batch, live, event, actor)
        except PoisonedError:
            raise
        except Exception as error:
            raise ExecutionStateError(f"{flow.key} cannot be started: {error}") from error
        if block is not None:
            batch.add([], [block])
            self.definitions.note_stored(definition)
        self.lives.put(live)
        return live

    def find(self, execution: str) -> Live | None:
        """An execution that is not over, brought into memory. Raises when its chain is not good, or
        it stays shut for another reason."""
        if (error := self.shut.get(execution)) is not None:
            raise error.with_traceback(None)
        live = self.lives.get(execution)
        return live if live is not None else self._load(execution)

    def reach(self, execution: str) -> Live | None:
        """`find` for the engine itself: a chain that is not good is reported and stays shut."""
        if execution in self.shut:
            return None
        try:
            return self.find(execution)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            self._close(execution, error)
            return None

    def _close(self, execution: str, error: Exception) -> None:
        self.lives.drop(execution)
        self.shut[execution] = error
        _log.error("an execution stays shut", execution=execution, **_why(error))
        self.closed(execution, error)

    async def settled(self) -> None:
        """Return when all that was decided until now is durable. Raises PoisonedError."""
        before = self._submitted
        while self._settled < before and self.failed is None:
            await self._moved.wait()
        if self.failed is not None:
            raise PoisonedError("the node has stopped") from self.failed

    def view(self, execution: str) -> model.Execution | None:
        """As far as it has come in memory, or else in the log."""
        live = self.lives.get(execution)
        return live.view() if live is not None else self.archive.execution(execution)

    def _load(self, execution: str) -> Live | None:
        known = self.archive.execution(execution)
        if known is None or known.status in FINAL:
            return None
        flow = self.definitions.flow(known.definition)
        key = self.archive.key(execution)
        live = Live.of(
            flow,
            known.definition,
            replay(flow, execution, self.archive.entries(execution), key),
        )
        live.begins = self.archive.begins(execution, live.seq)
        live.note_listens()
        self.listening.note(execution, live.listens)
        self.lives.put(live)
        for command in timers(live.state):
            self.carry(live, command)
        return live


def _why(error: Exception) -> dict[str, Any]:
    """For the program's log: what is no refusal but a mistake of ours comes with its place."""
    if isinstance(error, QflowError | ValueError):
        return {"error": str(error)}
    return {"error": str(error), "exc_info": error}
