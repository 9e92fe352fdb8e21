"""Verifying the history, and making its index anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._exit import DIVERGED, FAILED, NOT_FOUND, OK, UNANCHORED, USAGE, Refusal
from qflow.cli._output import plural, size

if TYPE_CHECKING:
    from qflow._core import Policy
    from qflow.audit import Report
    from qflow.cli._output import Output
    from qflow.cli._session import Session

_STYLES: Final = {"WITNESSED": "bold green", "UNANCHORED": "bold yellow"}
_PARTS_OF_LOG: Final = ("journal", "checkpoint", "tile", "witnessed", "pruned")

Step = Callable[[int, int], None]


def verify(
    session: Session,
    *,
    log: Path | None,
    key: str | None,
    policy: Path | None = None,
    known_head: Path | None = None,
    incremental: bool = False,
) -> int | None:
    """Check every byte of a log. Only files and a public key; the exit code is the verdict's."""
    from qflow.audit import verify as verify_log

    if incremental and known_head is None:
        raise Refusal("--incremental goes on from a head: name its file with --known-head", USAGE)
    where = log if log is not None else session.home / "log"
    _refuse_without_log(where, None if log is not None else session.home)
    source, origin = _key(session, log, key)
    rules = None if policy is None else rules_in(policy)
    with progress_bar(session.out, "verifying") as step:
        report = verify_log(
            where, source, step, policy=rules, known_head=known_head, incremental=incremental
        )
    if session.out.json:
        session.out.document(_document(report, where, origin))
    else:
        _print(session, report, where, origin)
    return exit_code(report)


def exit_code(report: Report) -> int:
    """Of a verdict: 0, 1 INVALID, 8 DIVERGED, 7 when a policy was given and is not met."""
    if report.ok:
        return OK
    return {"INVALID": FAILED, "DIVERGED": DIVERGED}.get(report.verdict.name, UNANCHORED)


def _refuse_without_log(where: Path, home: Path | None) -> None:
    """What has neither records nor a head is no damaged log: there is none."""
    if any((where / name).exists() for name in _PARTS_OF_LOG):
        return
    if home is None:
        raise Refusal(f"there is no log in {where}", NOT_FOUND, "the log of a home is HOME/log")
    if not home.is_dir():
        raise Refusal(
            f"{home} is not there", NOT_FOUND, "qflow init makes a home; --home names one"
        )
    raise Refusal(f"{home} has no history: no node ever ran there", NOT_FOUND)


def key_given(key: str) -> str:
    """What `--key` names. Refused when it is neither a verifier key nor a file that is there."""
    from qflow.audit._verify import is_vkey

    if not is_vkey(key) and not Path(key).exists():
        raise Refusal(f"{key} is not there", NOT_FOUND, "node.pub is in the home of the node")
    return key


def rules_in(file: Path) -> Policy:
    """The policy that `--policy` names. Refused when it is not there, or says nothing."""
    from qflow.audit import load_policy
    from qflow.errors import ConfigError

    if not file.exists():
        raise Refusal(f"{file} is not there", NOT_FOUND)
    try:
        return load_policy(file)
    except ConfigError as error:
        raise Refusal(str(error), USAGE) from None


def _key(session: Session, log: Path | None, key: str | None) -> tuple[str | Path, str]:
    """The verifier key, and where it was taken from."""
    if key is not None:
        return key_given(key), "--key"
    if log is None:
        path = session.home / "node.pub"
        return path, str(path)
    beside = log.absolute().parent / "node.pub"
    if not beside.is_file():
        raise Refusal(
            f"{log} has no node.pub beside it", NOT_FOUND, "name the verifier key with --key"
        )
    return beside, str(beside)


def _document(report: Report, where: Path, origin: str) -> dict[str, Any]:
    from qflow.api import to_plain

    plain: dict[str, Any] = to_plain(report)
    return {**plain, "ok": report.ok, "log": str(where), "key_from": origin}


def _print(session: Session, report: Report, where: Path, origin: str) -> None:
    out, verdict = session.out, report.verdict.name
    style = "bold green" if report.ok else _STYLES.get(verdict, "bold red")
    out.line(f"VERIFIED, {verdict}" if report.ok else verdict, style)
    out.line(report.why)
    out.fields(_fields(report, where, origin))
    for finding in report.findings:
        out.line(f"{finding.where}: {finding.what}", "red")
    if report.whole is not None:
        out.note(f"note: all was read: {report.whole}")
    if origin != "--key" and report.ok:
        out.note(
            "note: the key is from the same place as the log; to prove who wrote it, use --key"
        )


def _fields(report: Report, where: Path, origin: str) -> list[tuple[str, str]]:
    fields = [
        ("log", str(where)),
        ("key from", origin),
        ("records", f"{report.size:,} in {plural(report.chains, 'chain')}"),
        ("blocks", f"{report.blocks:,}"),
        ("heads", f"{report.heads:,} signed"),
        ("read", size(report.bytes)),
        ("root", report.root),
    ]
    if report.started:
        fields.append(("not read", f"{report.started:,} records, which an earlier run verified"))
    if report.first:
        fields.append(("pruned", f"{report.first:,} records, on record"))
    if report.absent:
        fields.append(("payloads", f"{report.absent:,} not beside their records"))
    if report.known is not None:
        fields.append(("known head", plural(report.known, "record")))
    if report.witnessed is not None:
        fields.append(("witnessed", plural(report.witnessed, "record")))
    return fields


def rebuild(session: Session) -> int | None:
    """Replay the log into a new index, under the lock of the log."""
    from qflow.audit import Index, Log
    from qflow.trust import load_or_create_key

    home, bounds = session.config.home, session.config.log
    if not (home / "log").is_dir():
        raise Refusal(f"{home} has no log", NOT_FOUND)

    async def main() -> int:
        async with Log(
            str(home / "log"),
            load_or_create_key(home),
            queue_bytes_max=bounds.queue_bytes_max,
            segment_bytes=bounds.segment_bytes,
        ) as log:
            index = Index(home / "index.db")
            try:
                with progress_bar(session.out, "indexing") as step:
                    return index.rebuild(log, step)
            finally:
                index.close()

    count = session.run(main)
    if session.out.json:
        session.out.document({"records": count})
    else:
        session.out.line(f"index made from {plural(count, 'record')}")
    return None


@contextmanager
def progress_bar(out: Output, what: str) -> Iterator[Step | None]:
    """A bar on stderr that a function fills by (done, whole); None in a pipe."""
    if out.json or not out.notes.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=out.notes, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def step(done: int, whole: int) -> None:
            bar.update(task, completed=done, total=whole)

        yield step
