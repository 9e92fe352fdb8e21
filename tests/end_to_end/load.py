"""A node under load, to be killed: starts executions until it dies, and says what was acknowledged.

    python load.py HOME ACKNOWLEDGED CALLS BEGUN FINISH

Lines of ACKNOWLEDGED are ids whose start was durable; lines of CALLS are calls of steps, by key;
lines of BEGUN are executions that were brought back, with the record from which: 0, or that of a
checkpoint.
With FINISH "yes" it starts nothing, and ends when nothing runs any more.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import anyio

from qflow.config import Config
from qflow.engine import load_flow
from qflow.model import Attempt, id_text
from qflow.node import Node
from qflow.node._archive import Archive
from qflow.steps import Functions

CALLERS = 16
STARTS_MAX = 400
"""Of one life, so that the recovery of many lives stays short."""
CHILD = """\
document: {dsl: '1.0.3', namespace: kill, name: child, version: '1.0.0'}
do:
- c1: {call: work, with: {n: '${ .n }'}}
- c2: {call: work, with: {n: '${ .n }'}}
"""
FLOW = """\
document: {dsl: '1.0.3', namespace: kill, name: parent, version: '1.0.0'}
do:
- one: {call: work, with: {n: '${ .n }'}}
- many:
    metadata: {qflow: {concurrency: 3}}
    for: {each: n, in: '[range(6)]'}
    do: [{each: {call: work, with: {n: '${ $n }'}}}]
- split: {fork: {branches: [{a: {call: slow, with: {n: 1}}}, {b: {call: work, with: {n: 2}}}]}}
- retried:
    try: [{risky: {call: flaky, with: {n: '${ $workflow.input.n }'}}}]
    catch: {retry: {delay: {milliseconds: 5}, limit: {attempt: {count: 5}}}}
- guarded: {call: work, with: {n: 3}, metadata: {qflow: {checkpoint: true}}}
- nap: {wait: {milliseconds: 20}}
- child: {run: {workflow: {namespace: kill, name: child, version: '1.0.0', input: {n: 7}}}}
- done: {set: {n: '${ .n }'}}
"""


class Calls:
    """Notes each call with its key, in one write, as an outside service would see it."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, attempt: Attempt) -> None:
        os.write(self._fd, f"{attempt.execution} {attempt.step} {attempt.key}\n".encode())

    async def work(self, n: int, attempt: Attempt) -> dict[str, Any]:
        self.note(attempt)
        return {"n": n, "step": attempt.step}

    def slow(self, n: int, attempt: Attempt) -> dict[str, Any]:
        """In a thread, as most functions of real flows are."""
        self.note(attempt)
        return {"n": n}

    async def flaky(self, n: int, attempt: Attempt) -> dict[str, Any]:
        self.note(attempt)
        if attempt.number < 1 + n % 3:
            raise RuntimeError("not yet")
        return {"n": n}


def note_beginnings(path: str) -> None:
    """Have a line written for each execution that is replayed, and where that begins."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    inner = Archive.beginning

    def beginning(self: Archive, chain: bytes) -> Any:
        found = inner(self, chain)
        os.write(fd, f"{id_text(chain)} {0 if found is None else found.seq}\n".encode())
        return found

    Archive.beginning = beginning  # type: ignore[method-assign]


async def main(home: str, acknowledged: str, calls_path: str, begun: str, finish: bool) -> None:
    calls, functions = Calls(calls_path), Functions()
    note_beginnings(begun)
    for name in ("work", "slow", "flaky"):
        functions.register(name, getattr(calls, name))
    config = Config(home=Path(home), checkpoint={"every_facts": 10, "every_s": 0.2})
    async with Node(config, functions=functions) as node:
        node.know(load_flow(CHILD))
        print("ready", flush=True)
        if finish:
            await until_idle(node)
        else:
            await start_many(node, acknowledged)


async def start_many(node: Node, acknowledged: str) -> None:
    numbers = itertools.count()
    fd = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def caller() -> None:
        flow = load_flow(FLOW)
        while (n := next(numbers)) < STARTS_MAX:
            execution = await node.start(flow, {"n": n})
            os.write(fd, f"{execution}\n".encode())
            await node.wait(execution)

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(caller)
    # Nothing is left to do; stay alive to be killed.
    await anyio.sleep_forever()


async def until_idle(node: Node) -> None:
    for status in ("running", "waiting"):
        while found := node.list(status=status, limit=1):
            await node.wait(found[0].id)


if __name__ == "__main__":
    at, told, noted, brought, last = sys.argv[1:]
    anyio.run(main, at, told, noted, brought, last == "yes")
