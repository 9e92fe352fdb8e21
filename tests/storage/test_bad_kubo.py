"""The server that misbehaves does what its actors say, and ends with its test."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from tests.kubo.daemon import Daemon
from tests.storage import bad_kubo as bad

TIMEOUT_S = 0.3


def call(url: str, name: str, body: bytes = b"") -> tuple[int, bytes]:
    """The first bytes of an answer; then the client leaves."""
    asked = urllib.request.Request(f"{url}/api/v0/{name}", data=body, method="POST")
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        return answer.status, answer.read1(1 << 20)


@pytest.mark.parametrize("name", sorted(bad.ACTORS))
def test_every_actor_ends_when_its_client_leaves(name: str) -> None:
    with bad.bad_kubo(bad.ACTORS[name]) as server:
        with suppress(OSError, http.client.HTTPException, urllib.error.HTTPError):
            call(server.url, "id", b"body")
        assert server.requests[0].call == "id"
        assert server.requests[0].body == b"body"


@pytest.mark.parametrize("name", ["hang_after_headers", "hang_in_the_middle", "drip"])
def test_what_hangs_is_ended_by_the_end_of_the_test(name: str) -> None:
    with bad.bad_kubo(bad.ACTORS[name]) as server:
        client = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        client.sendall(b"POST /api/v0/id HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(8) == b"HTTP/1.1"
    while client.recv(65536):
        pass
    client.close()


def test_calls_that_are_not_named_go_to_the_real_kubo(kubo: Daemon) -> None:
    with bad.bad_kubo(bad.refuse, upstream=kubo.url, on=("id",), after=1, times=1) as server:
        assert json.loads(call(server.url, "version")[1])["Version"] == "0.43.0"
        assert call(server.url, "id")[0] == 200
        with pytest.raises(urllib.error.HTTPError):
            call(server.url, "id")
        assert call(server.url, "id")[0] == 200
        with pytest.raises(urllib.error.HTTPError):
            call(server.url, "no/such/call")
        assert server.calls == ["version", "id", "id", "id", "no/such/call"]


def test_a_deaf_server_and_no_server() -> None:
    with bad.deaf() as url, pytest.raises(TimeoutError):
        call(url, "id")
    with bad.nobody() as url, pytest.raises(urllib.error.URLError):
        call(url, "id")
