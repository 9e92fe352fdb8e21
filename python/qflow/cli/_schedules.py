"""Flows that start by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from qflow.cli._input import read_flow
from qflow.cli._output import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qflow.cli._session import Session
    from qflow.model import Schedule


def add(session: Session, file: Path) -> int | None:
    """Schedule a flow by its own `schedule`."""
    flow = read_flow(file)

    async def change() -> str:
        async with session.running() as client:
            return await client.schedule(flow)

    key = session.run(change)
    if session.out.json:
        session.out.document({"key": key, "flow": flow.key})
    else:
        session.out.line(key)
    return None


def list_(session: Session) -> int | None:
    """Print what is scheduled."""

    async def read() -> Sequence[Schedule]:
        async with session.either() as node:
            return await node.schedules()

    schedules = session.run(read)
    if session.out.json:
        session.out.document(schedules)
    elif not schedules:
        session.out.note("no schedules")
    else:
        session.out.table(("KEY", "NEXT", "LAST", "RULE"), [_row(item) for item in schedules])
    return None


def _row(item: Schedule) -> tuple[str, ...]:
    rule = json.dumps(dict(item.rule), ensure_ascii=False)
    return (item.key, moment(item.next_at), moment(item.fired_at), rule)


def remove(session: Session, key: str) -> int | None:
    """Forget a schedule."""

    async def change() -> None:
        async with session.running() as client:
            await client.unschedule(key)

    session.run(change)
    if session.out.json:
        session.out.document({"key": key, "removed": True})
    else:
        session.out.line(f"{key}  removed")
    return None
