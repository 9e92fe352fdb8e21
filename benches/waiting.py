"""A node with many executions that only wait, in a process of its own.

    python -m benches.waiting fill HOME listen|wait COUNT
    python -m benches.waiting open HOME

Prints one line of JSON. `fill` starts them and says what each added to the memory of the process;
`open` starts the node anew with them and says how long that took and what it holds then.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from qflow.config import Config
from qflow.engine import load_flow
from qflow.node import Node

CALLERS = 64
WARM = 200
HEAD = "document: {dsl: '1.0.3', namespace: bench, name: idle, version: '1.0.0'}\ndo:\n"
FLOWS = {
    "listen": HEAD + "- hear: {listen: {to: {one: {with: {type: com.example.go}}}}}\n",
    "wait": HEAD + "- nap: {wait: {days: 30}}\n",
}


def memory_bytes() -> int:
    """Resident memory of this process, without what the collector can free."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def start_many(node: Node, kind: str, count: int) -> None:
    flow = load_flow(FLOWS[kind])
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            await node.start(flow, {"order": number, "customer": "somebody"})

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(caller)


def waiting(node: Node) -> int:
    found: int = node.status()["executions"].get("waiting", 0)
    return found


async def fill(home: str, kind: str, count: str) -> dict[str, Any]:
    async with Node(Config(home=Path(home))) as node:
        await start_many(node, kind, WARM)
        before, begun = memory_bytes(), time.perf_counter()
        await start_many(node, kind, int(count))
        took = time.perf_counter() - begun
        found = {"each_bytes": (memory_bytes() - before) / int(count), "seconds": took}
        assert waiting(node) == int(count) + WARM
    return found


async def reopen(home: str) -> dict[str, Any]:
    begun = time.perf_counter()
    async with Node(Config(home=Path(home))) as node:
        ready = time.perf_counter() - begun
        print("ready", flush=True)
        return {"ready_s": ready, "bytes": memory_bytes(), "waiting": waiting(node)}


DOES: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"fill": fill, "open": reopen}

if __name__ == "__main__":
    print(json.dumps(anyio.run(DOES[sys.argv[1]], *sys.argv[2:])))
