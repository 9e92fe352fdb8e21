"""A Kubo that misbehaves: small named actors behind one server, for what talks to it.

    with bad_kubo(hang_after_headers) as bad:
        ...Kubo(bad.url)...

With `upstream` it passes on to a real Kubo, and only the calls named in `on` meet the actor.
Whatever an actor does ends when its client leaves, at the latest when the `with` does.
"""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice, repeat
from typing import NamedTuple

ENDLESS_BYTES_MAX = 1 << 30
"""Where an endless answer ends all the same: a client that took so much has no bound."""
DRIP_S = 0.05
REQUEST_BYTES_MAX = 64 << 20
OTHER_CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
"""Of the empty block: a good CID, and not that of what anybody puts."""


class Request(NamedTuple):
    """What came in, whole."""

    call: str
    """As `block/put`: the path behind `/api/v0/`, without its arguments."""
    target: str
    headers: dict[str, str]
    body: bytes


class Wire:
    """The client's end of a connection, for an actor to do with as it likes."""

    def __init__(self, connection: socket.socket, bad: BadKubo) -> None:
        self._connection = connection
        self._bad = bad

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)
        self._bad.sent_bytes += len(data)

    def head(self, status: str = "200 OK", **headers: str) -> None:
        given = {"Content-Type": "application/json", **headers}
        lines = (f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        self.send(f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode())

    def answer(self, body: bytes, status: str = "200 OK", **headers: str) -> None:
        self.head(status, Content_Length=str(len(body)), Connection="close", **headers)
        self.send(body)

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def wait(self) -> None:
        """Until the client leaves, or the test is over."""
        self._connection.settimeout(None)
        with suppress(OSError):
            while self._connection.recv(65536):
                pass

    def reset(self) -> None:
        """End with a TCP reset instead of a good-bye."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


Actor = Callable[[Wire, Request], None]


def hang_after_request(wire: Wire, request: Request) -> None:
    wire.wait()


def hang_after_headers(wire: Wire, request: Request) -> None:
    wire.head(Content_Length="1000")
    wire.wait()


def hang_in_the_middle(wire: Wire, request: Request) -> None:
    wire.head(Content_Length="1000")
    wire.send(bytes(500))
    wire.wait()


def hang_up(wire: Wire, request: Request) -> None:
    """No answer at all."""


def reset(wire: Wire, request: Request) -> None:
    wire.reset()


def other_bytes(wire: Wire, request: Request) -> None:
    """A good answer with content that nobody asked for."""
    wire.answer(b"other bytes", Content_Type="application/octet-stream")


def no_bytes(wire: Wire, request: Request) -> None:
    wire.answer(b"")


def other_cid(wire: Wire, request: Request) -> None:
    """As if something else had been stored, pinned or imported."""
    root = {"Cid": {"/": OTHER_CID}, "PinErrorMsg": ""}
    said = {"Key": OTHER_CID, "Size": 11, "Pins": [OTHER_CID], "Root": root}
    wire.answer(json.dumps(said).encode() + b"\n")


def refuse(wire: Wire, request: Request) -> None:
    """An error as Kubo has them."""
    said = {"Message": "something is wrong in here", "Code": 0, "Type": "error"}
    wire.answer(json.dumps(said).encode() + b"\n", "500 Internal Server Error")


def refuse_in_html(wire: Wire, request: Request) -> None:
    """As what stands before it has them."""
    page = b"<!DOCTYPE html><html><h1>502 Bad Gateway</h1></html>"
    wire.answer(page, "500 Internal Server Error", Content_Type="text/html")


def refuse_as_busy(wire: Wire, request: Request) -> None:
    wire.answer(b"busy", "503 Service Unavailable", Retry_After="1", Content_Type="text/plain")


def not_there(wire: Wire, request: Request) -> None:
    """No such call: something else listens on that port."""
    wire.answer(b"404 page not found", "404 Not Found", Content_Type="text/plain")


def endless(wire: Wire, request: Request) -> None:
    wire.head(Transfer_Encoding="chunked")
    for data in islice(repeat(bytes(65536)), ENDLESS_BYTES_MAX // 65536):
        wire.chunk(data)


def endless_lines(wire: Wire, request: Request) -> None:
    """Good answers without an end, where one is due."""
    line = json.dumps({"Key": OTHER_CID, "Cid": OTHER_CID, "Size": 0}).encode() + b"\n"
    lines = line * 512
    wire.head(Transfer_Encoding="chunked")
    for data in islice(repeat(lines), ENDLESS_BYTES_MAX // len(lines)):
        wire.chunk(data)


def endless_headers(wire: Wire, request: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\n")
    for data in islice(repeat(b"X-More: " + b"x" * 1000 + b"\r\n"), ENDLESS_BYTES_MAX // 1010):
        wire.send(data)


def garbage(wire: Wire, request: Request) -> None:
    """Not JSON."""
    wire.answer(b'{"Key": bafy, "Size": }\xff\x00')


def other_json(wire: Wire, request: Request) -> None:
    """JSON, and nothing in it is what it should be."""
    wire.answer(b'[{"Key": 7, "Keys": "all", "Size": null, "Pins": {}}]')


def no_http(wire: Wire, request: Request) -> None:
    wire.send(b"SSH-2.0-OpenSSH_9.2\r\n")


def cut(wire: Wire, request: Request) -> None:
    """Half of what was announced, then the end."""
    wire.head(Content_Length="1000")
    wire.send(bytes(500))


def cut_chunks(wire: Wire, request: Request) -> None:
    """Chunks without the last one."""
    wire.head(Transfer_Encoding="chunked")
    wire.chunk(bytes(500))


def fail_in_the_trailer(wire: Wire, request: Request) -> None:
    """As Kubo says that a stream went wrong behind its 200."""
    wire.head(Transfer_Encoding="chunked", Trailer="X-Stream-Error")
    wire.chunk(bytes(500))
    wire.send(b"0\r\nX-Stream-Error: block was not found locally\r\n\r\n")


def long_length(wire: Wire, request: Request) -> None:
    """A tebibyte is announced."""
    wire.head(Content_Length=str(1 << 40))
    wire.send(bytes(500))
    wire.wait()


def bomb(wire: Wire, request: Request) -> None:
    """A compressed answer that nobody asked for: 256 MiB of zeros."""
    made = zlib.compressobj(1, zlib.DEFLATED, 31)
    wire.head(Transfer_Encoding="chunked", Content_Encoding="gzip")
    for zeros in islice(repeat(bytes(1 << 20)), 256):
        if data := made.compress(zeros):
            wire.chunk(data)
    wire.chunk(made.flush())
    wire.send(b"0\r\n\r\n")


def redirect(wire: Wire, request: Request) -> None:
    """To the same server again; whoever follows is counted in `requests` as `elsewhere`."""
    wire.answer(b"", "307 Temporary Redirect", Location="/api/v0/elsewhere")


def drip(wire: Wire, request: Request) -> None:
    """A byte now and then, for ever: no single wait is long."""
    wire.head(Content_Length="1000000")
    never = threading.Event()
    for data in cycle([b" "]):
        never.wait(DRIP_S)
        wire.send(data)


@dataclass
class BadKubo:
    """A running one: where it listens and what came in."""

    url: str
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0

    @property
    def calls(self) -> list[str]:
        return [request.call for request in self.requests]


ACTORS: dict[str, Actor] = {
    actor.__name__: actor
    for actor in (
        *(hang_after_request, hang_after_headers, hang_in_the_middle, hang_up, reset),
        *(other_bytes, no_bytes, other_cid, refuse, refuse_in_html, refuse_as_busy, not_there),
        *(endless, endless_lines, endless_headers, garbage, other_json, no_http, cut, cut_chunks),
        *(fail_in_the_trailer, long_length, bomb, redirect, drip),
    )
}
"""All of them by name. `deaf`, which answers no connection at all, is a server of its own."""


@contextmanager
def bad_kubo(
    actor: Actor,
    *,
    upstream: str | None = None,
    on: tuple[str, ...] | None = None,
    after: int = 0,
    times: int | None = None,
) -> Iterator[BadKubo]:
    """A server whose calls meet `actor`: all, or those named in `on`, behind the first `after` of
    them, and not more than `times`. The others go to the real Kubo at `upstream`.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    bad = BadKubo(f"http://127.0.0.1:{listener.getsockname()[1]}")
    turns = _Turns(actor, upstream, on, after, times)
    open_ones: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def take() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                thread = threading.Thread(target=_serve, args=(connection, bad, turns))
                threads.append(thread)
                thread.start()

    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield bad
    finally:
        for one in (listener, *open_ones):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        taker.join()
        listener.close()
        for thread in threads:
            thread.join()


@contextmanager
def deaf() -> Iterator[str]:
    """The URL of a port whose connections are never accepted; the system completes the first."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def nobody() -> Iterator[str]:
    """The URL of a port where nothing listens: connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class _Turns:
    """Whose turn a call is: the actor's, or the real Kubo's."""

    def __init__(
        self,
        actor: Actor,
        upstream: str | None,
        on: tuple[str, ...] | None,
        after: int,
        times: int | None,
    ) -> None:
        self._actor, self._upstream, self._on = actor, upstream, on
        self._left_alone, self._times = after, times
        self._lock = threading.Lock()

    def next(self, request: Request) -> Actor:
        with self._lock:
            if self._on is not None and request.call not in self._on:
                return self._honest
            if self._left_alone:
                self._left_alone -= 1
                return self._honest
            if self._times is not None:
                if self._times == 0:
                    return self._honest
                self._times -= 1
            return self._actor

    def _honest(self, wire: Wire, request: Request) -> None:
        assert self._upstream is not None, f"{request.call} is nobody's: no upstream is given"
        names = {"content-type", "content-disposition"}
        asked = urllib.request.Request(
            f"{self._upstream}{request.target}",
            data=request.body,
            headers={name: value for name, value in request.headers.items() if name in names},
            method="POST",
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as given:
                wire.answer(given.read(), Content_Type=given.headers["Content-Type"])
        except urllib.error.HTTPError as error:
            wire.answer(error.read(), f"{error.code} {error.reason}")


def _serve(connection: socket.socket, bad: BadKubo, turns: _Turns) -> None:
    """One request a connection; what the client does to it meanwhile is its own affair."""
    with connection, suppress(OSError, ValueError):
        request = _read(connection)
        bad.requests.append(request)
        turns.next(request)(Wire(connection, bad), request)
        # Until the client has what was sent: closing over unread bytes would be a reset.
        connection.shutdown(socket.SHUT_WR)


def _read(connection: socket.socket) -> Request:
    """A request with its body; ValueError or OSError for what is none, or is left alone."""
    with connection.makefile("rb") as stream:
        method, target, _ = stream.readline(65536).decode().split(" ")
        if method != "POST":
            raise ValueError(method)
        headers = {}
        while line := stream.readline(65536).rstrip(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(_chunks(stream.readline, stream.read))
        else:
            body = stream.read(min(int(headers.get("content-length", "0")), REQUEST_BYTES_MAX))
    call = target.partition("?")[0].removeprefix("/api/v0/")
    return Request(call, target, headers, body)


def _chunks(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Iterator[bytes]:
    while size := int(readline().strip(), 16):
        yield read(size)
        readline()
    readline()
