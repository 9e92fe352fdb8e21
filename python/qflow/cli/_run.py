"""Running a flow: on the node of this home, or on one in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from qflow.cli._exit import FAILED, INTERRUPTED, OK, UNAVAILABLE, USAGE, Refusal, printable
from qflow.cli._input import read_flow, read_value
from qflow.cli._output import duration, plural
from qflow.cli._progress import Progress, watch
from qflow.cli._records import fact_of, title_of
from qflow.cli._serve import node_here, until_stopped
from qflow.errors import UnavailableError

if TYPE_CHECKING:
    from qflow.api import Client
    from qflow.cli._session import Session
    from qflow.engine import Flow

SERVE_HINT = "start one with: qflow serve"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    file: Path
    input: str | None
    watch: bool
    detach: bool
    functions: list[Path]


def run(session: Session, wish: Wish) -> int | None:
    """Run a flow to its end, or start it. The exit code says how it ended."""
    if wish.watch and wish.detach:
        raise Refusal("--watch and --detach exclude each other", USAGE)
    if str(wish.file) == "-" and wish.input == "-":
        raise Refusal("FILE and --input cannot both be stdin", USAGE)
    flow = read_flow(wish.file)
    value = read_value(wish.input, "--input")
    return session.run(_run, session, wish, flow, value)


async def _run(session: Session, wish: Wish, flow: Flow, value: Any) -> int:
    from qflow.api import Client

    try:
        client = await Client(session.home).__aenter__()
    except UnavailableError as error:
        if wish.detach:
            raise Refusal(f"--detach: {error}", UNAVAILABLE, SERVE_HINT) from error
        return await _here(session, wish, flow, value)
    if wish.functions:
        raise Refusal(
            "--functions: the node that runs here has its own",
            USAGE,
            "stop it, or start it with: qflow serve --functions FILE",
        )
    return await _there(session, wish, client, flow, value)


async def _there(session: Session, wish: Wish, client: Client, flow: Flow, value: Any) -> int:
    """On the node that runs in this home."""
    if wish.detach:
        _print_id(session, await client.start(flow, value), flow)
        return OK
    progress = Progress()

    async def main() -> None:
        _begin(session, progress, await client.start(flow, value), flow)
        await _watch(session, wish, progress, client.follow(progress.execution, payloads=True))

    if await until_stopped(main):
        return _end(session, progress, flow)
    session.out.note("interrupted", "yellow")
    if execution := progress.execution:
        session.out.note(f"the node goes on with it: qflow logs -f {execution}")
        session.out.note(f"to end it: qflow abort {execution}")
    return INTERRUPTED


def _print_id(session: Session, execution: str, flow: Flow) -> None:
    if session.out.json:
        session.out.document({"execution": execution, "flow": flow.key, "status": "running"})
    else:
        session.out.line(execution)


async def _here(session: Session, wish: Wish, flow: Flow, value: Any) -> int:
    """On a node in this process, which other commands reach as long as it runs."""
    from qflow.api import actor_of, follow

    progress = Progress()
    async with node_here(session, wish.functions) as (node, control):

        async def main() -> None:
            execution = await node.start(flow, value, actor=actor_of(os.getuid()))
            _begin(session, progress, execution, flow)
            await _watch(session, wish, progress, follow(node, execution, payloads=True))

        done = await until_stopped(main, control.stop_requested)
    if done:
        return _end(session, progress, flow)
    session.out.note("interrupted", "yellow")
    if execution := progress.execution:
        session.out.note(f"execution {execution} goes on when a node starts: qflow serve")
    return INTERRUPTED


def _begin(session: Session, progress: Progress, execution: str, flow: Flow) -> None:
    progress.execution = execution
    if not session.out.json:
        session.out.note(f"execution {execution}  {flow.key}")


async def _watch(
    session: Session,
    wish: Wish,
    progress: Progress,
    records: AsyncGenerator[dict[str, Any], None],
) -> None:
    async with aclosing(records):
        await watch(session.out, progress, records, each=wish.watch)


def _end(session: Session, progress: Progress, flow: Flow) -> int:
    """Print how it ended: the output on stdout, the rest on stderr."""
    final = progress.final or {}
    status = fact_of(final)
    output, problem = None, None
    if status == "completed":
        output = final.get("value")
    elif status == "faulted":
        problem = final.get("value")
    else:
        problem = {"title": "Aborted", "detail": (final.get("meta") or {}).get("reason")}
    if session.out.json:
        session.out.document(
            {
                "execution": progress.execution,
                "flow": flow.key,
                "status": status,
                "output": output,
                "problem": problem,
            }
        )
        return OK if status == "completed" else FAILED
    took = duration(int(final["at"]) - progress.started_ms)
    session.out.note(f"{status}  {plural(progress.done, 'step')}  {took}")
    if status == "completed":
        session.out.value(output)
        return OK
    session.out.note(f"error: execution {progress.execution} {status}: {title_of(problem or {})}")
    if problem and problem.get("instance"):
        session.out.note(f"at: {printable(str(problem['instance']))}")
    session.out.note(f"hint: qflow logs {progress.execution} --payloads")
    return FAILED
