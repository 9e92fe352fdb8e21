"""Taking the history away as a file that proves what it holds, and checking such files."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qflow.cli._audit import progress_bar
from qflow.cli._exit import FAILED, NOT_FOUND, OK, USAGE, Refusal
from qflow.cli._output import moment, plural, size
from qflow.cli._when import time_ms
from qflow.clock import SystemClock

if TYPE_CHECKING:
    from qflow.audit import Query
    from qflow.audit.export import Exported, ExportReport, Format, LogFolder
    from qflow.cli._session import Session
    from qflow.trust import Keyring, NodeKey

STDOUT: Final = "-"
_COMPLETE: Final = {
    "range": "all records of the range, proven by the signed root",
    "chain": "all records of the execution, proven by its chain",
    "claimed": "all that was asked for, by this node's word",
}


class Where(NamedTuple):
    """What of which log is exported."""

    log: Path | None
    first: int | None
    end: int | None
    witnessed: bool


class Way(NamedTuple):
    """How the file is written."""

    out: str
    form: str | None
    spreadsheet: bool
    manifest: bool
    force: bool


def question(
    asked: dict[str, Any], since: str | None, until: str | None, limit: int | None
) -> Query:
    """The query that the options ask."""
    from qflow.audit import Query

    times: dict[str, Any] = {"since": time_ms(since, "--since")}
    times["until"] = time_ms(until, "--until")
    try:
        return Query(**asked, **times, limit=limit)
    except ValueError as error:
        raise Refusal(str(error), USAGE) from error


def export(session: Session, query: Query, where: Where, way: Way, *, payloads: bool) -> int | None:
    """Write an export and its signed manifest, whole or not at all."""
    from qflow.audit import export as package

    folder, form = _folder(session, where, way), _format(way)
    signed = way.manifest and way.out != STDOUT
    with (
        progress_bar(session.out, "exporting") as step,
        _keyring(session, payloads) as keyring,
    ):
        try:
            done = package.export(
                folder,
                way.out,
                key=_key(session) if signed else None,
                clock=SystemClock(),
                query=query,
                first=where.first,
                end=where.end,
                form=form,
                spreadsheet=way.spreadsheet,
                unsealer=keyring,
                force=way.force,
                progress=step,
            )
        except FileExistsError as error:
            there = f"{error.filename} is there already"
            raise Refusal(there, USAGE, "--force replaces it") from error
        except ValueError as error:
            raise Refusal(str(error), USAGE) from error
    if way.out != STDOUT:
        _print(session, done)
    return None


def _folder(session: Session, where: Where, way: Way) -> LogFolder:
    from qflow.audit.export import LogFolder

    home = session.home
    if where.log is not None and way.manifest:
        raise Refusal(
            "a manifest is signed with this home's key, and --log names another log",
            USAGE,
            "add --no-manifest, or name the home with --home",
        )
    if where.log is None and not (home / "log").is_dir():
        raise Refusal(f"{home} has no history: no node ever ran there", NOT_FOUND)
    return LogFolder(home if where.log is None else where.log, witnessed=where.witnessed)


def _format(way: Way) -> Format:
    from qflow.audit.export import Format
    from qflow.audit.export._formats import format_of

    try:
        found = format_of(Path(way.out)) if way.form is None else Format(way.form)
    except ValueError as error:
        names = ", ".join(Format)
        raise Refusal(str(error), USAGE, f"name one with --format: {names}") from None
    if way.spreadsheet and found is not Format.CSV:
        raise Refusal("--spreadsheet-safe is a way to write CSV", USAGE)
    if way.out == STDOUT and found in (Format.PARQUET, Format.ARROW):
        raise Refusal(f"{found} needs a file", USAGE, "arrows is a stream of Arrow")
    return found


def _key(session: Session) -> NodeKey:
    from qflow.trust import load_or_create_key

    return load_or_create_key(session.home)


def _keyring(session: Session, payloads: bool) -> AbstractContextManager[Keyring | None]:
    if not payloads:
        return nullcontext()
    from contextlib import closing

    from qflow.trust import Keyring, load_seed

    home = session.home
    return closing(Keyring(home, lambda: load_seed(home)))


def _print(session: Session, done: Exported) -> None:
    from qflow.api import to_plain

    if session.out.json:
        session.out.document(to_plain(done))
        return
    session.out.fields(
        [
            ("file", str(done.path)),
            ("manifest", done.manifest or "none: nothing proves this file"),
            ("format", done.format),
            ("rows", f"{done.rows:,}"),
            ("size", size(done.bytes or 0)),
            ("head", f"{done.head_size:,} records"),
            ("complete", _COMPLETE[done.completeness]),
        ]
    )


def verify(
    session: Session,
    file: Path,
    *,
    manifest: Path | None,
    key: str | None,
    log: Path | None,
    form: str | None,
) -> int | None:
    """Check an export; exit code 1 unless all that its manifest says is so."""
    from qflow.audit.export import Format, verify_export

    if not file.is_file():
        raise Refusal(f"{file} is not there", NOT_FOUND)
    own = session.home / "node.pub"
    if key is None and not own.is_file():
        raise Refusal(f"{own} is not there", NOT_FOUND, "name the verifier key with --key")
    try:
        chosen = None if form is None else Format(form)
    except ValueError as error:
        raise Refusal(str(error), USAGE) from None
    with progress_bar(session.out, "checking") as step:
        report = verify_export(
            file,
            own if key is None else key,
            clock=SystemClock(),
            manifest=manifest,
            log=log,
            form=chosen,
            progress=step,
        )
    _print_report(session, report, "--key" if key is not None else str(own))
    return OK if report.ok else FAILED


def _print_report(session: Session, report: ExportReport, origin: str) -> None:
    from qflow.api import to_json, to_plain

    out = session.out
    if out.json:
        out.document({**to_plain(report), "key_from": origin})
        return
    out.line(report.verdict, "bold green" if report.ok else "bold red")
    query = to_json(report.query).decode() if report.query else "all records"
    places = "" if report.first is None else f", {report.first:,} to {report.last:,} of the log"
    out.fields(
        [
            ("file", report.file),
            ("manifest", report.manifest),
            ("key from", origin),
            ("made", f"{moment(report.made_at)} by {report.node}"),
            ("query", query),
            ("rows", f"{report.rows:,}{places}"),
            ("chains", f"{plural(report.links, 'link')} proven"),
            ("head", f"{report.head_size:,} records"),
            ("complete", report.complete if report.ok else "not proven"),
        ]
    )
    for finding in report.findings:
        out.line(f"{finding.where}: {finding.what}", "red")
    if report.more_findings:
        out.line(f"and {report.more_findings:,} more", "red")
