"""What the control socket needs of a node: the ports that `node.py` fills."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from qflow.events import CloudEvent
from qflow.model import Execution, Schedule

if TYPE_CHECKING:
    from qflow.api._documents import (
        Compaction,
        Found,
        ShownConflict,
        ShownOperation,
        StoredDocument,
        Written,
    )
    from qflow.api._keys import KeyKeeper
    from qflow.api._states import (
        Checkpoint,
        Deleted,
        Detail,
        Difference,
        Garbage,
        Pruned,
        Restored,
        StateStep,
        StoredState,
    )
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


class StateKeeper(Protocol):
    """Checkpoints and stored states. What changes something is durable on return; executions are
    named by their id, checkpoints by their CID, or by how either begins."""

    async def create(
        self, execution: str, *, label: str | None, description: str | None, actor: str
    ) -> Checkpoint:
        """Write down the state of an execution that is not over."""
        ...

    def list(
        self,
        *,
        execution: str | None = None,
        flow: str | None = None,
        label: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Checkpoint, None]:
        """Checkpoints, newest first."""
        ...

    async def show(self, name: str) -> Detail:
        """One checkpoint, or the newest of an execution."""
        ...

    async def diff(self, older: str, newer: str, *, paths: bool, limit: int) -> Difference:
        """What changed between two checkpoints of one execution."""
        ...

    async def restore(
        self,
        name: str,
        *,
        dry_run: bool,
        actor: str,
        children_anew: bool = False,
        or_older: bool = False,
    ) -> Restored:
        """Bring an execution, and those that it waits for, into the log from what is in the
        store. With `children_anew` those begin anew of which nothing is there; with `or_older` a
        checkpoint that is named and not good gives way to the one before it."""
        ...

    async def prune(
        self,
        execution: str | None,
        *,
        keep: int | None,
        dry_run: bool,
        actor: str,
        labelled: bool = False,
    ) -> Pruned:
        """Delete all but the newest checkpoints. Those with a label stay without `labelled`."""
        ...

    def stored(
        self, *, execution: str | None = None, flow: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[StoredState, None]:
        """Executions that have a stored state."""
        ...

    def verify(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        """Verify stored states."""
        ...

    async def delete(self, execution: str, *, actor: str) -> Deleted:
        """Delete every checkpoint of an execution, with its pins."""
        ...

    def export(
        self, executions: Sequence[str], path: str, *, with_key: bool, replace: bool
    ) -> AsyncGenerator[StateStep, None]:
        """Write a CAR file, whole or not at all."""
        ...

    def import_(self, path: str) -> AsyncGenerator[StateStep, None]:
        """Take checkpoints out of a CAR file."""
        ...

    def recover(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        """Fetch checkpoints from the endpoints."""
        ...

    def sync(self) -> AsyncGenerator[StateStep, None]:
        """Bring every endpoint up to date."""
        ...

    async def garbage(self, *, collect: bool) -> Garbage:
        """Blocks that nothing names."""
        ...


class DocumentKeeper(Protocol):
    """The documents that executions share. What changes something is durable on return."""

    def list(self) -> AsyncGenerator[StoredDocument, None]:
        """The documents of the home, by name."""
        ...

    async def get(
        self, name: str, path: str = "", *, strategy: str | None = None, at: bytes | None = None
    ) -> Found:
        """What is at a path. Raises DocumentNotFoundError."""
        ...

    async def change(
        self,
        name: str,
        changes: Sequence[tuple[str, str, Any]],
        *,
        operation: str | None = None,
    ) -> Written:
        """Make all changes (verb, path, value) in one transaction; a document that is not there is
        made. Raises TypeMismatchError, ValueError."""
        ...

    def conflicts(self, name: str, path: str = "") -> AsyncGenerator[ShownConflict, None]:
        """What was written at the same time at or beneath a path."""
        ...

    def history(
        self, name: str, path: str = "", *, limit: int = 100
    ) -> AsyncGenerator[ShownOperation, None]:
        """The operations at and beneath a path, the newest first."""
        ...

    async def compact(self, name: str) -> Compaction:
        """Put a snapshot in the place of what all members have seen."""
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

    @property
    def keys(self) -> KeyKeeper:
        """Who takes care of its keys."""
        ...

    @property
    def documents(self) -> DocumentKeeper:
        """Who keeps the documents that executions share."""
        ...

    @property
    def states(self) -> StateKeeper:
        """Who keeps its checkpoints."""
        ...

    def status(self) -> dict[str, Any]:
        """Size and head of the log, executions by status, time to ready."""
        ...
