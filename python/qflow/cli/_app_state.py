"""The commands of `qflow state`, their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

state_app = typer.Typer(
    help="The stored state of executions: versions, blocks, pins, and files of it.",
    no_args_is_help=True,
)

Execution = Annotated[
    str, typer.Argument(metavar="ID", help="An execution: its id, or how the id begins.")
]
Executions = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Executions.  [default: all]")
]
Flow = Annotated[
    str | None, typer.Option("--flow", help="namespace/name/version, namespace/name or name.")
]


@command(state_app, "list", example='qflow state list --flow "shop/*"')
def list_(
    session: Session,
    flow: Flow = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 50,
) -> int | None:
    """List the executions that have a stored state, the newest first."""
    from qflow.cli import _state

    return _state.list_(session, flow=flow, limit=limit)


@command(state_app, "show", example="qflow state show 01k9x")
def show(session: Session, execution: Execution) -> int | None:
    """Show what is stored of one execution: how much, since when, by whom, and where."""
    from qflow.cli import _state

    return _state.show(session, execution)


@command(state_app, "history", example="qflow state history 01k9x --json")
def history(session: Session, execution: Execution) -> int | None:
    """Print the chain of versions of one execution, the newest first."""
    from qflow.cli import _state

    return _state.history(session, execution)


@command(state_app, "verify", example="qflow state verify")
def verify(session: Session, executions: Executions = None) -> int | None:
    """Verify stored states: signatures, seals, every block, every record beneath.

    Exit code 1 when something is not what was written, with what and why.
    """
    from qflow.cli import _state

    return _state.verify(session, executions or [])


@command(state_app, "delete", example="qflow state delete 01k9x --yes")
def delete(
    session: Session,
    execution: Execution,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int | None:
    """Delete every checkpoint of an execution, here and on every endpoint.

    Its pins are released. Its history stays in the log, from which it also resumes: then from its
    beginning.
    """
    from qflow.cli import _state

    return _state.delete(session, execution, yes=yes)


@command(state_app, "export", example="qflow state export 01k9x --out order.car")
def export(
    session: Session,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where to, a CAR file.")],
    executions: Executions = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Leave out the keys that open it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> int | None:
    """Write the newest checkpoint of each execution into a CAR file, whole or not at all.

    With the flow, the whole history, and the key of the execution, wrapped for this subnet: who has
    the subnet's key (qflow keys export) can restore it; nobody else can read it. The executions
    that it waits for, its subflows, go with it. Exit code 1 when something could not go in.
    """
    from qflow.cli import _state_files

    return _state_files.export(
        session, executions or [], out=out, without_key=without_key, force=force
    )


@command(state_app, "import", example="qflow state import order.car")
def import_(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CAR file.")],
) -> int | None:
    """Take checkpoints out of a CAR file, each one verified.

    They are then in this home's store; `qflow checkpoint restore` goes on with one. Exit code 1
    when something in the file was refused.
    """
    from qflow.cli import _state_files

    return _state_files.import_(session, file)


@command(state_app, "recover", example="qflow state recover 01k9x")
def recover(session: Session, executions: Executions = None) -> int | None:
    """Fetch checkpoints from the Kubo endpoints of the settings, each one verified.

    Takes what is pinned there, of this subnet, and signed by who is trusted here.
    """
    from qflow.cli import _state_files

    return _state_files.recover(session, executions or [])


@command(state_app, "sync", example="qflow state sync")
def sync(session: Session) -> int | None:
    """Bring every Kubo endpoint up to date now: pins that are owed, and pins to be released.

    A running node does it by itself. Exit code 1 when something is still owed.
    """
    from qflow.cli import _state_files

    return _state_files.sync(session)


@command(state_app, "garbage", example="qflow state garbage --collect")
def garbage(
    session: Session,
    collect: Annotated[bool, typer.Option("--collect", help="Delete them.")] = False,
) -> int | None:
    """Report blocks in this home's store that no checkpoint names."""
    from qflow.cli import _state

    return _state.garbage(session, collect=collect)
