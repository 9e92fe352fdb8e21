"""Listing, showing and steering executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qflow.cli._exit import FAILED, USAGE, Refusal
from qflow.cli._output import day, duration, moment
from qflow.cli._records import title_of, waits_of
from qflow.clock import SystemClock

if TYPE_CHECKING:
    from qflow.cli._session import Session
    from qflow.model import Execution

STATUSES: Final = ("running", "waiting", "paused", "completed", "faulted", "aborted")
PAGE_EXECUTIONS: Final = 200


def list_(
    session: Session, *, status: str | None, flow: str | None, limit: int, before: str | None
) -> int | None:
    """Print executions, newest first."""
    if status is not None and status not in STATUSES:
        raise Refusal(f"no status {status!r}", USAGE, f"one of: {', '.join(STATUSES)}")

    async def pages() -> list[Execution]:
        found: list[Execution] = []
        cursor = before
        async with session.either() as node:
            if cursor is not None:
                cursor = (await node.show(cursor)).id
            while len(found) < limit:
                count = min(PAGE_EXECUTIONS, limit - len(found))
                page = await node.list(status=status, flow=flow, limit=count, before=cursor)
                found.extend(page)
                if len(page) < count:
                    break
                cursor = page[-1].id
        return found

    executions = session.run(pages)
    if session.out.json:
        session.out.document(executions)
    elif not executions:
        session.out.note("no executions")
    else:
        session.out.table(
            ("ID", "STATUS", "FLOW", "STARTED", "TOOK"), [_row(item) for item in executions]
        )
    return None


def _row(item: Execution) -> tuple[str, ...]:
    started = day(item.started_at, SystemClock().now_ms())
    status = item.status if item.shut is None else f"{item.status}, shut"
    return (item.id, status, item.flow, started, _took(item))


def _took(item: Execution) -> str:
    over = item.status in STATUSES[3:]
    until = item.updated_at if over else max(item.updated_at, SystemClock().now_ms())
    return duration(until - item.started_at)


def show(session: Session, execution: str) -> int | None:
    """Print one execution."""

    async def read() -> Execution:
        async with session.either() as node:
            return await node.show(execution)

    item = session.run(read)
    if session.out.json:
        session.out.document(item)
        return None
    session.out.fields([(name, text) for name, text in _fields(item) if text])
    if item.payloads is not None:
        return None
    if item.status == "completed":
        session.out.line("output")
        session.out.value(item.output)
    elif item.problem:
        session.out.line("problem")
        session.out.value(dict(item.problem))
    return None


def _fields(item: Execution) -> list[tuple[str, str]]:
    waits = waits_of({"wake_at": item.wake_at, "listens": item.listens})
    return [
        ("id", item.id),
        ("flow", item.flow),
        ("status", item.status),
        ("waits", waits if item.status == "waiting" else ""),
        ("shut", item.shut or ""),
        ("started", moment(item.started_at)),
        ("updated", moment(item.updated_at)),
        ("took", _took(item)),
        ("records", str(item.seq + 1)),
        ("parent", item.parent or ""),
        ("definition", item.definition),
        ("payloads", item.payloads or ""),
        ("problem", title_of(dict(item.problem)) if item.problem else ""),
    ]


def steer(session: Session, verb: str, execution: str, reason: str | None) -> int | None:
    """Pause, resume or abort; durable before it says so."""
    from qflow.api import Client

    async def change() -> tuple[Execution, bool]:
        async with session.either() as node:
            found = await node.show(execution)
            method: Any = getattr(node, verb)
            await method(found.id, reason=reason)
            running = isinstance(node, Client)
        # Asked anew: a node that only ran this flow is gone once it is aborted.
        async with session.either() as node:
            return await node.show(found.id), running

    item, running = session.run(change)
    if session.out.json:
        session.out.document({"execution": item.id, "status": item.status, "durable": True})
        return None
    session.out.line(f"{item.id}  {item.status}", None)
    if not running and verb != "abort":
        session.out.note("recorded; no node runs: it takes effect when one starts (qflow serve)")
    return None


def exit_code_of(status: str) -> int:
    """0 when an execution ended well, 1 when not."""
    return 0 if status == "completed" else FAILED
