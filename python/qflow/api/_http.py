"""Serves an ASGI app on a TCP port, in a thread of its own, within bounds.

The node runs on asyncio or trio and uvicorn on asyncio alone, so it has its own loop; and a
stranger's request never waits for, or holds up, the node's.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
import msgspec

from qflow.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BACKLOG: Final = 128
"""Connections that the kernel keeps until they are taken."""


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one listener lets strangers use."""

    connections_max: int = 128
    """Open at once; one more is answered with 503 and closed."""
    header_bytes_max: int = 16 << 10
    """Of a request line with its headers; more is answered with 400."""
    header_s: float = 10.0
    """From the opening of a connection, or the answer before, to the end of the headers; then 408.
    A connection that is kept open and idle is closed after the same time."""
    body_bytes_max: int = 64 << 10
    """Of a request's content; more is answered with 413."""
    body_s: float = 10.0
    """From the end of the headers to the end of the content; then 408."""
    stall_s: float = 20.0
    """How long a client may leave an answer unread; then it is cut off."""
    grace_s: float = 5.0
    """How long answers may take once the listener is to stop; then they are cut off."""


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, an IPv6 address in brackets. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"not an address to listen on (host:port): {text!r}")
    return host, int(port)


class Listener:
    """An ASGI app on a TCP port. Entered: it answers. Left: no thread or socket of it is left.

    The app runs on the listener's own asyncio loop, not on the caller's. `port` 0 takes a free one;
    `port` says which. Entering raises UnavailableError when the address cannot be had.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, limits: HttpLimits | None = None
    ) -> None:
        self._app, self._limits = app, limits or HttpLimits()
        self.host, self.port = host, port

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._stop)

    def _start(self) -> None:
        # Imported where it is used: who talks to a node over its socket needs nothing of it.
        from anyio.from_thread import start_blocking_portal

        from qflow.api._uvicorn import Server

        raw = bind(self.host, self.port)
        self.port = raw.getsockname()[1]
        with ExitStack() as stack:
            stack.callback(raw.close)
            self._server = Server(self._app, self._limits)
            self._portal = stack.enter_context(start_blocking_portal("asyncio"))
            self._served, _ = self._portal.start_task(self._server.run_on, raw)
            self._stack = stack.pop_all()

    def _stop(self) -> None:
        with self._stack:
            self._portal.call(self._server.stop)
            self._served.result()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UnavailableError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UnavailableError(f"cannot listen on {host}:{port}: {why}") from error
