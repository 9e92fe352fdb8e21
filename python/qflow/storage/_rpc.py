"""Questions to one Kubo by its RPC, each bounded in bytes and in time.

https://docs.ipfs.tech/reference/kubo/rpc/
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import anyio
import msgspec

from qflow.clock import random_bytes
from qflow.errors import UnavailableError
from qflow.storage._url import checked_url

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx2

CONNECTIONS_MAX: Final = 8
"""To one endpoint; a further question waits, within its own time."""
ANSWER_BYTES_MAX: Final = 1 << 20
"""Of an answer that is not a block; a longer one is refused."""
LINE_BYTES_MAX: Final = 64 << 10
"""Of one line of an answer of many; a longer one is refused."""
FAILURE_BYTES_MAX: Final = 8 << 10
"""Of a failure that is read."""
EXCERPT_CHARS_MAX: Final = 200
"""Of what an endpoint says, in an error of ours."""
PATIENCE: Final = 4
"""A whole answer may take so many times what its beginning may, and SLOWEST beyond that."""
SLOWEST_BYTES_S: Final = 256 << 10
"""What is sent or received goes at least so fast, or it is given up."""

Arguments = Iterable[tuple[str, str]]
Take = Callable[[bytes], Awaitable[None]]
_OK: Final = 200
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "qflow"}


@cache
def _certificates() -> SSLContext:
    """Whom TLS trusts. Reading it takes 20 ms, which would be the most of a call for one block."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=False)


class RefusedError(UnavailableError):
    """The endpoint answered that it could not do it. `why` is what it said."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class Rpc:
    """The RPC of one Kubo, while entered.

    Everything that goes wrong is an UnavailableError with the endpoint and what happened: no
    connection, no answer within `timeout_s`, a pause of that length within one, a whole answer
    that takes PATIENCE times as long, another status than 200 (RefusedError), or an answer that
    is too long. No proxy of the environment is used and no redirect followed: what is sent goes
    to the URL that was named or nowhere.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.url = checked_url(url)
        self.timeout_s = timeout_s
        self._stack = AsyncExitStack()
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx2

        limits = httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=2)
        self._client = await self._stack.enter_async_context(
            httpx2.AsyncClient(
                trust_env=False, verify=_certificates(), limits=limits, headers=_HEADERS
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client = None
        await self._stack.aclose()

    async def ask(
        self, name: str, arguments: Arguments = (), *, bytes_max: int = ANSWER_BYTES_MAX
    ) -> bytes:
        """The whole answer of a command, such as `block/get`."""
        body = bytearray()

        async def take(part: bytes) -> None:
            body.extend(part)

        await self.pour(name, arguments, take, bytes_max=bytes_max)
        return bytes(body)

    async def ask_json(self, name: str, arguments: Arguments = ()) -> dict[str, Any]:
        """The same for an answer that is one JSON object."""
        return self._parsed(name, await self.ask(name, arguments))

    async def ask_lines(self, name: str, arguments: Arguments = ()) -> list[dict[str, Any]]:
        """The same for an answer of JSON objects, one a line."""
        said: list[dict[str, Any]] = []
        await self.each_line(name, arguments, said.append, bytes_max=ANSWER_BYTES_MAX)
        return said

    async def each_line(
        self,
        name: str,
        arguments: Arguments,
        take: Callable[[dict[str, Any]], None],
        *,
        bytes_max: int,
    ) -> None:
        """Give each line of such an answer to `take` as it comes.

        Kubo says in a trailer when it broke such an answer off, which HTTP clients do not show:
        an answer may lack its end.
        """
        rest = bytearray()

        async def split(part: bytes) -> None:
            rest.extend(part)
            *whole, left = rest.split(b"\n") if b"\n" in part else (rest,)
            if len(left) > LINE_BYTES_MAX:
                self._fail(name, f"a line of its answer is longer than {LINE_BYTES_MAX} bytes")
            if whole:
                rest[:] = left
            for line in whole:
                take(self._parsed(name, line))

        await self.pour(name, arguments, split, bytes_max=bytes_max)
        if rest:
            take(self._parsed(name, rest))

    async def pour(self, name: str, arguments: Arguments, take: Take, *, bytes_max: int) -> None:
        """Give the answer of a command to `take` as it comes, in parts. Raises what that raises."""
        async with self._answer(name, arguments) as response:
            await self._pour(name, response, take, bytes_max)

    async def upload(
        self,
        name: str,
        arguments: Arguments,
        pieces: Iterable[bytes],
        size_bytes: int,
        *,
        patience: int = PATIENCE,
    ) -> list[dict[str, Any]]:
        """Send a file of about `size_bytes` with a command, and get the lines of its answer.

        The answer may begin after `patience` times what another may: much is done before it.
        """
        boundary = f"qflow-{random_bytes(16).hex()}"
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        body = bytearray()

        async def take(part: bytes) -> None:
            body.extend(part)

        answer_s = patience * self.timeout_s
        whole_s = 2 * (answer_s + size_bytes / SLOWEST_BYTES_S)
        with anyio.move_on_after(whole_s) as deadline:
            content = _form(boundary, pieces)
            async with self._answer(name, arguments, kind, content, answer_s) as response:
                await self._pour(name, response, take, max(ANSWER_BYTES_MAX, size_bytes))
        if deadline.cancelled_caught:
            self._fail(name, f"no whole answer within {whole_s:.3g} s")
        return self._lines(name, bytes(body))

    def _whole_s(self, size_bytes: int) -> float:
        return PATIENCE * self.timeout_s + size_bytes / SLOWEST_BYTES_S

    @asynccontextmanager
    async def _answer(
        self,
        name: str,
        arguments: Arguments,
        headers: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        answer_s: float | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        import httpx2

        answer_s = self.timeout_s if answer_s is None else answer_s
        timeout = httpx2.Timeout(self.timeout_s, read=answer_s)

        assert self._client is not None, "an Rpc answers while it is entered"
        url = httpx2.URL(f"{self.url}/api/v0/{name}", params=list(arguments))
        request = self._client.build_request(
            "POST", url, headers=headers, content=content, timeout=timeout
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code != _OK:
                    await self._refuse(name, response)
                yield response
            finally:
                await response.aclose()
        except httpx2.ConnectTimeout:
            self._fail(name, f"no connection within {self.timeout_s:g} s")
        except httpx2.TimeoutException:
            self._fail(name, f"no answer within {answer_s:g} s")
        except httpx2.ConnectError:
            self._fail(name, "no connection")
        except httpx2.HTTPError as error:
            self._fail(name, str(error) or type(error).__name__)

    async def _refuse(self, name: str, response: httpx2.Response) -> NoReturn:
        """Kubo's failures are JSON; a proxy's are HTML, and others are anything."""
        body = bytearray()

        async def take(part: bytes) -> None:
            body.extend(part)

        try:
            await self._pour(name, response, take, FAILURE_BYTES_MAX)
        except UnavailableError:
            why = ""
        else:
            why = _reason(bytes(body))
        what = f"{self.url}: {name} answered {response.status_code}: {_shown(why)}"
        raise RefusedError(what, why)

    async def _pour(self, name: str, response: httpx2.Response, take: Take, bytes_max: int) -> None:
        begun, size = anyio.current_time(), 0
        fault: Exception | None = None
        # Cancelled rather than left when it is enough: only so do the generators inside of it end.
        with anyio.CancelScope() as scope:
            async for part in response.aiter_raw():
                size += len(part)
                if size > bytes_max:
                    fault = UnavailableError(f"its answer is longer than {bytes_max} bytes")
                elif anyio.current_time() - begun > self._whole_s(size):
                    fault = UnavailableError(f"no whole answer within {self._whole_s(size):.3g} s")
                elif fault is None:
                    fault = await _taken(take, part)
                if fault is not None:
                    scope.cancel()
        if isinstance(fault, UnavailableError):
            self._fail(name, str(fault))
        if fault is not None:
            raise fault

    def _lines(self, name: str, body: bytes) -> list[dict[str, Any]]:
        return [self._parsed(name, line) for line in body.splitlines() if line]

    def _parsed(self, name: str, line: bytes | bytearray) -> dict[str, Any]:
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._fail(
                name,
                f"its answer is not of Kubo: {_shown(_excerpt(bytes(line[:FAILURE_BYTES_MAX])))}",
            )
        return found

    def _fail(self, name: str, what: str) -> NoReturn:
        raise UnavailableError(f"{self.url}: {name}: {what}") from None


async def _form(boundary: str, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """RFC 7578 with one part, as the RPC takes files."""
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    for piece in pieces:
        yield piece
    yield f"\r\n--{boundary}--\r\n".encode()


async def _taken(take: Take, part: bytes) -> Exception | None:
    try:
        await take(part)
    except Exception as error:  # noqa: BLE001  (raised again once the answer was let go)
        return error
    return None


def _reason(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["Message"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError):
        return _excerpt(body)


def _excerpt(body: bytes) -> str:
    return body[: 4 * EXCERPT_CHARS_MAX].decode("utf-8", "replace")


def _shown(text: str) -> str:
    """What others wrote, without what would move a terminal's cursor, and not all of it."""
    plain = "".join(char if char.isprintable() else " " for char in text).strip()
    return plain if len(plain) <= EXCERPT_CHARS_MAX else f"{plain[:EXCERPT_CHARS_MAX]}..."
