"""The outside services that the conformance kit names, on one loopback socket.

They answer as the real ones do, as far as the kit asks: the pet store of Swagger, version 2, with
its description; and the page of httpbin that asks for a password.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PETS: list[dict[str, Any]] = [
    {
        "id": number,
        "category": {"id": 1, "name": "Dogs"},
        "name": name,
        "photoUrls": ["string"],
        "tags": [{"id": 0, "name": "string"}],
        "status": status,
    }
    for number, name, status in [
        (1, "Rantanplan", "available"),
        (2, "Idefix", "available"),
        (3, "Struppi", "sold"),
    ]
]
STATUSES = ("available", "pending", "sold")
DESCRIPTION: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"title": "Swagger Petstore", "version": "1.0.7"},
    "host": "petstore.swagger.io",
    "basePath": "/v2",
    "schemes": ["https", "http"],
    "paths": {
        "/pet/findByStatus": {
            "get": {
                "operationId": "findPetsByStatus",
                "produces": ["application/json", "application/xml"],
                "parameters": [
                    {
                        "name": "status",
                        "in": "query",
                        "required": True,
                        "type": "array",
                        "items": {"type": "string", "enum": [*STATUSES]},
                        "collectionFormat": "multi",
                    }
                ],
                "responses": {"200": {"description": "ok"}, "400": {"description": "invalid"}},
            }
        },
        "/pet/{petId}": {
            "get": {
                "operationId": "getPetById",
                "produces": ["application/json", "application/xml"],
                "parameters": [
                    {
                        "name": "petId",
                        "in": "path",
                        "required": True,
                        "type": "integer",
                        "format": "int64",
                    }
                ],
                "responses": {"200": {"description": "ok"}, "404": {"description": "not found"}},
            }
        },
    },
}
Answer = tuple[int, Any]


def petstore(path: str, query: dict[str, list[str]], _: str | None) -> Answer:
    if path == "/v2/swagger.json":
        return 200, DESCRIPTION
    if path == "/v2/pet/findByStatus":
        wanted = query.get("status", [])
        if not wanted or not set(wanted) <= set(STATUSES):
            return 400, {"code": 400, "type": "unknown", "message": "Invalid status value"}
        return 200, [pet for pet in PETS if pet["status"] in wanted]
    if found := re.fullmatch(r"/v2/pet/(\d+)", path):
        for pet in PETS:
            if pet["id"] == int(found[1]):
                return 200, pet
        return 404, {"code": 1, "type": "error", "message": "Pet not found"}
    return 404, {"code": 404, "type": "unknown", "message": "null for uri"}


def httpbin(path: str, _: dict[str, list[str]], authorization: str | None) -> Answer:
    found = re.fullmatch(r"/basic-auth/([^/]+)/([^/]+)", path)
    if found is None:
        return 404, {}
    word = base64.b64encode(f"{found[1]}:{found[2]}".encode()).decode()
    if authorization != f"Basic {word}":
        return 401, {}
    return 200, {"authenticated": True, "user": found[1]}


def misdirected(path: str, query: dict[str, list[str]], authorization: str | None) -> Answer:
    return 421, {}


HOSTS = {"petstore.swagger.io": petstore, "httpbin.org": httpbin}


class Outside(ThreadingHTTPServer):
    """`routes` is the setting that sends a node here; `seen` has the host and path of each call."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.seen: list[tuple[str, str]] = []

    @property
    def routes(self) -> dict[str, str]:
        return dict.fromkeys(HOSTS, f"http://127.0.0.1:{self.server_port}")


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Outside

    def do_GET(self) -> None:
        # The rewriting is of the connection alone: the service is asked by its own name.
        host, parts = self.headers["host"], urlsplit(self.path)
        self.server.seen.append((host, parts.path))
        answers = HOSTS.get(host, misdirected)
        query = parse_qs(parts.query)
        status, value = answers(parts.path, query, self.headers["authorization"])
        body = json.dumps(value).encode()
        self.send_response_only(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serve() -> Iterator[Outside]:
    server = Outside()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
