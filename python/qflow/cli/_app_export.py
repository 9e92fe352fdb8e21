"""The commands of `qflow audit` that write and check exports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

FORMATS = "jsonl, csv, xml, parquet, arrow, arrows"


def add_to(app: typer.Typer) -> None:
    """Add the commands to `qflow audit`."""
    example = "qflow audit export -o march.parquet --since 2026-03-01 --until 2026-04-01"
    command(app, "export", example=example)(audit_export)
    example = "qflow audit verify-export march.parquet --key node.pub"
    command(app, "verify-export", example=example)(audit_verify_export)


def audit_export(
    session: Session,
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE", help="Where to. -: standard output.")
    ],
    format: Annotated[
        str | None,
        typer.Option("--format", help=f"{FORMATS}.  [default: by the file's ending]"),
    ] = None,
    execution: Annotated[
        str | None, typer.Option("--execution", help="All records of an execution, by its id.")
    ] = None,
    flow: Annotated[
        str | None, typer.Option("--flow", help="namespace/name/version, namespace/name or name.")
    ] = None,
    type: Annotated[
        str | None, typer.Option("--type", help="exec.completed, exec.*, or a whole type.")
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="On whose behalf.")] = None,
    node: Annotated[str | None, typer.Option("--node", help="Who recorded it.")] = None,
    subnet: Annotated[str | None, typer.Option("--subnet", help="The subnet.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="ISO 8601, or 2h: so long ago.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Before this time.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="WORDS", help="Words that stand in it.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many.  [default: all]")
    ] = None,
    first: Annotated[
        int | None, typer.Option("--first", min=0, help="From this place of the log on.")
    ] = None,
    end: Annotated[
        int | None, typer.Option("--end", min=0, help="Up to before this place of the log.")
    ] = None,
    spreadsheet_safe: Annotated[
        bool, typer.Option("--spreadsheet-safe", help="CSV in which no cell is a formula.")
    ] = False,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="With what steps took and gave, unsealed.")
    ] = False,
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="Only as far as witnesses cosigned.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FOLDER", help="Another log.  [default: HOME/log]"),
    ] = None,
    no_manifest: Annotated[
        bool, typer.Option("--no-manifest", help="Sign nothing: nothing then proves the file.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> int | None:
    """Write records of the history into a file, with a signed manifest.

    Beside a running node too: what it has published is what is written. The manifest,
    FILE.manifest.json, says what was asked for and proves what the file holds. Arrow and Parquet
    need the extra `arrow`.
    """
    from qflow.cli import _export

    return _export.export(
        session,
        out,
        form=format,
        log=log,
        first=first,
        end=end,
        spreadsheet=spreadsheet_safe,
        payloads=payloads,
        witnessed=witnessed,
        manifest=not no_manifest,
        force=force,
        since=since,
        until=until,
        execution=execution,
        flow=flow,
        type=type,
        actor=actor,
        node=node,
        subnet=subnet,
        text=text,
        limit=limit,
    )


def audit_verify_export(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The export.")],
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", help="[default: FILE.manifest.json]"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="A verifier key or a file with it.  [default: HOME/node.pub]"),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FOLDER", help="Ask this log again, and compare each row."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help=f"{FORMATS}.  [default: by the file's ending]")
    ] = None,
) -> int | None:
    """Check every row of an export against its manifest and the node's key.

    Needs the two files and the key, nothing of the node. A file of Arrow or Parquet holds its
    manifest, and needs no second one. The exit code is 1 when a row was changed, added or left out.
    """
    from qflow.cli import _export

    return _export.verify(session, file, manifest=manifest, key=key, log=log, form=format)
