"""The commands of `qflow audit`, their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._app_export import add_to as _add_exports
from qflow.cli._app_query import add_to as _add_query
from qflow.cli._app_retain import add_to as _add_retention
from qflow.cli._command import command
from qflow.cli._session import Session

audit_app = typer.Typer(help="The history and its proof.", no_args_is_help=True)

ReportFile = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="Write it: .json to check, .html to read."),
]
Receipts = Annotated[
    Path | None,
    typer.Option("--receipts", metavar="FOLDER", help="Write a receipt of each record named."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]
Log = Annotated[
    Path | None,
    typer.Option("--log", metavar="FOLDER", help="The log's folder.  [default: HOME/log]"),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="A verifier key or a file with it.  [default: HOME/node.pub]"),
]

_add_query(audit_app)
_add_retention(audit_app)
_add_exports(audit_app)


@command(audit_app, "verify", example="qflow audit verify --log copy/log --key node.pub")
def audit_verify(
    session: Session,
    log: Log = None,
    key: Key = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Which witnesses must have cosigned."),
    ] = None,
    known_head: Annotated[
        Path | None,
        typer.Option(
            "--known-head", metavar="FILE", help="A head that you saw; then holds the newest."
        ),
    ] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Read only what came after the known head.")
    ] = False,
) -> int | None:
    """Verify every byte of a log.

    Needs the files and a public key, nothing else; it may run beside a node or on a copy. The exit
    code is 1 when something is not as it was written, 8 when the log does not continue the known
    head, 7 when fewer witnesses cosigned than the policy asks for.
    """
    from qflow.cli import _audit

    return _audit.verify(
        session, log=log, key=key, policy=policy, known_head=known_head, incremental=incremental
    )


@command(audit_app, "receipt", example="qflow audit receipt 01jd --seq 3 -o charged.tlog-proof")
def audit_receipt(
    session: Session,
    execution: Annotated[
        str | None,
        typer.Argument(metavar="EXECUTION", help="An execution's id, or the beginning of it."),
    ] = None,
    seq: Annotated[
        int | None,
        typer.Option("--seq", min=0, help="The number of its record.  [default: its newest]"),
    ] = None,
    index: Annotated[
        int | None,
        typer.Option("--index", min=0, help="A record's place in the log, instead."),
    ] = None,
    log: Log = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Where to.  [default: ID-N.tlog-proof]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> int | None:
    """Write one record with all that proves it as a small file.

    It stands alone: whoever has the log's public key can check it, with nothing of this node.
    """
    from qflow.cli import _receipt

    return _receipt.make(session, execution, seq=seq, index=index, log=log, out=out, force=force)


@command(
    audit_app,
    "check-receipt",
    example="qflow audit check-receipt charged.tlog-proof --key node.pub --policy policy.txt",
)
def audit_check_receipt(
    session: Session,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Receipts.")],
    key: Key = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Which witnesses must have cosigned."),
    ] = None,
    known_head: Annotated[
        Path | None,
        typer.Option("--known-head", metavar="FILE", help="A signed head of the log to compare."),
    ] = None,
) -> int | None:
    """Check receipts offline, with a public key alone.

    Exit code 1: one proves nothing. 7: fewer witnesses cosigned than the policy asks for. 8: it is
    of another history than the known head.
    """
    from qflow.cli import _receipt

    return _receipt.check(session, files, key=key, policy=policy, known_head=known_head)


@command(audit_app, "comply", example="qflow audit comply --rules rules.toml -o report.html")
def audit_comply(
    session: Session,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="Rules in TOML.  [default: Qflow's own]"),
    ] = None,
    flow: Annotated[
        str | None, typer.Option("--flow", help="Judge the chains of these flows only.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Findings from this time on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Findings before this time.")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store/--no-store", help="Put the signed report on record.")
    ] = True,
    out: ReportFile = None,
    receipts: Receipts = None,
    force: Force = False,
) -> int | None:
    """Hold the history to rules, and report what does not keep them.

    Every record is read. Exit code 1: something of severity error was found.
    """
    from qflow.cli import _compliance

    scope = {"flow": flow, "since": since, "until": until}
    return _compliance.comply(
        session, rules, scope, store=store, out=out, receipts=receipts, force=force
    )


@command(audit_app, "reports", example="qflow audit reports")
def audit_reports(session: Session) -> int | None:
    """List the compliance reports on record."""
    from qflow.cli import _compliance

    _compliance.reports(session)
    return None


@command(audit_app, "report", example="qflow audit report 01kd -o report.html")
def audit_report(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPORT", help="Its id, or the beginning of it.")],
    out: ReportFile = None,
    receipts: Receipts = None,
    force: Force = False,
) -> int | None:
    """Show a compliance report that is on record, once its signature is verified."""
    from qflow.cli import _compliance

    return _compliance.show(session, name, out=out, receipts=receipts, force=force)


@command(audit_app, "check-report", example="qflow audit check-report report.json --key node.pub")
def audit_check_report(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A report, as .json.")],
    key: Key = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Write it as .html to read."),
    ] = None,
    force: Force = False,
) -> int | None:
    """Check a report file offline, with a public key alone: signature, findings and receipts."""
    from qflow.cli import _compliance

    return _compliance.check(session, file, key, out, force=force)
