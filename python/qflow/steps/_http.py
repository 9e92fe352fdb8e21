"""Calls over HTTP: one client for the node, each call bounded in time and size."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import anyio
import httpx2

from qflow.clock import Clock
from qflow.model import ErrorKind
from qflow.steps._documents import Documents
from qflow.steps._limits import Limits
from qflow.steps._openapi import prepare_operation
from qflow.steps._request import Prepared, check_uri, complete, prepare
from qflow.steps._response import (
    ACCEPT_ENCODING,
    BAD_GATEWAY,
    Answer,
    failure,
    is_success,
    read_answer,
    shape,
)
from qflow.steps._scope import Scope, endpoint_of, failed, file_of

UNAVAILABLE: Final = 503


class Redact(Protocol):
    """`trust.Secrets.redact`."""

    def __call__(self, value: Any, also: list[str] = ..., /) -> Any: ...


class Caller:
    """The HTTP client of a node. No cookies are kept: executions share nothing by it."""

    def __init__(
        self,
        *,
        limits: Limits,
        clock: Clock,
        redact: Redact,
        routes: Mapping[str, str],
        proxy: str | None,
    ) -> None:
        self._limits, self._redact, self._routes = limits, redact, routes
        self._documents = Documents(limits, clock)
        self._client = httpx2.AsyncClient(
            trust_env=False,
            proxy=proxy,
            # Waiting for a free connection counts against the whole call, not by itself.
            timeout=httpx2.Timeout(None, connect=limits.connect_timeout_s),
            limits=httpx2.Limits(
                max_connections=limits.connections_max,
                max_keepalive_connections=limits.connections_idle_max,
            ),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"user-agent": "qflow", "accept-encoding": ACCEPT_ENCODING},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def call(self, scope: Scope) -> Any:
        """Make the call of the attempt's task, `http` or `openapi`."""
        async with self._in_time(scope):
            if scope.attempt.task["call"] == "openapi":
                fetch = partial(self.fetch, scope)
                made, policy = await prepare_operation(scope, self._documents, fetch)
                complete(made, policy, scope)
            else:
                made = prepare(scope)
            answer = await self._send(made)
            redact = partial(self._shown, scope)
            if not is_success(answer.status, made.redirect):
                raise failure(answer, made, httpx2.URL(made.uri).host, self._limits, redact)
            return await shape(answer, made, redact)

    async def fetch(self, scope: Scope, endpoint: Any, size_bytes_max: int) -> bytes:
        """The content of a resource of the flow: a file of its folder, or what a GET gives."""
        template, policy = endpoint_of(endpoint)
        uri = scope.expand(template)
        path = file_of(uri, scope.attempt.base)
        if path is not None:
            content = await _read_file(path, uri, size_bytes_max)
        else:
            made = complete(Prepared(method="GET", uri=uri, headers={}), policy, scope)
            answer = await self._send(made)
            if not is_success(answer.status, False):
                host = httpx2.URL(uri).host
                raise failure(answer, made, host, self._limits, partial(self._shown, scope))
            content = answer.body
        if len(content) > size_bytes_max:
            detail = f"{uri} is longer than {size_bytes_max} bytes"
            raise failed(ErrorKind.CONFIGURATION, "The resource is too long", detail)
        return content

    def _shown(self, scope: Scope, value: Any) -> Any:
        return self._redact(value, scope.sensitive)

    @asynccontextmanager
    async def _in_time(self, scope: Scope) -> AsyncIterator[None]:
        # A task with a timeout of its own is cut off by the engine, which knows the whole flow.
        own = "timeout" in scope.attempt.task
        limit_s = math.inf if own else self._limits.call_timeout_s
        with anyio.move_on_after(limit_s) as deadline:
            yield
        if deadline.cancelled_caught:
            detail = f"no whole answer within {limit_s:g} s"
            raise failed(ErrorKind.TIMEOUT, "The call ran out of time", detail)

    async def _send(self, made: Prepared) -> Answer:
        url, headers = self._routed(check_uri(made.uri), made.headers)
        request = httpx2.Request(
            made.method,
            url,
            headers=headers,
            content=made.content,
            extensions={"timeout": self._client.timeout.as_dict()},
        )
        for name in ("user-agent", "accept", "accept-encoding"):
            if name not in request.headers:
                request.headers[name] = self._client.headers[name]
        host = httpx2.URL(made.uri).host
        try:
            response = await self._client.send(request, auth=made.auth, stream=True)
            try:
                return await read_answer(response, made, self._limits)
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            _translate(error, made.method, host)
        except (httpx2.InvalidURL, httpx2.StreamError, ValueError) as error:
            raise failed(ErrorKind.VALIDATION, "The request cannot be sent", str(error)) from None

    def _routed(
        self, url: httpx2.URL, headers: dict[str, str]
    ) -> tuple[httpx2.URL, dict[str, str]]:
        """Where the request really goes. The `Host` header stays the one that the flow means."""
        authority = url.netloc.decode("ascii")
        base = self._routes.get(authority) or self._routes.get(url.host)
        if base is None:
            return url, headers
        target = httpx2.URL(base)
        path = target.raw_path.rstrip(b"/") + url.raw_path
        routed = url.copy_with(
            scheme=target.scheme, host=target.host, port=target.port, raw_path=path
        )
        return routed, {"host": authority, **headers}


def _translate(error: httpx2.HTTPError, method: str, host: str) -> NoReturn:
    """503 when nothing was sent, 502 when the answer broke off, 408 when it took too long."""
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        raise failed(ErrorKind.TIMEOUT, f"{method} {host} ran out of time", detail)
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        raise failed(ErrorKind.VALIDATION, "The request cannot be sent", detail)
    sent = not isinstance(error, httpx2.ConnectError | httpx2.ProxyError)
    title = f"{method} {host}: {'the answer broke off' if sent else 'no connection'}"
    status = BAD_GATEWAY if sent else UNAVAILABLE
    raise failed(ErrorKind.COMMUNICATION, title, detail, status=status)


async def _read_file(path: Path, uri: str, size_bytes_max: int) -> bytes:
    try:
        if not await anyio.Path(path).is_file():
            raise failed(ErrorKind.CONFIGURATION, "The file cannot be read", f"{uri}: no such file")
        async with await anyio.open_file(path, "rb") as file:
            return await file.read(size_bytes_max + 1)
    except OSError as error:
        detail = f"{uri}: {error.strerror or error}"
        raise failed(ErrorKind.CONFIGURATION, "The file cannot be read", detail) from None
