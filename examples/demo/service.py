"""The service that the demo calls: it charges orders, fails 5 % of the calls, and is slow at times.

It is careful in one way: a call with an idempotency key that it knows gets the same answer again.
Each call is written to a file, so that the demo can say what was called, and when.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAILS_PERCENT = 5
SLOW_PERCENT = 3


class Service(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, calls_path: str) -> None:
        super().__init__(("127.0.0.1", 0), Charges)
        self.lock = threading.Lock()
        self.calls = 0
        self.answers: dict[str, dict[str, Any]] = {}
        self.calls_path = Path(calls_path)

    def note(self, order: str, key: str, status: int) -> None:
        with self.lock:
            line = {"at": time.time_ns() // 1_000_000, "order": order, "key": key, "status": status}
            with self.calls_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


class Charges(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        data = self.rfile.read(length)
        if len(data) < length:
            # The caller was killed in the middle of its request.
            self.close_connection = True
            return
        body = json.loads(data)
        key = self.headers["Idempotency-Key"]
        with self.server.lock:
            self.server.calls += 1
            luck = hashlib.sha256(f"{key} {self.server.calls}".encode()).digest()
        time.sleep(0.4 if luck[1] * 100 < SLOW_PERCENT * 256 else 0.01)
        if luck[0] * 100 < FAILS_PERCENT * 256:
            self.server.note(body["order"], key, 503)
            self.answer(503, {"title": "try again"})
            return
        with self.server.lock:
            charge = self.server.answers.setdefault(
                key, {**body, "charge": hashlib.sha256(key.encode()).hexdigest()[:12]}
            )
        self.server.note(body["order"], key, 200)
        self.answer(200, charge)

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        """A caller that was killed has closed its end: that is no news."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Calls are noted in the file, not on the terminal."""


if __name__ == "__main__":
    with Service(sys.argv[1]) as service:
        print(f"http://127.0.0.1:{service.server_address[1]}", flush=True)
        service.serve_forever()
