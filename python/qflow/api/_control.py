"""The node's side of the control socket."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskGroup

from qflow.api._call import Call
from qflow.api._methods import METHODS, Stop
from qflow.api._ports import NodeLike
from qflow.api._socket import Listener, Stream
from qflow.api._wire import Lines, error_document
from qflow.diagnostics import logger
from qflow.errors import BusyError, QflowError, UnavailableError

CONNECTIONS_MAX: Final = 128
"""One more is answered with `BusyError` and closed."""
GRACE_S: Final = 5.0
"""How long a stopping node waits for its last answers; then they are cut off."""
REFUSAL_S: Final = 1.0
"""How long one connection too many may take to say what it wanted."""
CALLS_IN_FLIGHT_MAX: Final = 32
"""Of one connection. Its further calls are not read until one is answered; calls that only wait
are counted apart, and refused with `BusyError` beyond this."""

_log = logger(__name__)


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a client."""

    id: int
    method: str
    params: dict[str, Any] = {}


class Control:
    """The served socket. `stop_requested` is set when a client asks the node to stop."""

    def __init__(self, node: NodeLike) -> None:
        self._node = node
        self._connections = 0
        self._waits: set[anyio.CancelScope] = set()
        """What only waits: for requests, or for something to happen."""
        self._closing, self._left = False, anyio.Event()
        self.stop_requested = anyio.Event()

    async def connected(self, stream: Stream) -> None:
        """Answer one client until it closes. An error is the client's, never the node's."""
        lines = Lines(stream)
        self._connections += 1
        try:
            if self._connections > CONNECTIONS_MAX:
                await self._refuse(lines)
            else:
                await self._converse(lines, actor_of(stream.peer_uid))
        finally:
            self._connections -= 1
            await anyio.aclose_forcefully(lines)
            if self._closing and not self._connections:
                self._left.set()

    async def close(self) -> None:
        """End what only waits, and return when the calls that change something are answered."""
        self._closing = True
        for scope in self._waits:
            scope.cancel()
        if self._connections:
            await self._left.wait()

    @contextmanager
    def _waiting(self, scope: anyio.CancelScope) -> Iterator[None]:
        self._waits.add(scope)
        if self._closing:
            scope.cancel()
        try:
            yield
        finally:
            self._waits.discard(scope)

    async def _refuse(self, lines: Lines) -> None:
        """Say why. A close with the request unread would throw the answer away."""
        with anyio.move_on_after(REFUSAL_S):
            request = await _receive(lines)
            number = 0 if request is None else request.id
            await _send(lines, number, error=BusyError("too many connections: retry later"))

    async def _converse(self, lines: Lines, actor: str) -> None:
        briefly = anyio.Semaphore(CALLS_IN_FLIGHT_MAX)
        waiting = anyio.Semaphore(CALLS_IN_FLIGHT_MAX)
        async with anyio.create_task_group() as brief, anyio.create_task_group() as lasting:
            with self._waiting(lasting.cancel_scope):
                while (request := await _receive(lines)) is not None:
                    kind = METHODS.get(request.method)
                    if kind is None or not kind.lasting:
                        await briefly.acquire()
                        brief.start_soon(self._reply, lines, request, actor, briefly)
                    elif waiting.value:
                        waiting.acquire_nowait()
                        lasting.start_soon(self._reply, lines, request, actor, waiting)
                    else:
                        await _send(lines, request.id, error=BusyError("too many calls that wait"))
            # Nobody listens any longer: what waits ends, while a change that began is made.
            lasting.cancel_scope.cancel()

    async def _reply(
        self, lines: Lines, request: Request, actor: str, slots: anyio.Semaphore
    ) -> None:
        try:
            result = await self._answer(lines, request, actor)
            await _send(lines, request.id, result=result)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        except QflowError as error:
            await _send(lines, request.id, error=error)
        except Exception as error:  # noqa: BLE001 - a call's fault must not stop the node
            _log.exception("call failed", method=request.method)
            await _send(lines, request.id, error=error)
        finally:
            slots.release()

    async def _answer(self, lines: Lines, request: Request, actor: str) -> Any:
        kind = METHODS.get(request.method)
        if kind is None:
            raise UnavailableError(f"this node knows no call {request.method!r}")
        try:
            call = msgspec.convert(request.params, kind)
        except msgspec.ValidationError as error:
            raise QflowError(f"{request.method}: {error}") from None
        if isinstance(call, Stop):
            self.stop_requested.set()
            return None
        if isinstance(call, Call):
            return await call.answer(self._node, actor)
        async with aclosing(call.items(self._node, actor)) as items:
            async for item in items:
                await lines.send({"id": request.id, "item": item})
        return None


@asynccontextmanager
async def serve(node: NodeLike, path: str | os.PathLike[str]) -> AsyncIterator[Control]:
    """Serve `node` on a Unix-domain socket at `path`, for this user alone (mode 0600).

    The node is entered and so holds the lock of its log: a socket that nobody listens on is a
    dead node's, and is replaced. Raises `LockedError` when somebody does listen, and
    `UnavailableError` when something else has the name. On leaving, calls that only wait are cut
    off, and calls that change something are answered.
    """
    control = Control(node)
    listener = await anyio.to_thread.run_sync(Listener, Path(path))
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept, listener, control, tasks)
            try:
                yield control
            finally:
                with anyio.move_on_after(GRACE_S, shield=True):
                    await control.close()
                tasks.cancel_scope.cancel()
    finally:
        listener.close()


async def _accept(listener: Listener, control: Control, tasks: TaskGroup) -> None:
    while True:
        tasks.start_soon(control.connected, await listener.accept())


@lru_cache(maxsize=CONNECTIONS_MAX)
def actor_of(uid: int) -> str:
    """The actor that records name for a user of this machine: `local:<user>`."""
    try:
        return f"local:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"local:{uid}"


async def _receive(lines: Lines) -> Request | None:
    """The next request; None when there will be none."""
    try:
        return msgspec.convert(await lines.receive(), Request)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return None
    except ValueError as error:
        await _send(lines, 0, error=QflowError(f"not a request: {error}"))
        return None


async def _send(
    lines: Lines, number: int, *, result: Any = None, error: BaseException | None = None
) -> None:
    reply = {"result": result} if error is None else {"error": error_document(error)}
    try:
        await lines.send({"id": number, **reply})
    except ValueError as refused:
        await _send(lines, number, error=UnavailableError(str(refused)))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return
