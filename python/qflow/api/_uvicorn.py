"""uvicorn with the deadlines that it lacks: it waits for ever for a header, a body or a reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import h11
import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from qflow.diagnostics import logger

if TYPE_CHECKING:
    import socket

    from anyio.abc import TaskStatus
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qflow.api._http import HttpLimits

DATE_S: Final = 1.0
"""How old the Date of an answer may be."""
FLUSH_S: Final = 1.0
"""How long the last words to a client may take to be sent."""
_log = logger("qflow.http")

_TIMEOUT: Final = b"408 Request Timeout"
_FULL: Final = b"503 Service Unavailable"


class _Timer(Protocol):
    def cancel(self) -> None: ...


class Server(uvicorn.Server):
    """Serves one app until `stop`. Writes no access log, and never says what it is."""

    def __init__(self, app: ASGIApp, limits: HttpLimits) -> None:
        self._stopping = anyio.Event()
        super().__init__(
            uvicorn.Config(
                bounded(app, limits.body_bytes_max),
                http=_protocol(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(limits.grace_s)),
                h11_max_incomplete_event_size=limits.header_bytes_max,
            )
        )

    async def run_on(self, raw: socket.socket, *, task_status: TaskStatus[None]) -> None:
        """Serve on a socket that listens, which is closed in the end."""
        self._task_status = task_status
        await self.serve([raw])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._task_status.started()

    def stop(self) -> None:
        """Take no more, and end when the last answers are sent. Call it on the server's loop."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with anyio.move_on_after(DATE_S):
                await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Bounded):
                connection.stop()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        while self.server_state.connections or self.server_state.tasks:
            await anyio.lowlevel.checkpoint()


def _protocol(limits: HttpLimits) -> type[H11Protocol]:
    return type("Protocol", (_Bounded,), {"limits": limits})


class _Bounded(H11Protocol):
    """One connection. A phase of it (headers, content) may not take longer than its deadline."""

    limits: HttpLimits
    _phase: object = None
    _deadline: _Timer | None = None
    _stall: _Timer | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.limits.connections_max:
            self._close_with(_FULL)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        _disarm(self._deadline)
        _disarm(self._stall)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self.limits.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _disarm(self._stall)

    def stop(self) -> None:
        """Wait for answers, and not for clients: a request that is not whole is cut off."""
        if self.conn.their_state is h11.SEND_BODY:
            self._close_with(_FULL)

    def _watch(self) -> None:
        """Begin the deadline of a phase when it begins; single bytes do not put it off."""
        phase = self.conn.their_state
        if phase is self._phase or self.transport.is_closing():
            return
        self._phase = phase
        _disarm(self._deadline)
        seconds = {h11.IDLE: self.limits.header_s, h11.SEND_BODY: self.limits.body_s}.get(phase)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
        elif self._phase is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()
        else:
            self._close_with(_TIMEOUT)

    def _close_with(self, status: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
        self.transport.close()
        self.loop.call_later(FLUSH_S, self.transport.abort)


def _disarm(timer: _Timer | None) -> None:
    if timer is not None:
        timer.cancel()


def bounded(app: ASGIApp, body_bytes_max: int) -> ASGIApp:
    """`app`, with 413 for a longer body, no noise about clients that leave, and a line in the
    program's log about its faults."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if _declared_bytes(scope) > body_bytes_max:
            await _too_large(send)
            return
        sent = _Sent(send)
        try:
            await app(scope, _counting(receive, body_bytes_max), sent)
        except ClientDisconnect:
            return
        except Exception:
            _log.exception("a request failed", path=scope.get("path"))
            if not sent.whole:
                raise

    return answer


class _Sent:
    """Knows whether an answer went out whole: starlette raises what it has answered with 500."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.whole = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.whole = True


def _counting(receive: Receive, bytes_max: int) -> Callable[[], Any]:
    left = bytes_max

    async def receive_counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            # Starlette answers with it.
            raise HTTPException(413)
        return message

    return receive_counted


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope.get("headers", ()):
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _too_large(send: Send) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body"})
