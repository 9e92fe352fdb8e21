"""The commands of `qflow checkpoint`, their options and their help."""

from __future__ import annotations

from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

checkpoint_app = typer.Typer(
    help="Where executions can be resumed from.\n\n"
    "A checkpoint is the sealed, signed state of an execution at one record of its chain.",
    no_args_is_help=True,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A checkpoint: its CID or label. An execution: its newest."
    ),
]
Version = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A checkpoint: its CID, how that begins, or its label."),
]
Label = Annotated[str | None, typer.Option("--label", help="A name to find it by.")]
Text = Annotated[str | None, typer.Option("--description", help="What it is for.")]
Flow = Annotated[
    str | None, typer.Option("--flow", help="namespace/name/version, namespace/name or name.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="ISO 8601, or 2h: so long ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@command(
    checkpoint_app, "create", example='qflow checkpoint create 01k9x --label "before the audit"'
)
def create(
    session: Session,
    execution: Annotated[str, typer.Argument(metavar="ID", help="Its id, or how the id begins.")],
    label: Label = None,
    description: Text = None,
) -> int | None:
    """Write down the state of an execution that is not over.

    Durable on return, also with no node running. Label and description stand in the history, where
    they cannot be erased.
    """
    from qflow.cli import _checkpoint

    return _checkpoint.create(session, execution, label=label, description=description)


@command(checkpoint_app, "list", example="qflow checkpoint list 01k9x")
def list_(
    session: Session,
    execution: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only those of this execution.")
    ] = None,
    flow: Flow = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Only of this label; * stands for any characters.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 50,
) -> int | None:
    """List checkpoints, newest first."""
    from qflow.cli import _checkpoint

    asked = {"execution": execution, "flow": flow, "label": label}
    return _checkpoint.list_(session, asked, times=(since, until), limit=limit)


@command(checkpoint_app, "show", example="qflow checkpoint show 01k9x")
def show(session: Session, name: Name) -> int | None:
    """Show one checkpoint.

    Its place in the chain, who signed it, what it takes on the disk, where it is pinned.
    """
    from qflow.cli import _checkpoint

    return _checkpoint.show(session, name)


@command(checkpoint_app, "restore", example="qflow checkpoint restore 01k9x --dry-run")
def restore(
    session: Session,
    name: Name,
    dry_run: DryRun = False,
    children_anew: Annotated[
        bool,
        typer.Option("--children-anew", help="Begin subflows anew that have no checkpoint here."),
    ] = False,
    or_older: Annotated[
        bool,
        typer.Option("--or-older", help="Take the one before it when the one named is not good."),
    ] = False,
) -> int | None:
    """Bring an execution into this home from a checkpoint that was imported or recovered.

    Everything is verified first: signer, seal, every record of the chain from its beginning. Of an
    execution the newest checkpoint that is good is taken, and what was refused is said. One that is
    named by its CID or label is taken or refused; with --or-older the one before it may be taken.
    Refused where the execution of this home is ahead of it, or went another way. A running node
    goes on with it at once.

    The executions that it waits for, its subflows, are restored with it, each from its newest
    checkpoint. Refused when one has none here.
    """
    from qflow.cli import _checkpoint

    return _checkpoint.restore(
        session, name, dry_run=dry_run, children_anew=children_anew, or_older=or_older
    )


@command(checkpoint_app, "diff", example="qflow checkpoint diff bafyreic4 bafyreid7 --paths")
def diff(
    session: Session,
    older: Version,
    newer: Version,
    paths: Annotated[
        bool, typer.Option("--paths", help="Only where they differ, and no values.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many changes.")] = 100,
) -> int | None:
    """Say what changed in the state between two checkpoints of one execution."""
    from qflow.cli import _checkpoint

    return _checkpoint.diff(session, older, newer, paths=paths, limit=limit)


@command(checkpoint_app, "prune", example="qflow checkpoint prune --keep 1 --dry-run")
def prune(
    session: Session,
    execution: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only those of this execution.")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, help="How many stay.  [default: checkpoint.keep]"),
    ] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Also those with a label, which stay without this.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int | None:
    """Delete all but the newest checkpoints of each execution, with their pins.

    Those with a label stay, and are not counted, unless --labelled is given.

    The history stays: every record of it is in the log.
    """
    from qflow.cli import _checkpoint

    return _checkpoint.prune(
        session, execution, keep=keep, labelled=labelled, dry_run=dry_run, yes=yes
    )
