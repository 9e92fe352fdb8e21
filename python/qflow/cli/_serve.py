"""A node in this process, with its control socket, until it is told to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from qflow.cli._input import read_functions
from qflow.cli._output import duration, plural

if TYPE_CHECKING:
    from qflow.api import Control
    from qflow.cli._session import Session
    from qflow.node import Node


@asynccontextmanager
async def node_here(session: Session, functions: list[Path]) -> AsyncIterator[tuple[Node, Control]]:
    """A node that runs in this process and answers other commands. Left: all is durable."""
    from qflow import diagnostics
    from qflow.api import serve as serve_control
    from qflow.api import socket_path
    from qflow.node import Node

    config = session.config
    # Flows' functions may write lines too, and those need the redaction as much.
    diagnostics.load()
    known = read_functions(functions)
    async with (
        Node(config, functions=known) as node,
        serve_control(node, socket_path(session.home)) as control,
    ):
        yield node, control


async def until_stopped(main: Callable[[], Awaitable[Any]], *others: anyio.Event) -> bool:
    """Run `main` to its end, or until SIGINT, SIGTERM or one of the events. True: to its end.

    From then on the signals do what they did before: a second one ends the process at once.
    """
    finished = False
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop_at_signal() -> None:
                await anext(signals)
                tasks.cancel_scope.cancel()

            async def stop_at(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop_at_signal)
            for event in others:
                tasks.start_soon(stop_at, event)
            await main()
            finished = True
            tasks.cancel_scope.cancel()
    return finished


def serve(session: Session, functions: list[Path]) -> int | None:
    """Run a node in the foreground."""

    async def main() -> None:
        async with node_here(session, functions) as (node, control):

            async def serve_on() -> None:
                _announce(session, node.status())
                await anyio.sleep_forever()

            await until_stopped(serve_on, control.stop_requested)
            session.out.note("stopping")

    session.run(main)
    session.out.note("stopped; unfinished executions go on when a node starts again")
    return None


def _announce(session: Session, status: dict[str, Any]) -> None:
    """The one line that says the node is ready; scripts wait for it."""
    if session.out.json:
        session.out.document(
            {"ready": True, "home": str(session.home), "pid": os.getpid(), **status}
        )
        return
    executions = status.get("executions") or {}
    open_ones = sum(executions.get(name, 0) for name in ("running", "waiting", "paused"))
    words = [
        "ready",
        str(session.home),
        plural(open_ones, "unfinished execution"),
        plural(int(status.get("size", 0)), "record"),
    ]
    if (ready_ms := status.get("ready_ms")) is not None:
        words.append(f"after {duration(int(ready_ms))}")
    session.out.line("  ".join(words), "green")
