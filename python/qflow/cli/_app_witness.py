"""The commands of `qflow witness`, their options and their help."""

from __future__ import annotations

from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

witness_app = typer.Typer(
    help="Being a witness of other logs: cosigning their heads.", no_args_is_help=True
)

LogKey = Annotated[
    str,
    typer.Argument(metavar="LOGKEY", help="A log's verifier key, or a file of such, as node.pub."),
]


@command(witness_app, "vkey", example="qflow witness vkey >> policy.txt")
def witness_vkey(session: Session) -> int | None:
    """Print this witness as a line of a policy.

    Others who put it there ask this witness to cosign their logs.
    """
    from qflow.cli import _witness

    return _witness.vkey(session)


@command(witness_app, "add", example="qflow witness add ../other/node.pub")
def witness_add(session: Session, key: LogKey) -> int | None:
    """Cosign for a log from now on.

    Durable on return, and in effect at once, also beside a running node.
    """
    from qflow.cli import _witness

    return _witness.add(session, key)


@command(witness_app, "remove", example="qflow witness remove ../other/node.pub")
def witness_remove(session: Session, key: LogKey) -> int | None:
    """Cosign for a log no more.

    What was cosigned stays known: a log that is added again must go on from there.
    """
    from qflow.cli import _witness

    return _witness.remove(session, key)


@command(witness_app, "list", example="qflow witness list --json")
def witness_list(session: Session) -> int | None:
    """List the logs that are cosigned, and the proofs of those that lied.

    The exit code is 1 when there is such a proof.
    """
    from qflow.cli import _witness

    return _witness.list_(session)


@command(witness_app, "serve", example="qflow witness serve --listen 127.0.0.1:8731")
def witness_serve(
    session: Session,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="[default: server.listen]"),
    ] = None,
) -> int | None:
    """Run a witness without a node until it is interrupted.

    `qflow serve` does so too when server.listen is set.
    """
    from qflow.cli import _witness

    return _witness.serve(session, listen)
