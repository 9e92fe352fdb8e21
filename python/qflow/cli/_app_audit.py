"""The commands of `qflow audit`, their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

audit_app = typer.Typer(help="The history and its proof.", no_args_is_help=True)


@command(audit_app, "verify", example="qflow audit verify --log copy/log --key node.pub")
def audit_verify(
    session: Session,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FOLDER", help="The log's folder.  [default: HOME/log]"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="A verifier key or a file with it.  [default: HOME/node.pub]"),
    ] = None,
) -> int | None:
    """Verify every byte of a log.

    Needs the files and a public key, nothing else; it may run beside a node or on a copy.
    """
    from qflow.cli import _audit

    return _audit.verify(session, log=log, key=key)
