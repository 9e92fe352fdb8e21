"""The shell around the decisions: it gives them events and does what they ask for.

It runs in one event loop; everything between two awaits is one decision. An effect (an attempt,
an emitted event, an answer to a caller) happens only when the facts behind it are durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Self

import anyio

from qflow import _core, model
from qflow.clock import Clock
from qflow.engine import _keeping
from qflow.engine._aside import Planned, set_aside
from qflow.engine._attempts import Attempts, Made, Worker, end_of, made_of
from qflow.engine._flow import Flow
from qflow.engine._ledger import Ledger
from qflow.engine._limits import Limits
from qflow.engine._live import Batch, Beside, Identity, Live, plain
from qflow.engine._ports import (
    Archive,
    Checkpoints,
    Documents,
    Journal,
    Keys,
    Library,
    Runner,
)
from qflow.engine._recover import timers
from qflow.engine._sealed import Checkpoint
from qflow.engine._state import FINAL, Command, Event, Status
from qflow.engine._timers import Due, Timers
from qflow.engine._turn import RESULT_BYTES_MAX
from qflow.errors import (
    EventError,
    ExecutionNotFoundError,
    ExecutionStateError,
    FlowError,
    PoisonedError,
)

WAKE: Final = "wake"
REASON_CHARS_MAX: Final = 1000
"""Of a pause, resume or abort: a longer reason, or actor, is refused."""
COMMIT_BYTES_MAX: Final = 8 << 20
"""What many executions make of one event is committed in pieces of about this size."""
_TIMERS_LOOK: Final = 256
"""At each so many timers of one execution, those of steps that are over are forgotten."""


class Engine:
    """Executions of one node. Entered: recovered and running. Left: stopped, all durable."""

    def __init__(
        self,
        *,
        journal: Journal,
        archive: Archive,
        checkpoints: Checkpoints,
        keys: Keys,
        runner: Runner,
        documents: Documents | None = None,
        library: Library,
        clock: Clock,
        identity: Identity,
        limits: Limits | None = None,
        told: Callable[[Live, Sequence[bytes]], None] | None = None,
    ) -> None:
        limits = limits or Limits()
        self._library, self._clock = library, clock
        self._ledger = Ledger(journal, archive, checkpoints, keys, clock, identity, limits)
        self._ledger.carry, self._ledger.told = self._carry_out, told
        self._ledger.stopped, self._ledger.closed = self._stop, self._closed
        self._checkpoint_every_s = limits.checkpoint_every_s
        self._attempts = Attempts(
            Worker(runner, documents), self._outcome, limits.attempts_in_flight_max
        )
        self._timers = Timers(clock, self._due, self._ledger.room)
        self._waiters: dict[str, list[Callable[[model.Execution | Exception], None]]] = {}
        self._group = anyio.create_task_group()
        self._commands: Final[dict[str, Callable[[Live, Command], None]]] = {
            "attempt": self._ask_attempt,
            "read": self._ask_attempt,
            "cancel": self._cancel,
            "timer": self._set_timer,
            "emit": self._emit,
            "subflow": self._start_subflow,
            "go_on": lambda live, _: self._ledger.post(live, "continued"),
            "finished": lambda live, _: self._finished(live),
        }

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        try:
            self._recover()
        except BaseException:
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)
            raise
        self._group.start_soon(self._timers.run)
        if (every_s := self._checkpoint_every_s) > 0:
            self._group.start_soon(_keeping.by_time, self._ledger, self._clock, every_s)
        self._attempts.open(self._group)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._ledger.failed is None:
            self._ledger.failed = PoisonedError("the engine has stopped")
        self._release(self._ledger.failed)
        self._ledger.wake()
        stopped = error
        if stopped is None:
            try:
                await self._ledger.room()
            except BaseException as cancelled:  # noqa: BLE001 - raised again below
                stopped = cancelled
        self._group.cancel_scope.cancel()
        if stopped is error:
            return await self._group.__aexit__(kind, error, trace)
        await self._group.__aexit__(None, None, None)
        assert stopped is not None
        raise stopped

    # -- asked from outside ----------------------------------------------------------------

    async def start(
        self,
        flow: Flow,
        value: Any,
        *,
        actor: str,
        name: str | None = None,
        beside: Beside | None = None,
    ) -> str:
        """Start an execution; durable on return, together with what is beside it.

        Waits while the log's queue is full, or the states that wait for the store are at their
        bound. Raises ExecutionStateError; then nothing was started.
        """
        await self._ledger.room()
        name = name or model.id_text(model.new_id(self._clock.now_ms()))
        batch = Batch(beside=beside)
        self._ledger.create(batch, flow, name, plain(value), actor, None)
        await self._ledger.durable(batch)
        return name

    async def pause(self, execution: str, *, actor: str, reason: str | None = None) -> None:
        """Hold before the next step. Attempts under way come to their end."""
        await self._ask(execution, "paused", actor, reason)

    async def resume(self, execution: str, *, actor: str, reason: str | None = None) -> None:
        """Go on after a pause."""
        await self._ask(execution, "resumed", actor, reason)

    async def abort(self, execution: str, *, actor: str, reason: str | None = None) -> None:
        """End an execution; attempts under way are cancelled."""
        await self._ask(execution, "aborted", actor, reason)

    async def checkpoint(
        self,
        execution: str,
        *,
        actor: str,
        label: str | None = None,
        description: str | None = None,
    ) -> tuple[Checkpoint, str]:
        """Make a checkpoint of an execution as it stands; durable in the store on return, with the
        CID of its version. Also of one that is paused or waits. Waits as `start` does.

        Raises ExecutionStateError when it is over or no checkpoint of it can be made, StaleError
        when somebody else owns it.
        """
        _check_text(actor)
        await self._ledger.room()
        live = self._live(execution, "checkpointed")
        return await _keeping.ask(
            self._ledger, live, actor=actor, label=label, description=description
        )

    def set_aside(self, plans: Mapping[str, Planned]) -> AbstractAsyncContextManager[set[str]]:
        """See `_aside.set_aside`."""
        return set_aside(self._ledger, plans, self._go_on_with)

    def _go_on_with(self, execution: str) -> None:
        known = self._ledger.archive.execution(execution)
        if known is not None and known.status in FINAL:
            for tell in self._waiters.pop(execution, ()):
                tell(known)
        elif known is not None and self._ledger.failed is None:
            self._recover_one(known)

    async def deliver(self, event: Mapping[str, Any], *, actor: str) -> list[str]:
        """Offer an event to all that listen. What they make of it is durable on return.

        Waits as `start` does. Raises EventError; then nobody was offered it.
        """
        _check_text(actor)
        data = _core.encode(dict(event))
        if len(data) > RESULT_BYTES_MAX:
            raise EventError(f"the event has {len(data)} bytes; {RESULT_BYTES_MAX} are allowed")
        await self._ledger.room()
        taken, batch = self._offer(Batch(), _core.decode(data), actor)
        if taken:
            await self._ledger.durable(batch)
        return taken

    async def wait(self, execution: str) -> model.Execution:
        """The execution once it is over, with its output or problem."""
        if (live := self._ledger.find(execution)) is None:
            found = self._ledger.archive.execution(execution)
            if found is None:
                raise ExecutionNotFoundError(f"no execution {execution}")
            return found
        return await self._wait(live)

    def forget_stored(self) -> set[str]:
        """The log is about to lose its oldest documents: those that were thought to be there."""
        return self._ledger.definitions.forget_stored()

    @property
    def shut(self) -> Mapping[str, Exception]:
        """The executions that stay shut, and why."""
        return self._ledger.shut

    def resident(self, execution: str) -> model.Execution | None:
        """An execution in memory, as far as it has come."""
        live = self._ledger.lives.get(execution)
        return None if live is None else live.view()

    def residents(self) -> list[model.Execution]:
        """The executions in memory, as far as they have come."""
        return [live.view() for live in self._ledger.lives.values()]

    async def _ask(self, execution: str, kind: str, actor: str, reason: str | None) -> None:
        _check_text(actor)
        _check_text(reason or "")
        live = self._live(execution, kind)
        meta = {} if reason is None else {"reason": reason}
        batch, event = Batch(), Event(kind=kind, at=self._ledger.now(live), meta=meta)
        if not self._ledger.decide(batch, live, event, actor):
            raise ExecutionStateError(
                f"execution {execution} is {live.state.status}; it cannot be {kind}"
            )
        await self._ledger.durable(batch)

    def _live(self, execution: str, kind: str) -> Live:
        live = self._ledger.find(execution)
        if live is None:
            if self._ledger.archive.execution(execution) is None:
                raise ExecutionNotFoundError(f"no execution {execution}")
            raise ExecutionStateError(f"execution {execution} is over; it cannot be {kind}")
        return live

    async def _wait(self, live: Live) -> model.Execution:
        event = anyio.Event()
        found: list[model.Execution | Exception] = []

        def tell(view: model.Execution | Exception) -> None:
            found.append(view)
            event.set()

        waiters = self._waiters.setdefault(live.id, [])
        waiters.append(tell)
        try:
            await event.wait()
        finally:
            if not found:
                waiters.remove(tell)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _closed(self, execution: str, error: Exception) -> None:
        """Nobody waits for an execution that stays shut."""
        for tell in self._waiters.pop(execution, ()):
            tell(error)

    def _release(self, error: Exception) -> None:
        """Nobody waits for an engine that has stopped."""
        waiting, self._waiters = self._waiters, {}
        for tell in [tell for waiters in waiting.values() for tell in waiters]:
            tell(error)

    # -- recovery --------------------------------------------------------------------------

    def _recover(self) -> None:
        """After a start: those that wait are noted, those that ran are told that they stopped."""
        unfinished = list(self._ledger.archive.unfinished())
        for known in unfinished:
            self._recover_one(known)
        for known in unfinished:
            if known.parent is not None and not self._is_awaited(known.parent):
                self._abort(known.id)

    def _recover_one(self, known: model.Execution) -> None:
        self._ledger.listening.note(known.id, known.listens)
        if known.seq != known.checkpoint:
            self._ledger.changed.add(known.id, known.updated_at)
        if known.status == Status.WAITING and known.wake_at is not None:
            self._timers.add(Due(known.wake_at, known.id, None, WAKE))
        elif known.status in (Status.RUNNING, Status.PAUSED):
            live = self._ledger.reach(known.id)
            if live is not None:
                self._ledger.post(live, "recovered")

    def _is_awaited(self, parent: str) -> bool:
        """Whether a subflow's parent still waits: the node may have died before it said so."""
        above, _, frame = parent.rpartition(":")
        known = self._ledger.view(above)
        if known is None or known.status in FINAL:
            return known is None
        live = self._ledger.reach(above)
        at = None if live is None else live.state.frames.get(int(frame))
        return live is None or (at is not None and at.running)

    def _stop(self, error: Exception) -> None:
        self._release(error)
        self._group.start_soon(self._raise, error)

    async def _raise(self, error: Exception) -> None:
        raise error

    # -- what decisions ask for ------------------------------------------------------------

    def _carry_out(self, live: Live, command: Command) -> None:
        self._commands[command.kind](live, command)

    def _ask_attempt(self, live: Live, command: Command) -> None:
        frame = live.state.frames.get(command.frame)
        if frame is not None and frame.running:
            self._attempts.ask(live.id, frame.id, lambda: self._attempt(live.id, command.frame))

    def _attempt(self, execution: str, number: int) -> Made | None:
        live = self._ledger.reach(execution)
        frame = None if live is None else live.state.frames.get(number)
        if live is None or live.state.paused or frame is None or not frame.running:
            return None  # a resume asks again
        return made_of(live, frame)

    def _outcome(
        self, execution: str, frame: int, value: Any, problem: dict[str, Any] | None
    ) -> None:
        """An attempt, or a reading, is over."""
        live = self._ledger.reach(execution)
        if live is None or self._ledger.failed is not None:
            return
        kind, told = end_of(live.state.frames.get(frame), value, problem)
        self._ledger.post(live, kind, frame, told)

    def _cancel(self, live: Live, command: Command) -> None:
        self._attempts.cancel(live.id, command.frame)
        if command.value is None:
            return
        if command.value["await"]:
            self._abort(command.value["id"])

    def _abort(self, execution: str) -> None:
        child = self._ledger.reach(execution)
        if child is None:
            return
        batch = Batch()
        meta = {"reason": "the step that waited for it is over"}
        event = Event(kind="aborted", at=self._ledger.now(child), meta=meta)
        if self._ledger.decide(batch, child, event):
            self._ledger.submit(batch)

    def _set_timer(self, live: Live, command: Command) -> None:
        if self._timers.add(_due_of(live, command)) % _TIMERS_LOOK == 0:
            self._timers.keep(live.id, (_due_of(live, item) for item in timers(live.state)))

    def _due(self, due: Due) -> None:
        if self._ledger.failed is not None:
            return
        live = self._ledger.reach(due.execution)
        if live is not None and due.frame is not None:
            self._ledger.post(live, "timer_fired", due.frame, due.purpose)

    def _emit(self, live: Live, command: Command) -> None:
        """The event reaches its takers, and its step is over, in one commit: exactly once.

        Only beyond COMMIT_BYTES_MAX the last of its takers are in a commit behind it.
        """
        frame = live.state.frames.get(command.frame)
        if frame is None or not frame.running:
            return
        batch = Batch()
        at = self._ledger.now(live)
        event = Event(kind="step_completed", at=at, frame=command.frame, value=command.value)
        if not self._ledger.decide(batch, live, event):
            return
        _, batch = self._offer(batch, command.value, live.id)
        self._ledger.submit(batch)

    def _offer(self, batch: Batch, event: dict[str, Any], actor: str) -> tuple[list[str], Batch]:
        """Who took it, and the batch that is still to be submitted."""
        taken: list[str] = []
        for execution in self._ledger.listening.takers(str(event.get("type"))):
            live = self._ledger.reach(execution)
            if live is None:
                continue
            if batch.size_bytes > COMMIT_BYTES_MAX:
                self._ledger.submit(batch)
                batch = Batch()
            received = Event(kind="event_received", at=self._ledger.now(live), value=event)
            if self._ledger.decide(batch, live, received, actor):
                taken.append(execution)
        return taken, batch

    # -- subflows and ends -----------------------------------------------------------------

    def _start_subflow(self, live: Live, command: Command) -> None:
        asked, frame = command.value, live.state.frames.get(command.frame)
        if frame is None or not frame.running:
            return
        if (child := self._ledger.view(asked["id"])) is not None:
            if child.status in FINAL:
                self._tell_parent(live, command.frame, child)
            return
        if self._ledger.archive.is_to_be_restored(asked["id"]):
            return  # when it was, it goes on by itself
        batch = Batch()
        try:
            self._create_subflow(batch, live, command)
        except (FlowError, ExecutionStateError) as error:
            unknown = isinstance(error, FlowError)
            title = "Unknown flow" if unknown else "The flow cannot be started"
            problem = model.problem(model.ErrorKind.CONFIGURATION, title, str(error))
            self._ledger.post(live, "step_failed", command.frame, problem)
            return
        if not asked["await"]:
            at = self._ledger.now(live)
            event = Event(kind="step_completed", at=at, frame=frame.id, value=frame.input)
            self._ledger.decide(batch, live, event)
        self._ledger.submit(batch)

    def _create_subflow(self, batch: Batch, live: Live, command: Command) -> None:
        asked = command.value
        flow = self._library.find(asked["namespace"], asked["name"], asked["version"])
        if flow is None:
            name = f"{asked['namespace']}/{asked['name']}/{asked['version']}"
            raise FlowError(f"{name} is not on this node")
        parent = f"{live.id}:{command.frame}" if asked["await"] else None
        self._ledger.create(batch, flow, asked["id"], asked["input"], live.id, parent)

    def _tell_parent(self, live: Live, frame: int, child: model.Execution) -> None:
        if child.payloads is not None:
            title = f"What {child.id} came to is {child.payloads}"
            problem = model.problem(model.ErrorKind.RUNTIME, title)
            self._ledger.post(live, "step_failed", frame, problem)
            return
        if child.status == Status.COMPLETED:
            self._ledger.post(live, "step_completed", frame, child.output)
            return
        problem = {k: v for k, v in (child.problem or {}).items() if k != "instance"}
        self._ledger.post(live, "step_failed", frame, problem)

    def _finished(self, live: Live) -> None:
        view = live.view()
        self._ledger.lives.drop(live.id)
        self._ledger.listening.note(live.id, ())
        self._timers.keep(live.id)
        for tell in self._waiters.pop(live.id, ()):
            tell(view)
        if live.state.parent is not None:
            above, _, frame = live.state.parent.rpartition(":")
            if (parent := self._ledger.reach(above)) is not None:
                self._tell_parent(parent, int(frame), view)


def _check_text(text: str) -> None:
    if len(text) > REASON_CHARS_MAX:
        raise ExecutionStateError(
            f"{len(text)} characters of reason or actor; {REASON_CHARS_MAX} are allowed"
        )


def _due_of(live: Live, command: Command) -> Due:
    purpose, at = command.value
    return Due(at, live.id, command.frame, purpose)
