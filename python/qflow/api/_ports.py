"""What the control socket needs of a node: the ports that `node.py` fills."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from qflow.events import CloudEvent
from qflow.model import Execution, Schedule

if TYPE_CHECKING:
    from qflow.audit._retention import Hold, Step
    from qflow.audit.compliance import Rules, Scope, Stored
    from qflow.config import RetentionRule


class Executions(Protocol):
    """Starting, reading and steering executions. What changes something is durable on return."""

    async def start(self, flow: Any, input: Any = None, *, actor: str = "local") -> str:
        """Start an execution of `flow`; its id."""
        ...

    async def wait(self, execution: str) -> Execution:
        """Return when the execution is final."""
        ...

    def list(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Execution]:
        """Newest first; `before` is an id from an earlier answer."""
        ...

    def show(self, execution: str) -> Execution:
        """By id or unique prefix. Raises `ExecutionNotFoundError`."""
        ...

    def history(
        self, execution: str, *, after: int = -1, limit: int = 1000, payloads: bool = False
    ) -> Sequence[dict[str, Any]]:
        """The records behind sequence number `after`, in order."""
        ...

    async def pause(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> Any:
        """Hold at the next step. Raises `ExecutionStateError`."""
        ...

    async def resume(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> Any:
        """Go on. Raises `ExecutionStateError`."""
        ...

    async def abort(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> Any:
        """End without success. Raises `ExecutionStateError`."""
        ...


class Triggers(Protocol):
    """What comes in and goes out besides executions."""

    async def emit(self, event: CloudEvent, *, actor: str = "local") -> Sequence[str]:
        """Offer an event; the ids of the executions that took it. Durable on return."""
        ...

    async def schedule(self, flow: Any, *, actor: str = "local") -> str:
        """Start a flow whenever its `schedule` says; the schedule's key."""
        ...

    def schedules(self) -> Sequence[Schedule]:
        """What is scheduled."""
        ...

    async def unschedule(self, key: str, *, actor: str = "local") -> Any:
        """Forget a schedule."""
        ...

    def subscribe(
        self, pattern: str = "*"
    ) -> AbstractAsyncContextManager[AsyncIterator[CloudEvent]]:
        """The events from now on whose type matches."""
        ...


class Caretaker(Protocol):
    """Legal holds, erasure and retention. What changes something is durable on return."""

    async def hold(self, *, reason: str, by: str, **selected: Any) -> Hold:
        """Keep what is selected (see `Hold`) from being erased or pruned."""
        ...

    async def release(self, hold: str, *, reason: str, actor: str) -> Hold:
        """End a hold."""
        ...

    async def holds(self) -> Sequence[Hold]:
        """The holds that stand."""
        ...

    async def erase(self, execution: str, *, reason: str, actor: str) -> str:
        """Erase the payloads of an execution; its whole id.

        Raises `HeldError`, or `ErasedError` when it was done before.
        """
        ...

    def retain(
        self, rules: Sequence[RetentionRule] | None = None, *, actor: str, dry_run: bool
    ) -> AsyncGenerator[Step, None]:
        """Apply retention rules, or say what they would do."""
        ...


class Reporter(Protocol):
    """Rules that the history is held to, and the reports on record."""

    def comply(self, rules: Rules, scope: Scope, *, actor: str) -> AsyncGenerator[Any, None]:
        """Judge the history and put the signed report on record; progress, then its parts."""
        ...

    async def reports(self) -> Sequence[Stored]:
        """The reports on record, oldest first."""
        ...

    def report(self, name: str) -> AsyncGenerator[Any, None]:
        """The parts of a stored report, verified."""
        ...


class NodeLike(Executions, Triggers, Protocol):
    """A node that is entered and holds the lock of its log."""

    @property
    def care(self) -> Caretaker:
        """Who takes care of its history."""
        ...

    @property
    def compliance(self) -> Reporter:
        """Who reports on its history."""
        ...

    def status(self) -> dict[str, Any]:
        """Size and head of the log, executions by status, time to ready."""
        ...
