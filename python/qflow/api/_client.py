"""The caller's side of the control socket."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import msgspec

from qflow.api import _methods
from qflow.api._call import Call, Method, Stream
from qflow.api._document_client import DocumentClient
from qflow.api._keys import KeyClient
from qflow.api._methods import PROTOCOL
from qflow.api._socket import connect, socket_path
from qflow.api._source import FlowSource
from qflow.api._state_client import StateClient
from qflow.api._wire import Lines, error_of, to_plain
from qflow.errors import QflowError, UnavailableError
from qflow.events import CloudEvent
from qflow.model import Execution, Schedule

if TYPE_CHECKING:
    from qflow.audit._retention import Hold, Step
    from qflow.config import RetentionRule


class Client:
    """A running node of this machine, with the methods of `Node`.

    `async with Client(home) as node` raises `UnavailableError` when no node runs there. Each call
    has a connection of its own, so calls may run side by side and be cancelled. The errors are
    those of the node, by class; `UnavailableError` in the middle of a call means that the node
    stopped, and that what was asked for may or may not have been done. The actor in the records
    is the user of this process, as the node's kernel says.
    """

    def __init__(self, home: str | os.PathLike[str]) -> None:
        self._path = socket_path(home)
        self.keys = KeyClient(self._call)
        """The keys of its home."""
        self.states = StateClient(self._call, self._items)
        """Checkpoints and stored states."""
        self.documents = DocumentClient(self._call, self._items)
        """The documents that executions share."""

    async def __aenter__(self) -> Self:
        hello = await self._call(_methods.Hello())
        if hello["protocol"] != PROTOCOL:
            raise UnavailableError(
                f"the node at {self._path} speaks protocol {hello['protocol']}, this is {PROTOCOL}"
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def start(self, flow: Any, input: Any = None) -> str:
        """Start an execution of whatever `load_flow` takes; its id. Durable on return."""
        answer = await self._call(_methods.Start(flow=FlowSource.of(flow), input=input))
        return str(answer)

    async def wait(self, execution: str) -> Execution:
        """Return when the execution is final."""
        return _execution(await self._call(_methods.Wait(execution=execution)))

    async def list(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Execution]:
        """Newest first; `before` is an id from an earlier answer."""
        call = _methods.List(status=status, flow=flow, limit=limit, before=before)
        return [_execution(item) for item in await self._all(call)]

    async def show(self, execution: str) -> Execution:
        """By id or unique prefix. Raises `ExecutionNotFoundError`."""
        return _execution(await self._call(_methods.Show(execution=execution)))

    async def history(
        self, execution: str, *, after: int = -1, limit: int = 1000, payloads: bool = False
    ) -> Sequence[dict[str, Any]]:
        """The records behind sequence number `after`, in order."""
        call = _methods.History(execution=execution, after=after, limit=limit, payloads=payloads)
        return await self._all(call)

    async def follow(
        self, execution: str, *, after: int = -1, payloads: bool = False
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The records behind `after`, then new ones, until the execution is final."""
        call = _methods.Follow(execution=execution, after=after, payloads=payloads)
        async with aclosing(self._items(call)) as items:
            async for item in items:
                yield item

    async def pause(self, execution: str, *, reason: str | None = None) -> None:
        """Hold at the next step. Durable on return. Raises `ExecutionStateError`."""
        await self._call(_methods.Pause(execution=execution, reason=reason))

    async def resume(self, execution: str, *, reason: str | None = None) -> None:
        """Go on. Durable on return. Raises `ExecutionStateError`."""
        await self._call(_methods.Resume(execution=execution, reason=reason))

    async def abort(self, execution: str, *, reason: str | None = None) -> None:
        """End without success. Durable on return. Raises `ExecutionStateError`."""
        await self._call(_methods.Abort(execution=execution, reason=reason))

    async def emit(self, event: CloudEvent) -> Sequence[str]:
        """Offer an event; the ids of the executions that took it. Durable on return."""
        answer: Sequence[str] = await self._call(_methods.Emit(event=to_plain(event.to_mapping())))
        return answer

    async def schedule(self, flow: Any) -> str:
        """Start a flow whenever its `schedule` says; the schedule's key. Durable on return."""
        return str(await self._call(_methods.Schedule(flow=FlowSource.of(flow))))

    async def schedules(self) -> Sequence[Schedule]:
        """What is scheduled."""
        return [msgspec.convert(item, Schedule) for item in await self._all(_methods.Schedules())]

    async def unschedule(self, key: str) -> None:
        """Forget a schedule. Durable on return."""
        await self._call(_methods.Unschedule(key=key))

    async def hold(self, *, reason: str, **selected: Any) -> Hold:
        """Keep what is selected (see `Hold`) from being erased or pruned. Durable on return."""
        return _hold(await self._call(_methods.Hold(reason=reason, **selected)))

    async def release(self, hold: str, *, reason: str) -> Hold:
        """End a legal hold, named by its id or a unique beginning. Durable on return."""
        return _hold(await self._call(_methods.Release(hold=hold, reason=reason)))

    async def holds(self) -> Sequence[Hold]:
        """The legal holds that stand."""
        return [_hold(item) for item in await self._all(_methods.Holds())]

    async def erase(self, execution: str, *, reason: str) -> str:
        """Erase the payloads of an execution; its whole id. Durable on return.

        Raises `HeldError`, `ExecutionStateError`, or `ErasedError` when it was done before."""
        return str(await self._call(_methods.Erase(execution=execution, reason=reason)))

    async def retain(
        self, rules: Sequence[RetentionRule] | None = None, *, dry_run: bool
    ) -> AsyncGenerator[Step, None]:
        """Apply these retention rules, or those of the node's settings; step by step."""
        from qflow.audit._retention import Step

        given = None if rules is None else tuple(rules)
        async with aclosing(self._items(_methods.Retain(rules=given, dry_run=dry_run))) as items:
            async for item in items:
                yield msgspec.convert(item, Step)

    @asynccontextmanager
    async def subscribe(self, pattern: str = "*") -> AsyncIterator[AsyncIterator[CloudEvent]]:
        """The events from now on whose type matches; nothing after entering is missed."""
        async with aclosing(self._items(_methods.Events(pattern=pattern))) as items:
            await anext(items)
            async with aclosing(_events(items)) as events:
                yield events

    async def comply(
        self,
        rules: str | None = None,
        *,
        source: str = "",
        flow: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Judge the history by rules (TOML), and put the signed report on record.

        Progress, then the parts of the report, which is durable by then.
        """
        call = _methods.Comply(rules=rules, source=source, flow=flow, since=since, until=until)
        async with aclosing(self._items(call)) as items:
            async for item in items:
                yield item

    async def reports(self) -> Sequence[dict[str, Any]]:
        """The compliance reports on record, oldest first."""
        return await self._all(_methods.Reports())

    async def report(self, name: str) -> AsyncGenerator[dict[str, Any], None]:
        """The parts of a stored report, verified by the node."""
        async with aclosing(self._items(_methods.ReportParts(report=name))) as items:
            async for item in items:
                yield item

    async def status(self) -> dict[str, Any]:
        """What the node says of itself."""
        answer: dict[str, Any] = await self._call(_methods.Status())
        return answer

    async def stop(self) -> None:
        """Ask the node to stop gracefully. Returns when it has heard, not when it has stopped."""
        await self._call(_methods.Stop())

    async def _all(self, call: Stream) -> Sequence[Any]:
        async with aclosing(self._items(call)) as items:
            return [item async for item in items]

    async def _call(self, call: Call | _methods.Stop) -> Any:
        lines = await self._ask(call)
        try:
            return (await self._reply(lines))["result"]
        finally:
            await anyio.aclose_forcefully(lines)

    async def _items(self, call: Stream) -> AsyncGenerator[Any, None]:
        lines = await self._ask(call)
        try:
            while "item" in (reply := await self._reply(lines)):
                yield reply["item"]
        finally:
            await anyio.aclose_forcefully(lines)

    async def _ask(self, call: Method) -> Lines:
        lines = Lines(await anyio.to_thread.run_sync(connect, self._path))
        try:
            await lines.send({"id": 1, "method": call.method, "params": call})
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            await anyio.aclose_forcefully(lines)
            raise UnavailableError(f"the node at {self._path} stopped") from None
        except ValueError as error:
            await anyio.aclose_forcefully(lines)
            raise QflowError(f"cannot be sent: {error}") from None
        except BaseException:
            await anyio.aclose_forcefully(lines)
            raise
        return lines

    async def _reply(self, lines: Lines) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = await lines.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise UnavailableError(f"the node at {self._path} stopped before it answered") from None
        if "error" in reply:
            raise error_of(reply["error"])
        return reply


async def _events(items: AsyncIterator[Any]) -> AsyncGenerator[CloudEvent, None]:
    async for item in items:
        yield CloudEvent.from_mapping(item)


def _hold(document: Any) -> Hold:
    from qflow.audit._retention import Hold

    return msgspec.convert(document, Hold)


def _execution(document: Any) -> Execution:
    return msgspec.convert(document, Execution)
