"""One of the systems that are measured, in a process of its own, which waits until it is asked.

    python -m benches.worker qflow|dbos|dbos-threads FOLDER [DATABASE_URL]

Each line on stdin, `{"callers": 16, "seconds": 2}`, is a round; its answer is a line on stdout:
`{"flows": ..., "seconds": ..., "ms": [...]}`, with the time of each flow. All run the same load: a
flow of three steps that do nothing, durable, called and awaited. DBOS is measured in both ways that
it offers: `async` functions on asyncio, and plain ones, called from one thread a caller.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

WARM_FLOWS_S = 1.0
WARM_S = 0.3
"""At the beginning of each round: caches of the machine, and what was due while it was stopped."""
FLOW = """\
document: {dsl: '1.0.3', namespace: bench, name: three, version: '1.0.0'}
do:
- one: {call: nothing}
- two: {call: nothing}
- three: {call: nothing}
"""
Run = Callable[[], Awaitable[Any]]
Drive = Callable[[int, float], Awaitable[dict[str, Any]]]


async def drive(run: Run, callers: int, seconds: float) -> dict[str, Any]:
    """Callers that start the next flow when theirs is over, until the time is up."""
    took: list[float] = []
    begun = time.perf_counter()

    async def caller() -> None:
        while (now := time.perf_counter()) - begun < seconds:
            await run()
            took.append((time.perf_counter() - now) * 1000)

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller)
    return {"flows": len(took), "seconds": time.perf_counter() - begun, "ms": took}


def drive_threads(run: Callable[[], Any], callers: int, seconds: float) -> dict[str, Any]:
    """The same from one thread a caller."""
    took: list[float] = []
    begun = time.perf_counter()

    def caller() -> None:
        while (now := time.perf_counter()) - begun < seconds:
            run()
            took.append((time.perf_counter() - now) * 1000)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"flows": len(took), "seconds": time.perf_counter() - begun, "ms": took}


async def answer(drive: Drive) -> None:
    await drive(1, WARM_FLOWS_S)
    print("ready", flush=True)
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        asked = json.loads(line)
        await drive(asked["callers"], WARM_S)
        print(json.dumps(await drive(asked["callers"], asked["seconds"])), flush=True)


async def qflow(folder: str) -> None:
    from qflow.config import Config
    from qflow.engine import load_flow
    from qflow.node import Node
    from qflow.steps import Functions

    async def nothing() -> None:
        return None

    functions = Functions()
    functions.register("nothing", nothing)
    async with Node(Config(home=Path(folder) / "home"), functions=functions) as node:
        flow = load_flow(FLOW)
        await answer(lambda callers, seconds: drive(lambda: node.run(flow), callers, seconds))


def launch(folder: str, url: str | None) -> Any:
    """DBOS as it comes: without a URL its database is a SQLite file in the working directory."""
    from dbos import DBOS

    os.chdir(folder)
    config = {"name": "bench", "log_level": "ERROR"}
    DBOS(config=config if url is None else {**config, "system_database_url": url})
    return DBOS


async def dbos(folder: str, url: str | None = None) -> None:
    system = launch(folder, url)

    @system.step()  # type: ignore[untyped-decorator]
    async def nothing() -> None:
        return None

    @system.workflow()  # type: ignore[untyped-decorator]
    async def three() -> None:
        await nothing()
        await nothing()
        await nothing()

    system.launch()
    try:
        await answer(lambda callers, seconds: drive(three, callers, seconds))
    finally:
        system.destroy()


async def dbos_threads(folder: str, url: str | None = None) -> None:
    system = launch(folder, url)

    @system.step()  # type: ignore[untyped-decorator]
    def nothing() -> None:
        return None

    @system.workflow()  # type: ignore[untyped-decorator]
    def three() -> None:
        nothing()
        nothing()
        nothing()

    system.launch()
    try:
        await answer(
            lambda callers, seconds: anyio.to_thread.run_sync(
                drive_threads, three, callers, seconds
            )
        )
    finally:
        system.destroy()


SYSTEMS: dict[str, Callable[..., Awaitable[None]]] = {
    "qflow": qflow,
    "dbos": dbos,
    "dbos-threads": dbos_threads,
}

if __name__ == "__main__":
    anyio.run(SYSTEMS[sys.argv[1]], *sys.argv[2:])
