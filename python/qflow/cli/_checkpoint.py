"""Checkpoints, on the running node or on the files while none runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qflow.cli._exit import NOT_FOUND, OK, USAGE, Refusal, printable
from qflow.cli._output import day, moment, plural, size
from qflow.cli._retain import check_asked, check_line, check_texts, confirmed
from qflow.cli._when import time_ms
from qflow.clock import SystemClock
from qflow.errors import BlockNotFoundError

if TYPE_CHECKING:
    from qflow.api._state_client import StateClient
    from qflow.api._states import Change, Checkpoint, Detail, Difference, Pruned, Restored
    from qflow.cli._session import Session
    from qflow.cli._state_offline import FileStates

SHORT: Final = 20
"""Characters of a CID in a table: enough to name it by."""
LABEL_CHARS: Final = 24
"""Of a label in a table; the JSON form has all of it."""
VALUE_CHARS_MAX: Final = 200
"""Of a value in a difference, as people see it."""
_STYLES: Final = {"added": "green", "removed": "red", "changed": "yellow"}
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_T = TypeVar("_T")


@asynccontextmanager
async def keeper(session: Session, *, changing: bool) -> AsyncIterator[StateClient | FileStates]:
    """Whoever keeps the states of this home: the running node, or its files."""
    from qflow.api import Client
    from qflow.cli._state_offline import states_of_files, view_of_files

    async with session.running_or(states_of_files if changing else view_of_files) as found:
        yield found.states if isinstance(found, Client) else found


def ask(
    session: Session,
    question: Callable[[StateClient | FileStates], Awaitable[_T]],
    *,
    changing: bool = False,
) -> _T:
    """Ask whoever keeps the states. What is not found is said with how to find it."""

    async def main() -> _T:
        async with keeper(session, changing=changing) as states:
            return await question(states)

    try:
        return session.run(main)
    except BlockNotFoundError as error:
        hint = "qflow checkpoint list shows what there is"
        raise Refusal(str(error), NOT_FOUND, hint) from error


def create(
    session: Session, execution: str, *, label: str | None, description: str | None
) -> int | None:
    """Make a checkpoint of one execution."""
    check_texts(execution=execution, label=label, description=description)
    check_line("label", label)
    _check_lengths(label, description)
    made = ask(
        session,
        lambda states: states.create(execution, label=label, description=description),
        changing=True,
    )
    if session.out.json:
        session.out.document({"checkpoint": made, "durable": True})
    else:
        session.out.line(f"{made.cid}  record {made.seq}, {size(made.size or 0)}")
    return None


def _check_lengths(label: str | None, description: str | None) -> None:
    from qflow.engine._keeping import DESCRIPTION_CHARS_MAX, LABEL_CHARS_MAX

    for option, text, most in (
        ("--label", label, LABEL_CHARS_MAX),
        ("--description", description, DESCRIPTION_CHARS_MAX),
    ):
        if text is not None and len(text) > most:
            raise Refusal(f"{option} has {len(text):,} characters of {most:,}", USAGE)


def list_(
    session: Session,
    asked: dict[str, str | None],
    *,
    times: tuple[str | None, str | None],
    limit: int,
) -> int | None:
    """Print checkpoints, newest first."""
    check_texts(**asked)
    since, until = time_ms(times[0], "--since"), time_ms(times[1], "--until")

    async def read(states: StateClient | FileStates) -> list[Checkpoint]:
        found = states.list(**asked, since=since, until=until, limit=limit)
        async with aclosing(found):
            return [item async for item in found]

    found = ask(session, read)
    if session.out.json:
        session.out.document(found)
    elif not found:
        session.out.note("no checkpoints")
    else:
        now = SystemClock().now_ms()
        headers = ("CHECKPOINT", "EXECUTION", "MADE", "LABEL", "RECORD", "SIZE", "STATUS", "WHY")
        session.out.table((*headers, "FLOW"), [_row(item, now) for item in found])
    return None


def _row(item: Checkpoint, now_ms: int) -> tuple[str, ...]:
    return (
        item.cid[:SHORT],
        item.execution,
        day(item.at, now_ms),
        _short(item.label or "-"),
        str(item.seq),
        "-" if item.size is None else size(item.size),
        item.status or item.payloads or "-",
        item.why or "-",
        item.flow or "-",
    )


def _short(label: str) -> str:
    return label if len(label) <= LABEL_CHARS else f"{label[: LABEL_CHARS - 1]}…"


def show(session: Session, name: str) -> int | None:
    """Print one checkpoint."""
    check_texts(checkpoint=name)
    found = ask(session, lambda states: states.show(name))
    if session.out.json:
        session.out.document(found)
    else:
        fields = [(name, printable(text, lines=False)) for name, text in _fields(found)]
        session.out.fields([(name, text) for name, text in fields if text])
    return None


def _fields(found: Detail) -> list[tuple[str, str]]:
    item = found.checkpoint
    trust = "trusted" if found.trusted else "not trusted here"
    beside = plural(found.shared_blocks, "block")
    return [
        ("checkpoint", item.cid),
        ("execution", item.execution),
        ("flow", item.flow or ""),
        ("status", item.status or ""),
        ("payloads", item.payloads or ""),
        ("label", item.label or ""),
        ("about", item.description or ""),
        ("why", item.why or ""),
        ("made", moment(item.at)),
        ("number", f"{item.number}, epoch {item.epoch}"),
        ("after", item.previous or ""),
        ("record", f"{item.seq}, {item.head}"),
        ("in the log", found.in_log),
        ("signed by", f"{item.node} ({trust})"),
        ("state", item.state),
        ("size", "" if item.size is None else f"{size(item.size)}, {item.frames} under way"),
        ("blocks", f"{found.blocks:,}, {size(found.bytes)} with flow and history"),
        ("shared", f"{beside}, {size(found.shared_bytes)} with other checkpoints"),
        *((f"{'pins' if number == 0 else ''}", _pin(pin.endpoint, pin.status, pin.error))
          for number, pin in enumerate(found.pins)),
    ]  # fmt: skip


def _pin(endpoint: str, status: str, error: str | None) -> str:
    return f"{endpoint}  {status}" + ("" if error is None else f": {error}")


def restore(
    session: Session, name: str, *, dry_run: bool, children_anew: bool, or_older: bool
) -> int | None:
    """Bring an execution into this home, with those that it waits for."""
    check_texts(checkpoint=name)
    done = ask(
        session,
        lambda states: states.restore(
            name, dry_run=dry_run, children_anew=children_anew, or_older=or_older
        ),
        changing=True,
    )
    if session.out.json:
        session.out.document(done)
    else:
        _print_restored(session, done)
    for item in (done, *done.children):
        if item.asked != item.taken:
            verb = "would be taken" if item.dry_run else "is taken"
            session.out.note(f"{item.asked} is not good: the older {item.taken} {verb}", "yellow")
    return None


def _print_restored(session: Session, done: Restored) -> None:
    out, item = session.out, done.checkpoint
    for refused in done.refused:
        out.line(f"refused   {refused.cid}  {refused.why}", "yellow")
    out.line(f"{'would take' if done.dry_run else 'taken':<8}  {item.cid}", "green")
    records = (
        f"{plural(done.records, 'record')} {'would go' if done.dry_run else 'went'} to the log"
    )
    if done.present:
        records += f", {done.present:,} were there"
    found = [
        ("execution", f"{item.execution}  {done.status}"),
        ("made", moment(item.at)),
        ("record", f"{item.seq}, {item.head}"),
        ("verified", ", ".join(done.verified)),
        ("history", records),
        ("anew", ", ".join(done.anew)),
    ]
    out.fields([(name, text) for name, text in found if text])
    for child in done.children:
        _print_restored(session, child)


def diff(session: Session, older: str, newer: str, *, paths: bool, limit: int) -> int | None:
    """Print what changed between two checkpoints."""
    check_texts(first=older, second=newer)
    found = ask(session, lambda states: states.diff(older, newer, paths=paths, limit=limit))
    if session.out.json:
        session.out.document(found)
    else:
        _print_difference(session, found, paths=paths)
    return None


def _print_difference(session: Session, found: Difference, *, paths: bool) -> None:
    out, before, after = session.out, found.older, found.newer
    out.line(f"{before.cid[:SHORT]}  record {before.seq}, {moment(before.at)}, {before.status}")
    out.line(f"{after.cid[:SHORT]}  record {after.seq}, {moment(after.at)}, {after.status}")
    for step in found.left:
        out.line(f"- under way: {step}", "red")
    for step in found.entered:
        out.line(f"+ under way: {step}", "green")
    for change in found.changes:
        out.line(_line_of(change, paths=paths), _STYLES[change.what])
    if found.more:
        out.note(f"and {plural(found.more, 'change')} more: --limit")
    elif not found.changes:
        out.note("the states are equal")


def _line_of(change: Change, *, paths: bool) -> str:
    said = f"{_SIGNS[change.what]} {change.path or '/'}"
    if paths:
        return said
    if change.cut:
        return f"{said}  (too long to show)"
    old, new = _value(change.old), _value(change.new)
    values = {"added": new, "removed": old, "changed": f"{old} -> {new}"}
    return f"{said}  {values[change.what]}"


def _value(value: Any) -> str:
    from qflow.api import to_json

    text = to_json(value).decode()
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}..."


def prune(
    session: Session,
    execution: str | None,
    *,
    keep: int | None,
    labelled: bool,
    dry_run: bool,
    yes: bool,
) -> int | None:
    """Delete all but the newest checkpoints; those with a label only when that is asked for."""
    check_texts(execution=execution)

    def one(dry: bool) -> Pruned:
        return ask(
            session,
            lambda states: states.prune(execution, keep=keep, dry_run=dry, labelled=labelled),
            changing=not dry,
        )

    if not dry_run and not yes:
        check_asked(session)
        count = plural(len(one(True).deleted), "checkpoint")
        if not confirmed(session, f"delete {count}, here and where they are pinned?"):
            return OK
    done = one(dry_run)
    if session.out.json:
        session.out.document(done)
        return None
    verb = "would go" if dry_run else "deleted"
    for item in done.deleted:
        said = (verb, item.cid, item.execution, f"record {item.seq}", moment(item.at))
        label = printable(item.label or "", lines=False)
        session.out.line("  ".join([*said, *filter(None, (label,))]))
    if not done.deleted:
        session.out.note("nothing to delete")
    else:
        freed = f"{plural(done.blocks, 'block')}, {size(done.bytes)}"
        session.out.note(f"{'would free' if dry_run else 'freed'} {freed}")
    return None
