"""The stored states of executions: listing, verifying, deleting."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from qflow.cli._checkpoint import SHORT, ask
from qflow.cli._exit import FAILED, NOT_FOUND, OK, Refusal
from qflow.cli._output import day, moment, plural, size
from qflow.cli._retain import check_texts, confirmed
from qflow.cli._state_files import finish
from qflow.clock import SystemClock

if TYPE_CHECKING:
    from qflow.api._state_client import StateClient
    from qflow.api._states import Checkpoint, StoredState, Verified
    from qflow.cli._session import Session
    from qflow.cli._state_offline import FileStates


def list_(session: Session, *, flow: str | None, limit: int) -> int | None:
    """Print the executions that have a stored state."""
    check_texts(flow=flow)
    found = _stored(session, flow=flow, limit=limit)
    if session.out.json:
        session.out.document(found)
    elif not found:
        session.out.note("no stored states")
    else:
        now = SystemClock().now_ms()
        headers = ("EXECUTION", "STATUS", "VERSIONS", "SIZE", "NEWEST", "OWED", "FLOW")
        session.out.table(headers, [_row(item, now) for item in found])
    return None


def _stored(session: Session, **asked: object) -> list[StoredState]:
    async def read(states: StateClient | FileStates) -> list[StoredState]:
        found = states.stored(**asked)
        async with aclosing(found):
            return [item async for item in found]

    return ask(session, read)


def _row(item: StoredState, now_ms: int) -> tuple[str, ...]:
    newest = item.newest
    return (
        newest.execution,
        newest.status or newest.payloads or "-",
        str(item.versions),
        size(item.bytes),
        day(newest.at, now_ms),
        str(item.pins_owed) if item.pins_owed else "-",
        newest.flow or "-",
    )


def show(session: Session, execution: str) -> int | None:
    """Print what is stored of one execution."""
    check_texts(execution=execution)
    found = _stored(session, execution=execution, limit=2)
    if len(found) != 1:
        raise _unknown(execution, several=bool(found))
    item, newest = found[0], found[0].newest
    if session.out.json:
        session.out.document(item)
        return None
    fields = [
        ("execution", newest.execution),
        ("flow", newest.flow or ""),
        ("status", newest.status or ""),
        ("payloads", newest.payloads or ""),
        ("versions", f"{item.versions}, the newest is number {newest.number}"),
        ("newest", newest.cid),
        ("made", moment(newest.at)),
        ("record", f"{newest.seq}, {newest.head}"),
        ("signed by", newest.node),
        ("blocks", f"{item.blocks:,}, {size(item.bytes)}"),
        ("in the log", "yes" if item.in_log else "no: qflow checkpoint restore brings it in"),
        ("pins owed", str(item.pins_owed) if item.pins_owed else ""),
    ]
    session.out.fields([(name, text) for name, text in fields if text])
    return None


def _unknown(execution: str, *, several: bool = False) -> Refusal:
    what = f"no checkpoint or execution is known by {execution!r:.80}"
    if several:
        what = f"several executions with a checkpoint begin with {execution!r:.80}"
    return Refusal(what, NOT_FOUND, "qflow state list shows what there is")


def history(session: Session, execution: str) -> int | None:
    """Print every version of one execution, the newest first."""
    check_texts(execution=execution)

    async def read(states: StateClient | FileStates) -> list[Checkpoint]:
        found = states.list(execution=execution)
        async with aclosing(found):
            return [item async for item in found]

    found = ask(session, read)
    if not found:
        raise _unknown(execution)
    if session.out.json:
        session.out.document(found)
        return None
    headers = ("NUMBER", "CHECKPOINT", "AFTER", "EPOCH", "RECORD", "HEAD", "MADE", "SIGNED BY")
    session.out.table(headers, [_version_row(item) for item in found])
    return None


def _version_row(item: Checkpoint) -> tuple[str, ...]:
    return (
        str(item.number),
        item.cid[:SHORT],
        "-" if item.previous is None else item.previous[:SHORT],
        str(item.epoch),
        str(item.seq),
        item.head[:12],
        moment(item.at),
        item.node,
    )


def verify(session: Session, executions: list[str]) -> int | None:
    """Verify stored states; 1 when something is not what was written."""
    found: Verified = finish(session, "verifying", lambda states: states.verify(executions))
    out = session.out
    if out.json:
        out.document(found)
        return OK if found.ok else FAILED
    out.line("VERIFIED" if found.ok else "INVALID", "bold green" if found.ok else "bold red")
    out.fields(
        [
            ("executions", f"{found.executions:,}"),
            ("versions", f"{found.versions:,} signed"),
            ("blocks", f"{found.blocks:,}, {size(found.bytes)}"),
            ("records", f"{found.records:,}"),
        ]
    )
    for fault in found.findings:
        named = "" if fault.execution is None else f"{fault.execution}: "
        out.line(f"{named}{fault.where}: {fault.what}", "red")
    if found.more:
        out.line(f"and {found.more:,} more", "red")
    return OK if found.ok else FAILED


def delete(session: Session, execution: str, *, yes: bool) -> int | None:
    """Delete every checkpoint of an execution."""
    check_texts(execution=execution)
    if not yes and not confirmed(session, f"delete every checkpoint of {execution}?"):
        return OK
    done = ask(session, lambda states: states.delete(execution), changing=True)
    if session.out.json:
        session.out.document({**_plain(done), "durable": True})
        return None
    freed = f"{plural(done.versions, 'checkpoint')}, {plural(done.blocks, 'block')}"
    session.out.line(f"{done.execution}  deleted {freed}, {size(done.bytes)}")
    if done.pins_owed:
        owed = plural(done.pins_owed, "pin")
        session.out.note(f"{owed} to be released: a running node does it, or qflow state sync")
    return None


def _plain(value: object) -> dict[str, object]:
    from qflow.api import to_plain

    plain: dict[str, object] = to_plain(value)
    return plain


def garbage(session: Session, *, collect: bool) -> int | None:
    """Report blocks that nothing names, or delete them."""
    found = ask(session, lambda states: states.garbage(collect=collect), changing=collect)
    if session.out.json:
        session.out.document(found)
        return None
    what = f"{plural(found.blocks, 'block')}, {size(found.bytes)}"
    if found.collected:
        session.out.line(f"collected {what}")
    elif found.blocks:
        session.out.line(f"{what} that no checkpoint names")
        session.out.note("qflow state garbage --collect deletes them")
    else:
        session.out.line("no garbage")
    return None
