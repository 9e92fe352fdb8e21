"""The shell around the decisions: it gives them events and does what they ask for.

It runs in one event loop; everything between two awaits is one decision. An effect (an attempt,
an emitted event, an answer to a caller) happens only when the facts behind it are durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import anyio

from qflow import _core, model
from qflow.clock import Clock
from qflow.engine._attempts import Attempts
from qflow.engine._flow import Flow
from qflow.engine._ledger import Ledger, Limits
from qflow.engine._live import Batch, Identity, Live, plain
from qflow.engine._ports import Archive, Journal, Library, Runner
from qflow.engine._scope import Scope
from qflow.engine._state import FINAL, Command, Event, Status
from qflow.engine._timers import Due, Timers
from qflow.errors import ExecutionNotFoundError, ExecutionStateError, PoisonedError

WAKE: Final = "wake"
RESULT_BYTES_MAX: Final = 1 << 20
"""A larger result of a step fails the step: put it elsewhere and return where."""


class Engine:
    """Executions of one node. Entered: recovered and running. Left: stopped, all durable."""

    def __init__(
        self,
        *,
        journal: Journal,
        archive: Archive,
        runner: Runner,
        library: Library,
        clock: Clock,
        identity: Identity,
        limits: Limits | None = None,
        told: Callable[[Live, Sequence[bytes]], None] | None = None,
    ) -> None:
        limits = limits or Limits()
        self._library, self._clock = library, clock
        self._ledger = Ledger(journal, archive, clock, identity, limits)
        self._ledger.carry, self._ledger.told = self._carry_out, told
        self._ledger.stopped = self._stop
        self._attempts = Attempts(runner, self._outcome, limits.attempts_in_flight_max)
        self._timers = Timers(clock, self._due)
        self._waiters: dict[str, list[Callable[[model.Execution], None]]] = {}
        self._group = anyio.create_task_group()
        self._commands: Final[dict[str, Callable[[Live, Command], None]]] = {
            "attempt": self._ask_attempt,
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
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, trace)

    # -- asked from outside ----------------------------------------------------------------

    async def start(
        self,
        flow: Flow,
        value: Any,
        *,
        actor: str,
        name: str | None = None,
        beside: Batch | None = None,
    ) -> str:
        """Start an execution; durable on return, together with what is in `beside`."""
        name = name or model.id_text(model.new_id(self._clock.now_ms()))
        batch = beside or Batch()
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

    async def deliver(self, event: Mapping[str, Any], *, actor: str) -> list[str]:
        """Offer an event to all that listen. What they make of it is durable on return."""
        batch = Batch()
        taken = self._offer(batch, plain(dict(event)), actor)
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

    def resident(self, execution: str) -> model.Execution | None:
        """An execution in memory, as far as it has come."""
        live = self._ledger.lives.get(execution)
        return None if live is None else live.view()

    def residents(self) -> list[model.Execution]:
        """The executions in memory, as far as they have come."""
        return [live.view() for live in self._ledger.lives.values()]

    async def _ask(self, execution: str, kind: str, actor: str, reason: str | None) -> None:
        live = self._ledger.find(execution)
        if live is None:
            if self._ledger.archive.execution(execution) is None:
                raise ExecutionNotFoundError(f"no execution {execution}")
            raise ExecutionStateError(f"execution {execution} is over; it cannot be {kind}")
        meta = {} if reason is None else {"reason": reason}
        batch, event = Batch(), Event(kind=kind, at=self._ledger.now(live), meta=meta)
        if not self._ledger.decide(batch, live, event, actor):
            raise ExecutionStateError(
                f"execution {execution} is {live.state.status}; it cannot be {kind}"
            )
        await self._ledger.durable(batch)

    async def _wait(self, live: Live) -> model.Execution:
        event = anyio.Event()
        found: list[model.Execution] = []

        def tell(view: model.Execution) -> None:
            found.append(view)
            event.set()

        waiters = self._waiters.setdefault(live.id, [])
        waiters.append(tell)
        try:
            await event.wait()
        finally:
            if not found:
                waiters.remove(tell)
        return found[0]

    # -- recovery --------------------------------------------------------------------------

    def _recover(self) -> None:
        """After a start: those that wait are noted, those that ran are told that they stopped."""
        for known in list(self._ledger.archive.unfinished()):
            self._ledger.listen(known.id, (), known.listens)
            if known.status == Status.WAITING and known.wake_at is not None:
                self._timers.add(Due(known.wake_at, known.id, None, WAKE))
            elif known.status in (Status.RUNNING, Status.PAUSED):
                live = self._ledger.reach(known.id)
                if live is not None:
                    self._ledger.post(live, "recovered")

    def _stop(self, error: Exception) -> None:
        self._group.start_soon(self._raise, error)

    async def _raise(self, error: Exception) -> None:
        raise error

    # -- what decisions ask for ------------------------------------------------------------

    def _carry_out(self, live: Live, command: Command) -> None:
        self._commands[command.kind](live, command)

    def _ask_attempt(self, live: Live, command: Command) -> None:
        frame = live.state.frames.get(command.frame)
        if frame is not None and frame.running:
            self._attempts.ask(live.id, frame.id, lambda: self._attempt(live, command.frame))

    def _attempt(self, live: Live, number: int) -> model.Attempt:
        frame = live.state.frames[number]
        return model.Attempt(
            execution=live.id,
            step=frame.path,
            number=frame.attempt,
            key=model.idempotency_key(live.id, frame.path, frame.attempt),
            task=live.flow.at(frame.where),
            input=frame.input,
            variables=Scope(live.flow, live.state, frame).frozen(),
            use=live.flow.document.get("use") or {},
            base=live.state.base,
        )

    def _outcome(
        self, execution: str, frame: int, value: Any, problem: dict[str, Any] | None
    ) -> None:
        """An attempt is over. A result that cannot be recorded is a failure of the step."""
        live = self._ledger.reach(execution)
        if live is None or self._ledger.failed is not None:
            return
        if problem is None:
            try:
                value = _core.decode(_bounded(_core.encode(value)))
            except (ValueError, TypeError) as error:
                problem = model.problem(
                    model.ErrorKind.RUNTIME, "The result cannot be recorded", str(error)
                )
        if problem is None:
            self._ledger.post(live, "step_completed", frame, value)
        else:
            self._ledger.post(live, "step_failed", frame, plain(problem))

    def _cancel(self, live: Live, command: Command) -> None:
        self._attempts.cancel(live.id, command.frame)
        if command.value is None:
            return
        child = self._ledger.reach(command.value["id"])
        if child is not None and command.value["await"]:
            batch = Batch()
            meta = {"reason": "the step that waited for it is over"}
            event = Event(kind="aborted", at=self._ledger.now(child), meta=meta)
            if self._ledger.decide(batch, child, event):
                self._ledger.submit(batch)

    def _set_timer(self, live: Live, command: Command) -> None:
        purpose, at = command.value
        self._timers.add(Due(at, live.id, command.frame, purpose))

    def _due(self, due: Due) -> None:
        if self._ledger.failed is not None:
            return
        live = self._ledger.reach(due.execution)
        if live is not None and due.frame is not None:
            self._ledger.post(live, "timer_fired", due.frame, due.purpose)

    def _emit(self, live: Live, command: Command) -> None:
        """The event reaches its takers, and its step is over, in one commit: exactly once."""
        frame = live.state.frames.get(command.frame)
        if frame is None or not frame.running:
            return
        batch = Batch()
        at = self._ledger.now(live)
        event = Event(kind="step_completed", at=at, frame=command.frame, value=command.value)
        self._ledger.decide(batch, live, event)
        self._offer(batch, command.value, live.id)
        if batch.records:
            self._ledger.submit(batch)

    def _offer(self, batch: Batch, event: dict[str, Any], actor: str) -> list[str]:
        taken = []
        for execution in self._ledger.listeners(str(event.get("type"))):
            live = self._ledger.reach(execution)
            if live is None:
                continue
            received = Event(kind="event_received", at=self._ledger.now(live), value=event)
            if self._ledger.decide(batch, live, received, actor):
                taken.append(execution)
        return taken

    # -- subflows and ends -----------------------------------------------------------------

    def _start_subflow(self, live: Live, command: Command) -> None:
        asked = command.value
        if (child := self._ledger.view(asked["id"])) is not None:
            if child.status in FINAL:
                self._tell_parent(live, command.frame, child)
            return
        document = self._library.find(asked["namespace"], asked["name"], asked["version"])
        if document is None:
            name = f"{asked['namespace']}/{asked['name']}/{asked['version']}"
            problem = model.problem(
                model.ErrorKind.CONFIGURATION, "Unknown flow", f"{name} is not on this node"
            )
            self._ledger.post(live, "step_failed", command.frame, problem)
            return
        batch = Batch()
        parent = f"{live.id}:{command.frame}" if asked["await"] else None
        self._ledger.create(batch, Flow(document), asked["id"], asked["input"], live.id, parent)
        frame = live.state.frames.get(command.frame)
        if not asked["await"] and frame is not None:
            at = self._ledger.now(live)
            event = Event(kind="step_completed", at=at, frame=frame.id, value=frame.input)
            self._ledger.decide(batch, live, event)
        self._ledger.submit(batch)

    def _tell_parent(self, live: Live, frame: int, child: model.Execution) -> None:
        if child.status == Status.COMPLETED:
            self._ledger.post(live, "step_completed", frame, child.output)
            return
        problem = {k: v for k, v in (child.problem or {}).items() if k != "instance"}
        self._ledger.post(live, "step_failed", frame, problem)

    def _finished(self, live: Live) -> None:
        view = live.view()
        self._ledger.lives.drop(live.id)
        self._ledger.listen(live.id, live.listens, ())
        for tell in self._waiters.pop(live.id, ()):
            tell(view)
        if live.state.parent is not None:
            above, _, frame = live.state.parent.rpartition(":")
            if (parent := self._ledger.reach(above)) is not None:
                self._tell_parent(parent, int(frame), view)


def _bounded(data: bytes) -> bytes:
    if len(data) > RESULT_BYTES_MAX:
        raise ValueError(f"{len(data)} bytes; a result has at most {RESULT_BYTES_MAX}")
    return data
