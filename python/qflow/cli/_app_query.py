"""`qflow audit query`: its options and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

EXAMPLE = "qflow audit query --actor ann --since 2h --type exec.faulted"

Execution = Annotated[
    str | None, typer.Option("--execution", help="An execution's id, or the beginning of it.")
]
Flow = Annotated[
    str | None, typer.Option("--flow", help="namespace/name/version, namespace/name or name.")
]
Type = Annotated[str | None, typer.Option("--type", help="exec.completed, exec.*, or whole.")]
Actor = Annotated[str | None, typer.Option("--actor", help="On whose behalf.")]
Node = Annotated[str | None, typer.Option("--node", help="Who recorded it.")]
Subnet = Annotated[str | None, typer.Option("--subnet", help="The subnet.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="ISO 8601, or 2h: so long ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]
Text = Annotated[
    str | None,
    typer.Option("--text", metavar="WORDS", help="Words that stand in it; not in payloads."),
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most so many. 0: all.")]
After = Annotated[
    str | None, typer.Option("--after", metavar="CURSOR", help="Go on where an answer ended.")
]
Reverse = Annotated[bool, typer.Option("--reverse", help="The newest first.")]
Receipts = Annotated[
    Path | None, typer.Option("--receipts", metavar="FOLDER", help="Write a receipt of each.")
]


def add_to(app: typer.Typer) -> None:
    """Declare it."""
    command(app, "query", example=EXAMPLE)(audit_query)


def audit_query(
    session: Session,
    execution: Execution = None,
    flow: Flow = None,
    type: Type = None,
    actor: Actor = None,
    node: Node = None,
    subnet: Subnet = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Limit = 100,
    after: After = None,
    reverse: Reverse = False,
    receipts: Receipts = None,
) -> int | None:
    """Find records of the whole history by what they say.

    In names `*` stands for any characters. Works beside a running node and without one.
    """
    from qflow.cli import _query

    asked = {"execution": execution, "flow": flow, "type": type, "actor": actor}
    asked |= {"node": node, "subnet": subnet, "text": text, "after": after}
    return _query.query(
        session,
        asked,
        times=(since, until),
        limit=limit,
        reverse=reverse,
        receipts=receipts,
    )
