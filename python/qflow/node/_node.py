"""A node: the only place that knows every part. `async with Node(config) as node`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from qflow import _core, model
from qflow.audit import History, Index, Log, follow
from qflow.audit._erasures import Erased, apply_erasures
from qflow.audit._own import CLOSED, OPENED, OwnChain, own_chain
from qflow.audit._result import key_number, with_problem, with_result
from qflow.clock import Clock, SystemClock
from qflow.diagnostics import logger
from qflow.engine import (
    Engine,
    Flow,
    Identity,
    Live,
    Schedules,
    Status,
    functions_called,
    load_flow,
)
from qflow.errors import (
    BusyError,
    CorruptError,
    ExecutionFailedError,
    ExecutionNotFoundError,
    FlowError,
)
from qflow.events import Bus, CloudEvent, record_event
from qflow.node._archive import Archive
from qflow.node._care import Care
from qflow.node._checkpoints import Checkpoints, confirming
from qflow.node._compliance import Compliance
from qflow.node._document_care import DocumentCare
from qflow.node._documents_open import shared_documents
from qflow.node._ended import forget_ended
from qflow.node._grouped import alone
from qflow.node._key_care import KeyCare
from qflow.node._keys import know_chains, supply
from qflow.node._library import Library, flow_that_ran, scheduled_flow
from qflow.node._public import Public
from qflow.node._running import engine_limits, load_functions, make_runner
from qflow.node._shut import with_shut
from qflow.node._states_open import node_states
from qflow.node._stored import open_stored
from qflow.node._telling import Telling
from qflow.steps import Functions, Runner
from qflow.trust import Keyring, NodeKey, load_or_create_key
from qflow.trust._keyring import FILE

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.node._adoption import Plan

_log = logger("qflow.node")
Executions = list[model.Execution]
Records = list[dict[str, Any]]
FlowSource = Flow | str | bytes | os.PathLike[str] | Mapping[str, Any]


class Node:
    """One node. Entered: recovered and working. Left: stopped, with everything durable.

    Entering raises ConfigError, SigningKeyError, LockedError (another process has this home) or
    CorruptError.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        functions: Functions | None = None,
    ) -> None:
        self._config, self._clock = config, clock or SystemClock()
        self._functions = functions or Functions()
        self._home = Path(config.home)
        self._stack = AsyncExitStack()
        self._library = Library(self._flow_that_ran)

    async def __aenter__(self) -> Self:
        try:
            async with AsyncExitStack() as stack:
                await self._open(stack)
                self._stack = stack.pop_all()
        except BaseExceptionGroup as group:
            raised = alone(group, None)
        else:
            return self
        raise raised

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            return await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            raised = alone(group, error)
        if raised is error:
            return False
        raise raised

    async def _open(self, stack: AsyncExitStack) -> None:
        began = self._clock.now_ms()
        self._key: NodeKey = await anyio.to_thread.run_sync(
            partial(load_or_create_key, self._home, passphrase=self._config.keys.passphrase_file)
        )
        self._identity = Identity(node=self._key.did, subnet=self._config.subnet)
        self._bus = Bus(
            clock=self._clock,
            source=self._key.did,
            queue_events_max=self._config.events.subscriber_events_max,
        )
        await anyio.to_thread.run_sync(load_functions, self._functions, self._config)
        await self._open_log(stack)
        await self._open_documents(stack)
        made = make_runner(self._config, self._functions, self._clock, self._shared)
        runner = await stack.enter_async_context(made)
        await self._own.append([(OPENED, None, None, None, {})], self._identity.node)
        stack.push_async_callback(self._close)
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        await group.start(self.keys.attend, self._clock)
        await stack.enter_async_context(self._checkpoints)
        self._engine = self._make_engine(runner)
        self._schedules = Schedules(self._engine, self._own, self._clock)
        await stack.enter_async_context(self._engine)
        flow_of = partial(scheduled_flow, self._history)
        self._schedules.restore(self._index.schedules(), flow_of, self._view)
        group.start_soon(self._schedules.run)
        group.start_soon(follow, self._index, self._log)
        self._public = Public(self._config, self._key, self._clock, self._log)
        await self._public.open(stack, group)
        group.start_soon(supply, self._keyring)
        group.start_soon(self._stored.elsewhere.outbox.run)
        days = self._config.checkpoint.ended_days
        group.start_soon(forget_ended, self._stored.states, self._index, self._clock, days)
        if (hours := self._config.retention.every_hours) > 0:
            group.start_soon(self.care.retain_every, hours, self._key.did)
        group.start_soon(self.care.finish_erasures)
        group.start_soon(self._own.watch_clock)
        self._ready_ms = self._clock.now_ms() - began

    async def _open_log(self, stack: AsyncExitStack) -> None:
        if (self._home / "index.db").exists() and not (self._home / "log").exists():
            raise CorruptError(
                f"{self._home} has an index but no log: its history is gone, or its disk is not"
                " there; bring it back, or remove index.db to begin a new history"
            )
        bounds = self._config.log
        log = Log(
            str(self._home / "log"),
            self._key,
            segment_bytes=bounds.segment_bytes,
            queue_bytes_max=bounds.queue_bytes_max,
        )
        self._log = await stack.enter_async_context(log)
        self._keyring = Keyring(self._home, lambda: self._key.seed)
        stack.callback(self._keyring.close)
        self._index = Index(self._home / "index.db")
        stack.callback(self._index.close)
        await anyio.to_thread.run_sync(self._index.catch_up, self._log)
        self._history = History(self._index, self._log, self._keyring)
        await self._open_states(stack)
        self._own = OwnChain(
            self._log,
            self._index,
            self._history,
            self._clock,
            public_key=self._key.public,
            identity=self._identity,
        )
        await anyio.to_thread.run_sync(self._open_keys)
        self._open_keepers()

    async def _open_states(self, stack: AsyncExitStack) -> None:
        self._erased = Erased(self._history, own_chain(self._key.public))
        self._telling = Telling(self._bus, self._clock, self._key.did)
        self._stored = await anyio.to_thread.run_sync(
            partial(
                open_stored,
                self._config,
                self._key,
                self._keyring,
                is_erased=self._erased.__contains__,
                clock=self._clock,
                tell=self._telling.tell,
            )
        )
        stack.callback(self._stored.close)
        states = self._stored.states
        self._archive = Archive(
            self._index, self._history, self._log, self._keyring, states, node=self._key.did
        )
        self._checkpoints = Checkpoints(
            states,
            self._history,
            self._clock,
            keep=self._config.checkpoint.keep,
            poisoned=lambda: self._stored.database.poisoned,
            confirm=confirming(self._config, self._stored),
        )

    async def _open_documents(self, stack: AsyncExitStack) -> None:
        opening = shared_documents(
            self._stored,
            self._config,
            self._key,
            self._keyring,
            clock=self._clock,
            tell=self._telling.tell,
        )
        self._shared = await stack.enter_async_context(opening)
        self.documents = DocumentCare(self._shared)
        """The documents that executions share."""

    def _open_keepers(self) -> None:
        self.care = Care(
            own=self._own,
            chain=own_chain(self._key.public),
            index=self._index,
            history=self._history,
            log=self._log,
            keys=self._keyring,
            clock=self._clock,
            rules=self._config.retention.rules,
            stored=self._store_again,
            remnants=self._stored.elsewhere,
        )
        """Legal holds, erasure, retention."""
        self.keys = KeyCare(self._keyring, self._own, did=self._key.did, subnet=self._config.subnet)
        """Subnet keys: rotation, keys that come and go."""
        self.keys.rotated = self._stored.elsewhere.rotated
        self.states = node_states(
            self._stored,
            self._config,
            history=self._history,
            index=self._index,
            log=self._log,
            own=self._own,
            keys=self._keyring,
            checkpoint=self._checkpointed,
            set_aside=self._set_aside,
        )
        """Checkpoints and stored states."""
        self.compliance = Compliance(
            own=self._own,
            history=self._history,
            log=self._log,
            path=self._home / "log",
            key=self._key,
            subnet=self._config.subnet,
            clock=self._clock,
        )
        """Rules and reports."""

    def _store_again(self, floor: int) -> set[str]:
        self._archive.floor = floor
        return self._engine.forget_stored()

    def _open_keys(self) -> None:
        chain = own_chain(self._key.public)
        if not self._keyring.exists and any(
            key_number(self._history, view.id) is not None
            for view in self._index.executions(limit=1)
        ):
            _log.error(
                "the data keys are gone, and new ones are begun: what is sealed stays shut; to"
                " bring the file back, stop the node first",
                file=str(self._home / FILE),
            )
        elsewhere = self._stored.elsewhere
        apply_erasures(self._history, chain, self._keyring, mark=True, also=elsewhere.erase)
        know_chains(self._keyring, self._history, self._erased.__contains__, self._key.did)
        self._keyring.refill()

    def _make_engine(self, runner: Runner) -> Engine:
        return Engine(
            journal=self._log,
            archive=self._archive,
            checkpoints=self._checkpoints,
            keys=self._keyring,
            runner=runner,
            documents=self._shared,
            library=self._library,
            clock=self._clock,
            identity=self._identity,
            limits=engine_limits(self._config),
            told=self._told,
        )

    async def _close(self) -> None:
        """The last record says that the node was stopped on purpose."""
        with anyio.CancelScope(shield=True):
            while self._log.poisoned is None:
                size = self._log.size
                try:
                    await self._own.append([(CLOSED, None, None, None, {})], self._key.did)
                    break
                except BusyError:
                    await self._log.grown(size)

    # -- executions ------------------------------------------------------------------------

    def validate(self, flow: FlowSource) -> Flow:
        """The flow, if this node can run it. Raises FlowError."""
        loaded = flow if isinstance(flow, Flow) else load_flow(flow, is_function=self._is_function)
        unknown = [name for name in functions_called(loaded) if self._functions.get(name) is None]
        if unknown:
            raise FlowError(
                f"{loaded.key} calls {', '.join(sorted(unknown))}: no such function on this node; "
                f"name the file that defines it (--functions FILE)"
            )
        return loaded

    def know(self, flow: FlowSource) -> Flow:
        """Make a flow known by name, so that others can run it as a subflow. Raises FlowError."""
        loaded = self.validate(flow)
        self._library.add(loaded)
        return loaded

    async def start(self, flow: FlowSource, input: Any = None, *, actor: str = "local") -> str:
        """Start an execution; its id. Durable on return. Raises FlowError."""
        loaded = self.know(flow)
        return await self._engine.start(loaded, input, actor=actor)

    async def run(self, flow: FlowSource, input: Any = None, *, actor: str = "local") -> Any:
        """Start an execution and wait for its output. Raises ExecutionFailedError."""
        done = await self.wait(await self.start(flow, input, actor=actor))
        if done.status != Status.COMPLETED:
            raise ExecutionFailedError(done.id, done.status, done.problem)
        return done.output

    async def wait(self, execution: str) -> model.Execution:
        """The execution once it is over. The wait can be cancelled; the execution goes on."""
        return await self._engine.wait(self._full(execution))

    def list(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Executions:
        """Executions, newest first; `before` is the id to go on behind."""
        self._index.catch_up(self._log)
        found = self._index.executions(status=status, flow=flow, limit=limit, before=before)
        return [with_shut(with_problem(view, self._history), self._engine.shut) for view in found]

    def show(self, execution: str) -> model.Execution:
        """One execution by its id or a unique beginning. Raises ExecutionNotFoundError."""
        name = self._full(execution)
        if (view := self._engine.resident(name)) is None:
            view = with_result(self._index.execution(name), self._history)
        return with_shut(view, self._engine.shut)

    def history(
        self, execution: str, *, after: int = -1, limit: int = 1000, payloads: bool = False
    ) -> Records:
        """The records of an execution behind number `after`, verified as they are read."""
        chain = model.id_bytes(self._full(execution))
        entries = self._history.records(chain, after=after, limit=limit, values=payloads)
        # Imported with the first look: a node without a control socket needs nothing else of it.
        from qflow.api import record_document

        return [record_document(entry.index, entry.record, entry.value) for entry in entries]

    async def pause(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> None:
        """Hold before the next step, also across restarts. Durable on return."""
        await self._engine.pause(self._full(execution), actor=actor, reason=reason)

    async def resume(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> None:
        """Go on after a pause. Durable on return. Raises ExecutionStateError."""
        await self._engine.resume(self._full(execution), actor=actor, reason=reason)

    async def abort(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> None:
        """End an execution. Durable on return. Raises ExecutionStateError."""
        await self._engine.abort(self._full(execution), actor=actor, reason=reason)

    async def checkpoint(
        self,
        execution: str,
        *,
        label: str | None = None,
        description: str | None = None,
        actor: str = "local",
    ) -> dict[str, Any]:
        """Make a checkpoint of an execution as it stands, to find it again by its label. Durable on
        return; the execution goes on.

        Gives execution, seq (of its record), version and state (CIDs), size (bytes of the state)
        and frames. Raises ExecutionStateError for one that is over, StaleError when another node
        owns it.
        """
        made, version = await self._engine.checkpoint(
            self._full(execution), actor=actor, label=label, description=description
        )
        return made.shown(version)

    async def _checkpointed(self, execution: str, **asked: Any) -> str:
        return str((await self.checkpoint(execution, **asked))["version"])

    def _set_aside(self, plans: Mapping[str, Plan]) -> AbstractAsyncContextManager[set[str]]:
        return self._engine.set_aside(plans)

    # -- events and schedules --------------------------------------------------------------

    async def emit(self, event: CloudEvent, *, actor: str = "local") -> Sequence[str]:
        """Offer an event to the executions that listen; the ids of those that took it, durably."""
        return await self._engine.deliver(event.to_mapping(), actor=actor)

    def subscribe(self, pattern: str = "*") -> AbstractAsyncContextManager[Any]:
        """What happens from now on, as CloudEvents: an async iterator in a context."""
        return self._bus.subscribe(pattern)

    async def schedule(self, flow: FlowSource, *, actor: str = "local") -> str:
        """Start a flow by its own schedule from now on; its key. Durable on return."""
        loaded = self.know(flow)
        return (await self._schedules.add(loaded, actor)).key

    def schedules(self) -> Sequence[model.Schedule]:
        """The schedules of this node."""
        return self._schedules.list()

    async def unschedule(self, key: str, *, actor: str = "local") -> None:
        """Remove a schedule. Durable on return. Executions that it started go on."""
        await self._schedules.remove(key, actor)

    def status(self) -> dict[str, Any]:
        """What the node is and how it stands."""
        self._index.catch_up(self._log)
        return {
            "node": self._key.did,
            "home": str(self._home),
            "vkey": self._key.vkey,
            "size": self._log.size,
            "head": self._log.head,
            "ready_ms": self._ready_ms,
            "executions": self._index.counts(),
            "shut": len(self._engine.shut),
            "checkpoints": self._checkpoints.status(),
            "states": self._stored.states.stats(),
            "schedules": len(self._schedules.list()),
            "functions": sorted(self._functions.names()),
            **self._public.status(),
        }

    def _is_function(self, name: str) -> bool:
        return self._functions.get(name) is not None

    # -- inside ----------------------------------------------------------------------------

    def _full(self, execution: str) -> str:
        """The whole id for a unique beginning of one."""
        if self._engine.resident(execution) is not None:
            return execution
        self._index.catch_up(self._log)
        return self._index.execution(execution).id

    def _view(self, execution: str) -> model.Execution | None:
        try:
            return self._index.execution(execution)
        except ExecutionNotFoundError:
            return None

    def _flow_that_ran(self, name: str) -> Flow | None:
        self._index.catch_up(self._log)
        return flow_that_ran(name, self._index, self._history)

    def _told(self, live: Live, records: Sequence[bytes]) -> None:
        if live.state.status in (Status.COMPLETED, Status.FAULTED, Status.ABORTED):
            self._schedules.finished(live.id, live.state.now)
        if self._bus.has_subscribers:
            for record in records:
                self._bus.publish(record_event(_core.decode_record(record), source=self._key.did))
