"""Runs the hostile flows that load on one node, one after the other, and says what each one took.

`python -m tests.compatibility.hostile_runs HOME` prints a line of JSON each. What the flows call is
answered on loopback, so that every one of them comes to its endless expression.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio

from qflow import model
from qflow.config import Config
from qflow.engine import Flow, load_flow
from qflow.errors import FlowError
from qflow.node import Node
from tests.engine import hostile

INPUT = {"id": 1, "a": "a"}
ENDS_S_MAX = 60.0
SETTLED = {f"q.qflow.exec.{kind}.v1" for kind in ("completed", "faulted", "suspended")}


class _Orders(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"items": [{"n": 1}]}).encode()
        self.send_response_only(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def orders() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Orders)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def loaded() -> Iterator[tuple[int, Flow]]:
    for number, item in enumerate(hostile.corpus()):
        try:
            flow = load_flow(item.text)
        except FlowError:
            continue
        yield number, flow


def quick() -> Flow:
    """The same flow with an expression that fails at once: brings in every library."""
    return load_flow(hostile.ORDINARY.replace("$order.n + 1", 'error("at once")'))


def peak_bytes() -> int:
    """The most memory since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> int:
    """Have the kernel count anew (proc(5), clear_refs 5); the memory in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


async def until_settled(node: Node, flow: Flow) -> model.Execution:
    """The execution once it is over, or waits: then the expression gave a value."""
    async with node.subscribe("q.qflow.exec.*") as events:
        execution = await node.start(flow, INPUT)
        async for event in events:
            if event.subject == execution and event.type in SETTLED:
                break
    return node.show(execution)


async def run(node: Node, number: int, flow: Flow) -> dict[str, Any]:
    before, cpu = forget_peak(), time.process_time()
    with anyio.fail_after(ENDS_S_MAX):
        done = await until_settled(node, flow)
    return {
        "number": number,
        "status": done.status,
        "problem": done.problem,
        "cpu_s": time.process_time() - cpu,
        "grown_bytes": peak_bytes() - before,
    }


async def main(home: str) -> None:
    with orders() as url:
        config = Config(home=Path(home), http={"routes": {"example.com": url}})
        async with Node(config) as node:
            await run(node, -1, quick())
            for number, flow in loaded():
                sys.stdout.write(json.dumps(await run(node, number, flow)) + "\n")
                sys.stdout.flush()
            after = await run(node, -1, quick())
            assert "at once" in after["problem"]["detail"]


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
