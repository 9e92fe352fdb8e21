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
import msgspec

from qflow import _core, model
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.engine._flow import Flow
from qflow.engine._live import Batch, Identity, Live, Residents
from qflow.engine._ports import Archive, Journal, Keys
from qflow.engine._recover import timers
from qflow.engine._replay import replay
from qflow.engine._state import FINAL, Command, Event, State
from qflow.errors import (
    BusyError,
    ExecutionStateError,
    PoisonedError,
    QflowError,
    ReplayError,
    UnavailableError,
)

FLOWS_MAX: Final = 1024
"""Flows kept ready; at the bound all go, and come back from the log as they are needed."""
_REASON_CHARS_MAX: Final = 500
_log = logger(__name__)
Then = Callable[[Exception | None], None]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the engine, and what happens at them."""

    attempts_in_flight_max: int = 256
    """More wait in order."""
    executions_resident_max: int = 1000
    """Those that only wait leave memory; busy ones stay."""
    snapshot_every: int = 500
    """Records between two checkpoints of an execution: a replay is no longer than this."""


class Ledger:
    """What the engine has decided, in memory and in the log. Everything here is synchronous."""

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
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
        """Called once, when the log fails."""
        self._journal, self._clock, self._identity = journal, clock, identity
        self._keys = keys
        self._snapshot_every = limits.snapshot_every
        self._held: deque[tuple[Batch, Then | None]] = deque()
        self._in_flight = 0
        self._moved = anyio.Event()
        self._listening: dict[str, dict[str, None]] = {}
        self._heard: dict[str, tuple[str, ...]] = {}
        self._flows: dict[str, Flow] = {}
        self._stored: set[str] = set()
        self._broken: dict[str, str] = {}
        self._shut: dict[str, None] = {}

    # -- deciding --------------------------------------------------------------------------

    def now(self, live: Live) -> int:
        """Never before the execution's last event: a clock set back does not reorder a chain."""
        return max(self._clock.now_ms(), live.state.now)

    def decide(self, batch: Batch, live: Live, event: Event, actor: str | None = None) -> bool:
        """Apply an event and add its facts to a batch. False: it did not matter, or its execution
        cannot go on and ends by itself."""
        if live.id in self._broken:
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
        records, blocks, commands = live.decide(
            event, self._identity, actor or self._identity.node, self._snapshot_every
        )
        if not records:
            return False
        batch.add(records, blocks)
        batch.after.append((live, records, commands))
        live.pending += 1
        self.listen(live.id, live.listens)
        return True

    def post(self, live: Live, kind: str, frame: int = 0, value: Any = None) -> None:
        """Apply one event and send its facts on their way."""
        batch = Batch()
        event = Event(kind=kind, at=self.now(live), frame=frame, value=value)
        if self.decide(batch, live, event):
            self.submit(batch)

    def submit(self, batch: Batch, then: Then | None = None) -> None:
        """Hand a batch to the log. `then` is called when it is durable, or is not."""
        self._held.append((batch, then))
        self._hand_over()

    async def room(self) -> None:
        """Return when nothing waits for room in the log, or the log has failed."""
        while self._held:
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
        for live, records, commands in batch.after:
            self._tell(live, records)
            for command in commands:
                if self.failed is None:
                    self._carry(live, command)
            live.pending -= 1
            if live.pending == 0 and live.id in self._broken and self.failed is None:
                self._mend(live)

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

    def _fail(self, error: Exception) -> None:
        """Nothing more is decided, and what the log did not take is not durable."""
        if self.failed is None:
            self.failed = error
            _log.error("the log failed; nothing more is decided", error=str(error))
            self.stopped(error)
        held, self._held = self._held, deque()
        for _, then in held:
            if then is not None:
                then(error)

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

    # -- listening -------------------------------------------------------------------------

    def listen(self, execution: str, kinds: tuple[str, ...]) -> None:
        """Note which event types an execution waits for now."""
        before = self._heard.get(execution, ())
        if kinds == before:
            return
        for kind in before:
            known = self._listening[kind]
            known.pop(execution, None)
            if not known:
                del self._listening[kind]
        for kind in kinds:
            self._listening.setdefault(kind, {})[execution] = None
        if kinds:
            self._heard[execution] = kinds
        else:
            del self._heard[execution]

    def listeners(self, kind: str) -> list[str]:
        """The executions that may want an event of this type."""
        return list(self._listening.get(kind, {}) | self._listening.get("*", {}))

    # -- creating and loading --------------------------------------------------------------

    def create(
        self, batch: Batch, flow: Flow, name: str, value: Any, actor: str, parent: str | None
    ) -> Live:
        """Begin an execution within a batch. Raises ExecutionStateError when it cannot be."""
        definition, block = self._definition(flow)
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
            self._stored.add(definition)
        self.lives.put(live)
        return live

    def _definition(self, flow: Flow) -> tuple[str, tuple[bytes, bytes] | None]:
        """The CID of a flow's document, and its block when the log does not hold it yet."""
        data = _core.encode(flow.document)
        cid = _core.cid_of(data)
        text = str(cid)
        self._remember(text, flow)
        if text in self._stored:
            return text, None
        if self.archive.keeps(text):
            self._stored.add(text)
            return text, None
        return text, (bytes(cid), data)

    def forget_stored(self) -> set[str]:
        """From now on, ask the archive again whether the log holds a flow's document. Gives those
        that executions on their way to the log count on."""
        stored, self._stored = self._stored, set()
        return stored

    def flow_of(self, definition: str) -> Flow:
        """The flow of a definition's CID, from memory or from the log."""
        if (flow := self._flows.get(definition)) is None:
            data = self.archive.block(definition)
            if data is None:
                raise ReplayError(f"the log does not hold the flow {definition}")
            flow = Flow(_core.decode(data))
            self._remember(definition, flow)
        return flow

    def _remember(self, definition: str, flow: Flow) -> None:
        if len(self._flows) >= FLOWS_MAX:
            self._flows.clear()
        self._flows[definition] = flow

    def find(self, execution: str) -> Live | None:
        """An execution that is not over, brought into memory. Raises when its chain is not good."""
        live = self.lives.get(execution)
        return live if live is not None else self._load(execution)

    def reach(self, execution: str) -> Live | None:
        """`find` for the engine itself: a chain that is not good is reported and stays shut."""
        if execution in self._shut:
            return None
        try:
            return self.find(execution)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            self._close(execution, error)
            return None

    def _close(self, execution: str, error: Exception) -> None:
        self.lives.drop(execution)
        self._shut[execution] = None
        _log.error("an execution stays shut", execution=execution, **_why(error))

    def view(self, execution: str) -> model.Execution | None:
        """As far as it has come in memory, or else in the log."""
        live = self.lives.get(execution)
        return live.view() if live is not None else self.archive.execution(execution)

    def _load(self, execution: str) -> Live | None:
        known = self.archive.execution(execution)
        if known is None or known.status in FINAL:
            return None
        flow = self.flow_of(known.definition)
        key = self.archive.key(execution)
        live = Live.of(
            flow,
            known.definition,
            replay(flow, execution, self.archive.entries(execution), key),
        )
        live.note_listens()
        self.listen(execution, live.listens)
        self.lives.put(live)
        for command in timers(live.state):
            self.carry(live, command)
        return live


def _why(error: Exception) -> dict[str, Any]:
    """For the program's log: what is no refusal but a mistake of ours comes with its place."""
    if isinstance(error, QflowError | ValueError):
        return {"error": str(error)}
    return {"error": str(error), "exc_info": error}
