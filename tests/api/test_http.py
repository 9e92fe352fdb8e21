"""The listener: strangers may not hold it up, and it leaves nothing behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qflow.api import HttpLimits, Listener, parse_address
from qflow.errors import ConfigError, UnavailableError
from tests.nodes import until

pytestmark = pytest.mark.anyio

LIMITS = HttpLimits(header_s=0.3, body_s=0.3, stall_s=0.3, connections_max=4, grace_s=1.0)
HEADERS = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
TOO_LATE_S = 10.0


class Wishes:
    """What the app does beside echoing."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()


def app(wishes: Wishes | None = None) -> Starlette:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def large(_: Request) -> Response:
        return Response(bytes(64 << 20))

    async def hang(_: Request) -> Response:
        assert wishes is not None
        wishes.began.set()
        try:
            await anyio.Event().wait()
        finally:
            wishes.ended.set()
        return Response()

    async def fail(_: Request) -> Response:
        raise RuntimeError("a fault of the app")

    return Starlette(
        routes=[
            Route("/echo", echo, methods=["POST"]),
            Route("/large", large),
            Route("/hang", hang),
            Route("/fail", fail),
        ]
    )


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener(app(), "127.0.0.1", 0, LIMITS) as listener:
        yield listener


async def answer_to(listener: Listener, *parts: bytes) -> bytes:
    """What comes back, up to the end of the connection, when no more is sent than this."""
    return await anyio.to_thread.run_sync(lambda: converse(listener.port, parts))


def converse(port: int, parts: tuple[bytes, ...]) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=TOO_LATE_S) as raw:
        for part in parts:
            raw.sendall(part)
        received = bytearray()
        try:
            while data := raw.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    return bytes(received)


async def test_it_answers_and_does_not_say_what_it_is(listener: Listener) -> None:
    async with httpx2.AsyncClient() as client:
        for body in (b"", b"abc", bytes(LIMITS.body_bytes_max)):
            response = await client.post(f"{listener.url}/echo", content=body)
            assert (response.status_code, response.content) == (200, body)
            assert "server" not in response.headers
        assert (await client.get(f"{listener.url}/elsewhere")).status_code == 404
        assert (await client.get(f"{listener.url}/echo")).status_code == 405


async def test_a_connection_serves_several_requests_also_pipelined(listener: Listener) -> None:
    request = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
    closing = request.replace(b"host: x", b"host: x\r\nconnection: close")
    received = await answer_to(listener, request + request, closing)
    assert received.count(b"200 OK") == 3


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((b"POST /echo HT",), b"408"),
        ((b"POST /echo HTTP/1.1\r\nhost: x\r\n",), b"408"),
        ((HEADERS,), b"408"),
        ((HEADERS, b"abc"), b"408"),
        ((b"",), b""),
    ],
    ids=["a line", "headers", "no body", "half a body", "nothing"],
)
async def test_what_is_slow_is_cut_off(
    listener: Listener, parts: tuple[bytes, ...], status: bytes
) -> None:
    assert (await answer_to(listener, *parts))[9:12] == status


@pytest.mark.parametrize("start", [b"POST /echo HTTP/1.1\r\n", HEADERS])
async def test_single_bytes_do_not_put_a_deadline_off(listener: Listener, start: bytes) -> None:
    """As slowloris sends them: each comes in time, and the whole never does."""

    def drip() -> bytes:
        with socket.create_connection(("127.0.0.1", listener.port)) as raw:
            raw.sendall(start)
            raw.settimeout(LIMITS.header_s / 20)
            for _ in range(1000):
                try:
                    raw.sendall(b"x")
                    return raw.recv(100)
                except TimeoutError:
                    continue
                except OSError:
                    return b"cut"
        raise AssertionError("nobody minds")

    assert b"408" in await anyio.to_thread.run_sync(drip) or start is HEADERS


async def test_a_kept_connection_is_closed_when_it_is_idle(listener: Listener) -> None:
    received = await answer_to(listener, HEADERS, b"0123456789")
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"0123456789")


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEADERS.replace(b"10", b"65537") + bytes(65537),
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"".join(b"4000\r\n" + bytes(0x4000) + b"\r\n" for _ in range(5))
        + b"0\r\n\r\n",
    ],
    ids=["declared", "chunked"],
)
async def test_a_body_that_is_too_large_is_refused(
    listener: Listener, request_bytes: bytes
) -> None:
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{listener.url}/echo", content=bytes(65537))
    assert response.status_code == 413
    received = await answer_to(listener, request_bytes)
    assert received[9:12] == b"413"


async def test_headers_that_are_too_large_are_refused(listener: Listener) -> None:
    long = b"x: " + bytes(LIMITS.header_bytes_max).replace(b"\0", b"y")
    received = await answer_to(listener, b"POST /echo HTTP/1.1\r\n" + long)
    assert received[9:12] == b"400"


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"HELLO\r\n\r\n"])
async def test_what_is_no_http_is_refused(listener: Listener, junk: bytes) -> None:
    assert (await answer_to(listener, junk))[9:12] == b"400"


async def test_a_client_that_does_not_read_is_cut_off(listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port)) as raw:
        raw.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        connections = listener._server.server_state.connections
        await until(lambda: connections)
        await until(lambda: not connections)


async def test_one_connection_too_many_is_refused_and_later_ones_are_not(
    listener: Listener,
) -> None:
    def flood() -> bytes:
        held = [
            socket.create_connection(("127.0.0.1", listener.port), timeout=TOO_LATE_S)
            for _ in range(LIMITS.connections_max + 1)
        ]
        try:
            return held[-1].recv(100)
        finally:
            for raw in held:
                raw.close()

    assert (await anyio.to_thread.run_sync(flood))[9:12] == b"503"
    async with httpx2.AsyncClient() as client:
        with anyio.fail_after(TOO_LATE_S):
            while True:
                try:
                    response = await client.post(f"{listener.url}/echo", content=b"x")
                except httpx2.HTTPError:
                    continue
                if response.status_code == 200:
                    break


async def test_a_fault_of_the_app_is_an_answer_and_the_next_request_works(
    listener: Listener,
) -> None:
    async with httpx2.AsyncClient() as client:
        assert (await client.get(f"{listener.url}/fail")).status_code == 500
        assert (await client.post(f"{listener.url}/echo")).status_code == 200


async def test_nothing_is_left_of_it(anyio_backend: str) -> None:
    before = {thread for thread in threading.enumerate() if _is_of_a_portal(thread)}
    with socket.socket() as idle, socket.socket() as halfway:
        async with Listener(app(), "127.0.0.1", 0, HttpLimits()) as listener:
            idle.connect(("127.0.0.1", listener.port))
            halfway.connect(("127.0.0.1", listener.port))
            halfway.sendall(HEADERS)
            async with httpx2.AsyncClient() as client:
                await client.post(f"{listener.url}/echo", content=b"x")
        after = {thread for thread in threading.enumerate() if _is_of_a_portal(thread)}
        assert after <= before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.port))


def _is_of_a_portal(thread: threading.Thread) -> bool:
    return "portal" in thread.name or "ThreadPoolExecutor" in thread.name


async def test_an_answer_that_takes_too_long_does_not_keep_it_from_stopping() -> None:
    wishes = Wishes()
    with anyio.fail_after(TOO_LATE_S):
        async with Listener(app(wishes), "127.0.0.1", 0, LIMITS) as listener:
            with socket.create_connection(("127.0.0.1", listener.port)) as raw:
                raw.sendall(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
                await anyio.to_thread.run_sync(wishes.began.wait)
    assert wishes.ended.is_set()


async def test_an_address_that_is_taken_is_an_error_at_once(listener: Listener) -> None:
    with pytest.raises(UnavailableError, match="cannot listen"):
        async with Listener(app(), "127.0.0.1", listener.port):
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:0", ("::1", 0)),
        ("a.example:1", ("a.example", 1)),
    ],
)
async def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":80", "80", "a:", "a:b", "a:-1", "a:65536", "a:8 0"])
async def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)
