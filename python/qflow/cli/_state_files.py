"""Stored states on their way: into CAR files and out of them, to endpoints and back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._audit import progress_bar
from qflow.cli._checkpoint import ask
from qflow.cli._exit import FAILED, NOT_FOUND, OK, USAGE, Refusal
from qflow.cli._export import terminable
from qflow.cli._output import moment, plural, size
from qflow.cli._retain import check_texts
from qflow.cli._target import check_car, check_folder, check_target
from qflow.errors import ConfigError

if TYPE_CHECKING:
    from qflow.api._state_client import StateClient
    from qflow.api._states import Brought, Exported, Refused, StateStep, Synced
    from qflow.cli._session import Session
    from qflow.cli._state_offline import FileStates

_ENDPOINTS: Final = 'set storage.kubo, as kubo = ["http://127.0.0.1:5001"], in qflow.toml'
_Work = Callable[["StateClient | FileStates"], "AsyncGenerator[StateStep, None]"]


def finish(session: Session, what: str, work: _Work, *, changing: bool = False) -> Any:
    """The result of long work, with a bar on a terminal meanwhile. Ctrl-C and SIGTERM end it."""

    async def main(states: StateClient | FileStates) -> Any:
        result = None
        async with aclosing(work(states)) as steps:
            async for step in steps:
                if bar is not None and step.whole:
                    bar(step.done, step.whole)
                result = step.result
        return result

    with terminable(), progress_bar(session.out, what) as bar:
        return ask(session, main, changing=changing)


def export(
    session: Session, executions: list[str], *, out: Path, without_key: bool, force: bool
) -> int | None:
    """Write a CAR file; 1 when something that was asked for could not go in."""
    for name in executions:
        check_texts(execution=name)
    check_folder(out)
    check_target(session, out, force=force)
    check_car(out)
    path = out.absolute()
    done: Exported = finish(
        session,
        "exporting",
        lambda states: states.export(
            executions, str(path), with_key=not without_key, replace=force
        ),
    )
    code = FAILED if done.refused or done.missing else OK
    if session.out.json:
        session.out.document(done)
        return code
    _print_refused(session, done.refused)
    for name in done.missing:
        session.out.line(f"missing   {name}  an execution waits for it: no checkpoint", "red")
    session.out.fields(
        [
            ("file", str(out)),
            ("size", f"{size(done.bytes)}, {plural(done.blocks, 'block')}"),
            ("executions", _executions(done)),
            ("keys", _keys(done, without_key)),
        ]
    )
    if done.missing:
        session.out.note(
            "qflow checkpoint create of the one that waits makes those of its subflows"
        )
    return code


def _executions(done: Exported) -> str:
    whole = f"{len(done.checkpoints):,}"
    return whole if not done.children else f"{whole}, {done.children:,} of them subflows"


def _keys(done: Exported, without_key: bool) -> str:
    if without_key:
        return "none: the file alone cannot be restored anywhere else"
    return f"{done.keys:,}, wrapped for the subnet"


def import_(session: Session, file: Path) -> int | None:
    """Take checkpoints out of a CAR file; 1 when something was refused."""
    if not file.is_file():
        raise Refusal(f"{file} is not there", NOT_FOUND)
    path = str(file.absolute())
    done: Brought = finish(session, "importing", lambda states: states.import_(path), changing=True)
    return _print_brought(session, done)


def recover(session: Session, executions: list[str]) -> int | None:
    """Fetch checkpoints from the endpoints; 1 when something was refused or did not answer."""
    for name in executions:
        check_texts(execution=name)
    try:
        done: Brought = finish(
            session, "recovering", lambda states: states.recover(executions), changing=True
        )
    except ConfigError as error:
        raise Refusal(str(error), USAGE, _ENDPOINTS) from error
    code = _print_brought(session, done)
    if code == OK:
        _check_found(session, executions, done)
    return code


def _check_found(session: Session, executions: list[str], done: Brought) -> None:
    """Refused when there is nothing of what was named, neither there nor here."""
    told = [item.execution for item in done.taken]
    told += [item.execution or "" for item in done.diverged]

    async def is_here(states: StateClient | FileStates) -> bool:
        async with aclosing(states.stored(execution=name, limit=1)) as found:
            return any([True async for _ in found])

    for name in executions:
        if not any(one.startswith(name.lower()) for one in told) and not ask(session, is_here):
            raise Refusal(
                f"no execution with a pinned checkpoint begins with {name!r}",
                NOT_FOUND,
                "qflow state recover without a name takes all that is pinned",
            )


def _print_brought(session: Session, done: Brought) -> int:
    silent = [item for item in done.endpoints if item.error is not None]
    code = FAILED if done.refused or silent else OK
    out = session.out
    if out.json:
        out.document(done)
        return code
    _print_refused(session, done.refused)
    for refused in done.diverged:
        out.line(f"diverged  {refused.cid}  {refused.why}", "yellow")
    for item in done.taken:
        made = f"record {item.seq}, {moment(item.at)}"
        out.line(f"taken     {item.cid}  {item.execution}  {made}", "green")
    for endpoint in silent:
        out.line(f"failed    {endpoint.endpoint}  {endpoint.error}", "red")
    read = f"{plural(done.blocks, 'block')}, {size(done.bytes)}, {plural(done.keys, 'key')}"
    out.note(f"{plural(len(done.taken), 'checkpoint')} taken, {done.known:,} known; {read}")
    if done.refused:
        out.note("a signer is trusted by qflow keys import; a key comes in a file exported with it")
    if done.taken:
        out.note("qflow checkpoint restore ID goes on with one")
    return code


def _print_refused(session: Session, refused: tuple[Refused, ...]) -> None:
    for item in refused:
        named = "" if item.execution is None else f"{item.execution}: "
        session.out.line(f"refused   {item.cid}  {named}{item.why}", "red")


def sync(session: Session) -> int | None:
    """Bring every endpoint up to date; 1 when something is still owed."""
    done: Synced = finish(session, "syncing", lambda states: states.sync(), changing=True)
    owed = any(item.owed or item.error for item in done.endpoints)
    if session.out.json:
        session.out.document(done)
    elif not done.endpoints:
        session.out.note("no endpoints: storage.kubo names them")
    else:
        headers = ("ENDPOINT", "PINNED", "RELEASED", "OWED", "ANSWER")
        rows = [
            (item.endpoint, str(item.pinned), str(item.released), str(item.owed), item.error or "")
            for item in done.endpoints
        ]
        session.out.table(headers, rows)
    return FAILED if owed else OK
