"""The commands of `qflow doc`, their options and their help."""

from __future__ import annotations

from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

doc_app = typer.Typer(
    help="Documents that executions share: written by many at once, merged without loss.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A document, as shop/cart.")]
Path = Annotated[
    str, typer.Argument(metavar="[PATH]", help="A JSON Pointer, as /items/tea.  [default: all]")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")]


@command(doc_app, "list", example="qflow doc list --json")
def list_(session: Session) -> int | None:
    """List the documents of this home."""
    from qflow.cli import _doc

    return _doc.list_(session)


@command(doc_app, "get", example="qflow doc get shop/cart /items/tea")
def get(
    session: Session,
    name: Name,
    path: Path = "",
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            help="Of values set at the same time: last-write, max, min, union or keep-all.",
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="CLOCK", help="As it was: a clock of --json.")
    ] = None,
) -> int | None:
    """Print what is at a path, as JSON.

    Exit code 3 when nothing is there.
    """
    from qflow.cli import _doc

    return _doc.get(session, name, path, strategy=strategy, at=at)


@command(doc_app, "set", example="""qflow doc set shop/cart /items/tea 2""")
def set_(
    session: Session,
    name: Name,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A JSON Pointer, as /items/tea.")],
    value: Annotated[
        str | None,
        typer.Argument(metavar="[VALUE]", help="JSON, @FILE, or - for stdin; -1 behind --."),
    ] = None,
    increment: Annotated[bool, typer.Option("--increment", help="Add VALUE to a number.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Put VALUE at the end of a list.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Set each member of VALUE, leave the others.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Have nothing there: without VALUE.")
    ] = False,
    operation: Annotated[
        str | None,
        typer.Option("--operation", metavar="ID", help="Do nothing when it was done before."),
    ] = None,
) -> int | None:
    """Write at a path, durably; the document is made when it is not there.

    VALUE takes the place of what is there, unless an option says otherwise.
    """
    from qflow.cli import _doc

    verbs = {"increment": increment, "append": append, "merge": merge, "delete": delete}
    chosen = [verb for verb, is_chosen in verbs.items() if is_chosen]
    return _doc.set_(session, name, path, value, verbs=chosen, operation=operation)


@command(doc_app, "conflicts", example="qflow doc conflicts shop/cart")
def conflicts(session: Session, name: Name, path: Path = "") -> int | None:
    """Print what was written at one place by nodes that had not seen each other.

    Nothing of it is lost: each stays until somebody who has seen it writes there.
    """
    from qflow.cli import _doc

    return _doc.conflicts(session, name, path)


@command(doc_app, "history", example="qflow doc history shop/cart /items -n 20")
def history(session: Session, name: Name, path: Path = "", limit: Limit = 50) -> int | None:
    """Print the operations at a path and beneath, the newest first.

    As far as they are in the log of the document, that is, since its last compaction.
    """
    from qflow.cli import _doc

    return _doc.history(session, name, path, limit=limit)


@command(doc_app, "compact", example="qflow doc compact shop/cart")
def compact(session: Session, name: Name) -> int | None:
    """Put a snapshot in the place of what all members have seen.

    A running node does it by itself when there is enough. No value changes.
    """
    from qflow.cli import _doc

    return _doc.compact(session, name)
