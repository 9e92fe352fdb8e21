"""The commands of `qflow audit` that write and check exports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from qflow.cli._app_query import Actor, Execution, Flow, Node, Since, Subnet, Text, Type, Until
from qflow.cli._command import command
from qflow.cli._session import Session

FORMATS = "jsonl, csv, xml, parquet, arrow, arrows"

Out: TypeAlias = Annotated[
    str, typer.Option("-o", "--out", metavar="FILE", help="Where to. -: standard output.")
]
Format: TypeAlias = Annotated[
    str | None, typer.Option("--format", help=f"{FORMATS}.  [default: by the file's ending]")
]
Limit: TypeAlias = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many.  [default: all]")
]
First: TypeAlias = Annotated[
    int | None, typer.Option("--first", min=0, help="From this place of the log on.")
]
End: TypeAlias = Annotated[
    int | None, typer.Option("--end", min=0, help="Up to before this place of the log.")
]
Spreadsheet: TypeAlias = Annotated[
    bool, typer.Option("--spreadsheet-safe", help="CSV in which no cell is a formula.")
]
Payloads: TypeAlias = Annotated[
    bool, typer.Option("--payloads", help="With what steps took and gave, unsealed.")
]
Witnessed: TypeAlias = Annotated[
    bool, typer.Option("--witnessed", help="Only as far as witnesses cosigned.")
]
OtherLog: TypeAlias = Annotated[
    Path | None, typer.Option("--log", metavar="FOLDER", help="Another log.  [default: HOME/log]")
]
Unsigned: TypeAlias = Annotated[
    bool, typer.Option("--no-manifest", help="Sign nothing: nothing then proves the file.")
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `qflow audit`."""
    example = "qflow audit export -o march.parquet --since 2026-03-01 --until 2026-04-01"
    command(app, "export", example=example)(audit_export)
    example = "qflow audit verify-export march.parquet --key node.pub"
    command(app, "verify-export", example=example)(audit_verify_export)


def audit_export(
    session: Session,
    out: Out,
    format: Format = None,
    execution: Execution = None,
    flow: Flow = None,
    type: Type = None,
    actor: Actor = None,
    node: Node = None,
    subnet: Subnet = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Limit = None,
    first: First = None,
    end: End = None,
    spreadsheet_safe: Spreadsheet = False,
    payloads: Payloads = False,
    witnessed: Witnessed = False,
    log: OtherLog = None,
    no_manifest: Unsigned = False,
    force: Force = False,
) -> int | None:
    """Write records of the history into a file, with a signed manifest.

    Beside a running node too: what it has published is what is written. The manifest,
    FILE.manifest.json, says what was asked for and proves what the file holds. Arrow and Parquet
    need the extra `arrow`.
    """
    from qflow.cli import _export

    asked = {
        "execution": _export.whole_id(session, execution, log),
        "flow": flow,
        "type": type,
        "actor": actor,
    }
    asked |= {"node": node, "subnet": subnet, "text": text}
    question = _export.question(asked, since, until, limit)
    way = _export.Way(out, format, spreadsheet_safe, not no_manifest, force)
    where = _export.Where(log, first, end, witnessed)
    return _export.export(session, question, where, way, payloads=payloads)


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
    format: Format = None,
) -> int | None:
    """Check every row of an export against its manifest and the node's key.

    Needs the two files and the key, nothing of the node. A file of Arrow or Parquet holds its
    manifest, and needs no second one. The exit code is 1 when a row was changed, added or left out.
    """
    from qflow.cli import _export

    return _export.verify(session, file, manifest=manifest, key=key, log=log, form=format)
