"""A real HTTP server on loopback that misbehaves on demand, and a runner that calls it."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qflow.clock import SystemClock
from qflow.model import Attempt, idempotency_key
from qflow.steps import Functions, Limits, Runner
from qflow.trust import Secrets

Make = Callable[..., Runner]


class Stub(ThreadingHTTPServer):
    """What it was asked is in `requests`; `answers` maps a path to what is answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: Any = b"", status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if not isinstance(body, bytes):
            named.setdefault("content-type", "application/json")
            body = json.dumps(body).encode()
        self.answers[path] = (status, named, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body,
        }
        self.server.requests.append(seen)
        path = self.path.partition("?")[0]
        getattr(self, f"_on_{path.strip('/')}", self._on_answer)(path, seen)

    def _on_answer(self, path: str, seen: dict[str, Any]) -> None:
        status, headers, body = self.server.answers.get(path, (404, {}, b"no such path"))
        self._send(status, headers, body)

    def _on_echo(self, path: str, seen: dict[str, Any]) -> None:
        shown = {**seen, "body": seen["body"].decode()}
        self._send(200, {"content-type": "application/json"}, json.dumps(shown).encode())

    def _on_fail_echo(self, path: str, seen: dict[str, Any]) -> None:
        shown = {**seen, "body": seen["body"].decode()}
        self._send(500, {"content-type": "text/plain"}, json.dumps(shown).encode())

    def _on_stall(self, path: str, seen: dict[str, Any]) -> None:
        self.server.released.wait(30)
        self.close_connection = True

    def _on_half(self, path: str, seen: dict[str, Any]) -> None:
        self.send_response_only(200)
        self.send_header("content-length", "100")
        self.end_headers()
        self.wfile.write(b"only so much")
        self.close_connection = True

    def _on_close(self, path: str, seen: dict[str, Any]) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _on_huge(self, path: str, seen: dict[str, Any]) -> None:
        self.send_response_only(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while not self.server.released.is_set():
                self.wfile.write(b"x" * (1 << 16))

    def _on_bomb(self, path: str, seen: dict[str, Any]) -> None:
        packed = gzip.compress(b"\0" * (64 << 20), 9)
        self._send(200, {"content-encoding": "gzip"}, packed)

    def _on_nested(self, path: str, seen: dict[str, Any]) -> None:
        packed = gzip.compress(gzip.compress(b"\0" * (64 << 20), 9), 9)
        self._send(200, {"content-encoding": "gzip, gzip"}, packed)

    def _on_headers(self, path: str, seen: dict[str, Any]) -> None:
        many = {f"x-{number}": "y" * 1000 for number in range(80)}
        self._send(200, many, b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in headers:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path, environment={})


@pytest.fixture
def put_secret(tmp_path: Path) -> Callable[[str, Any], None]:
    def put(name: str, value: Any) -> None:
        folder = tmp_path / "secrets"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(value if isinstance(value, str) else json.dumps(value))

    return put


@pytest.fixture
def make(secrets: Secrets) -> Make:
    """A runner; name what is not the default."""

    def build(**settings: Any) -> Runner:
        limits = settings.pop("limits", Limits(connect_timeout_s=5, call_timeout_s=20))
        functions = settings.pop("functions", None) or Functions()
        return Runner(
            functions=functions, secrets=secrets, clock=SystemClock(), limits=limits, **settings
        )

    return build


def attempt(
    task: dict[str, Any],
    value: Any = None,
    *,
    use: dict[str, Any] | None = None,
    base: Path | None = None,
    variables: dict[str, Any] | None = None,
) -> Attempt:
    """An attempt of a task, the first."""
    return Attempt(
        execution="0" * 26,
        step="/do/0/step",
        number=1,
        key=idempotency_key("0" * 26, "/do/0/step", 1),
        task=task,
        input=value,
        variables=variables or {},
        use=use or {},
        base=None if base is None else str(base),
    )


def http(uri: Any, value: Any = None, **given: Any) -> Attempt:
    """An attempt of `call: http`."""
    kept = {name: given.pop(name) for name in ("use", "variables", "base") if name in given}
    task = {"call": "http", "with": {"method": "get", "endpoint": uri, **given}}
    return attempt(task, value, **kept)
