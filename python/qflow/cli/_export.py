"""Taking the history away as a file that proves what it holds, and checking such files."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qflow.cli._audit import progress_bar
from qflow.cli._exit import FAILED, NOT_FOUND, OK, USAGE, Refusal
from qflow.cli._output import moment, plural, size
from qflow.cli._target import check_target
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

    form = _format(way)
    _check_out(session, way)
    folder = _folder(session, where, way)
    signed = way.manifest and way.out != STDOUT
    with (
        terminable(),
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
                # Called in any case: while Rust works, signals are only seen in calls to Python.
                progress=step or _unseen,
            )
        except FileExistsError as error:
            there = f"{error.filename} is there already"
            raise Refusal(there, USAGE, "--force replaces it") from error
        except ValueError as error:
            raise Refusal(str(error), USAGE) from error
    if way.out != STDOUT:
        _print(session, done)
    return None


def _check_out(session: Session, way: Way) -> None:
    """Refuse to write over the node's own files, or over what is no file."""
    from qflow.audit.export._manifest import SUFFIX

    if way.out != STDOUT:
        path = Path(way.out)
        check_target(session, path, force=way.force)
        if way.manifest or way.force:
            check_target(session, path.with_name(path.name + SUFFIX), force=way.force)


def _unseen(done: int, whole: int) -> None:
    pass


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: what is not whole is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def whole_id(session: Session, name: str | None, log: Path | None) -> str | None:
    """The id of the execution that the beginning of an id names; of `log` only its whole id."""
    from qflow import model
    from qflow.cli._query import _history, _whole_id

    if name is None:
        return None
    try:
        model.id_bytes(name.lower())
    except ValueError:
        if log is not None:
            hint = "the beginning of one is looked up in a home, and --log names a log"
            raise Refusal(f"{name!r} is not an id", USAGE, hint) from None
        with _history(session) as (_, index):
            return _whole_id(index, name)
    return name


def _folder(session: Session, where: Where, way: Way) -> LogFolder:
    home = session.home
    if where.log is not None and way.manifest:
        raise Refusal(
            "a manifest is signed with this home's key, and --log names another log",
            USAGE,
            "add --no-manifest, or name the home with --home",
        )
    if where.log is None and not (home / "log").is_dir():
        raise Refusal(f"{home} has no history: no node ever ran there", NOT_FOUND)
    hint = "qflow audit witness says how witnesses are asked" if where.witnessed else None
    return _opened(home if where.log is None else where.log, witnessed=where.witnessed, hint=hint)


def _opened(path: Path, *, witnessed: bool = False, hint: str | None = None) -> LogFolder:
    from qflow.audit.export import LogFolder
    from qflow.errors import UnavailableError

    if not path.is_dir():
        raise Refusal(f"{path} is no folder of a log", NOT_FOUND, "--log takes a log or a home")
    try:
        return LogFolder(path, witnessed=witnessed)
    except UnavailableError as error:
        raise Refusal(str(error), NOT_FOUND, hint) from error


def _format(way: Way) -> Format:
    from qflow.audit.export import Format
    from qflow.audit.export._formats import format_of

    if not Path(way.out).name:
        raise Refusal(f"-o {way.out!r} names no file", USAGE, "- is the standard output")
    if way.form is not None:
        found = _named(way.form)
    elif way.out == STDOUT:
        raise Refusal("the standard output has no ending", USAGE, f"--format: {_formats()}")
    else:
        try:
            found = format_of(Path(way.out))
        except ValueError as error:
            raise Refusal(str(error), USAGE, f"name one with --format: {_formats()}") from None
    if way.spreadsheet and found is not Format.CSV:
        raise Refusal("--spreadsheet-safe is a way to write CSV", USAGE)
    if way.out == STDOUT and found in (Format.PARQUET, Format.ARROW):
        raise Refusal(f"{found} needs a file", USAGE, "arrows is a stream of Arrow")
    return found


def _named(form: str) -> Format:
    from qflow.audit.export import Format

    try:
        return Format(form)
    except ValueError:
        raise Refusal(f"{form!r} is no format", USAGE, f"one of {_formats()}") from None


def _formats() -> str:
    from qflow.audit.export import Format

    return ", ".join(Format)


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
            ("complete", _COMPLETE["claimed" if done.manifest is None else done.completeness]),
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
    from qflow.audit.export import verify_export

    if not file.is_file():
        raise Refusal(f"{file} is not there", NOT_FOUND)
    own = session.home / "node.pub"
    if key is None and not own.is_file():
        raise Refusal(f"{own} is not there", NOT_FOUND, "name the verifier key with --key")
    chosen = None if form is None else _named(form)
    if log is not None:
        _opened(log)
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
    _print_report(session, report, str(own) if key is None else _origin(key))
    return OK if report.ok else FAILED


def _origin(key: str) -> str:
    return f"--key {key}" if Path(key).is_file() else "--key"


def _print_report(session: Session, report: ExportReport, origin: str) -> None:
    from qflow.api import to_plain

    out = session.out
    if out.json:
        out.document({**to_plain(report), "key_from": origin})
        return
    out.line(report.verdict, "bold green" if report.ok else "bold red")
    out.fields(
        [
            ("file", report.file),
            ("manifest", report.manifest),
            ("key from", origin),
            *_said(report),
            ("complete", report.complete if report.ok else "not proven"),
        ]
    )
    if report.pruned:
        rows = plural(report.pruned, "row")
        out.note(f"{rows} could not be compared: the log was pruned; the manifest proves them")
    for finding in report.findings:
        out.line(f"{finding.where}: {finding.what}", "red")
    if report.more_findings:
        out.line(f"and {report.more_findings:,} more", "red")


def _said(report: ExportReport) -> Iterator[tuple[str, str]]:
    """What the manifest says, and what was seen of it; nothing of a file that has lost its own."""
    from qflow.api import to_json

    if report.made_at is None or report.head_size is None:
        return
    query = to_json(report.query).decode() if report.query else "all records"
    places = "" if report.first is None else f", {report.first:,} to {report.last:,} of the log"
    yield "made", f"{moment(report.made_at)} by {report.node}"
    yield "query", query
    yield "rows", f"{report.rows:,}{places}"
    yield "chains", f"{plural(report.links, 'link')} proven"
    yield "head", plural(report.head_size, "record")
