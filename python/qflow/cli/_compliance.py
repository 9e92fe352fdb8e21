"""Reports on the history: making them, listing, showing and checking them."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qflow.cli._audit import progress_bar
from qflow.cli._exit import CORRUPTED, FAILED, NOT_FOUND, OK, USAGE, Refusal
from qflow.cli._output import moment, plural
from qflow.cli._report import check_suffix, document_of, print_report, write
from qflow.cli._retain import check_texts
from qflow.cli._when import time_ms
from qflow.errors import (
    ConfigError,
    ExecutionNotFoundError,
    VerificationError,
)

if TYPE_CHECKING:
    from qflow.api import Client
    from qflow.audit.compliance import Checked, Rules, Scope
    from qflow.cli._session import Session
    from qflow.config import Config
    from qflow.node._compliance import Compliance


def comply(
    session: Session,
    rules: Path | None,
    asked: Mapping[str, str | None],
    *,
    store: bool,
    out: Path | None,
    receipts: Path | None,
    force: bool = False,
) -> int | None:
    """Judge the history. Exit code 1 when something of severity error was found.

    `asked` has the texts of `flow`, `since` and `until`.
    """
    check_suffix(out)
    check_texts(flow=asked["flow"])
    text, given = _rules(rules)
    scope = _scope_of(asked)
    if not (session.home / "log").is_dir():
        raise Refusal(f"{session.home} has no history: no node ever ran there", NOT_FOUND)
    # What cannot be written is to be known before the report is on record.
    with _kept(out, force=force) as part:
        _make_folder(receipts)
        with progress_bar(session.out, "judging") as step:
            if store:
                checked = session.run(_recorded, session, text, given, scope, step)
            else:
                checked = _judged(session, given, scope, step)
        _write(session, checked, (out, part), receipts, stored=store)
    print_report(session, checked, stored=store, out=out)
    return OK if checked.report.ok else FAILED


@contextmanager
def _kept(out: Path | None, *, force: bool) -> Iterator[Path | None]:
    """A file beside `out` that takes its place at the end, and is gone after an error.

    Raises Refusal when there is an `out` already, unless `force`, or when none can be made.
    """
    if out is None:
        yield None
        return
    if out.is_dir():
        raise Refusal(f"{out} is a folder", USAGE)
    if out.exists() and not force:
        raise Refusal(f"{out} is there already", USAGE, "--force overwrites it")
    part = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    with _naming(out):
        part.touch(exist_ok=False)
    try:
        yield part
        with _naming(out, CORRUPTED):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path, code: int = USAGE, hint: str | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refusal(f"{path} was not written: {error.strerror}", code, hint) from error


def _make_folder(receipts: Path | None) -> None:
    if receipts is not None:
        with _naming(receipts):
            receipts.mkdir(parents=True, exist_ok=True)


def _write(
    session: Session,
    checked: Checked,
    out: tuple[Path | None, Path | None],
    receipts: Path | None,
    *,
    stored: bool = False,
) -> None:
    """Write the report as the second of `out`, which is to become the first; and the receipts."""
    path, part = out
    hint = f"it is on record: qflow audit report {checked.report.id}" if stored else None
    if path is not None:
        with _naming(path, CORRUPTED, hint):
            write(session, checked, part, None)
    if receipts is not None:
        with _naming(receipts, CORRUPTED, hint):
            write(session, checked, None, receipts)


def _scope_of(asked: Mapping[str, str | None]) -> Scope:
    from qflow.audit.compliance import Scope

    since, until = (time_ms(asked[name], f"--{name}") for name in ("since", "until"))
    try:
        return Scope(flow=asked["flow"], since=since, until=until)
    except ValueError as error:
        raise Refusal(str(error), USAGE) from error


def reports(session: Session) -> None:
    """List the reports on record."""

    async def read() -> list[dict[str, Any]]:
        async with _reporter(session) as node:
            return [dict(item) for item in await node.reports()]

    found = session.run(read)
    if session.out.json:
        session.out.document(found)
    elif not found:
        session.out.note("no reports; qflow audit comply makes one")
    else:
        rows = [
            (
                item["id"],
                moment(item["at"]),
                item["actor"],
                f"{item['meta'].get('size', 0):,}",
                f"{item['meta'].get('findings', 0):,}",
                f"{item['meta'].get('errors', 0):,}",
            )
            for item in found
        ]
        session.out.table(("REPORT", "MADE", "BY", "RECORDS", "FINDINGS", "ERRORS"), rows)


def show(
    session: Session, name: str, *, out: Path | None, receipts: Path | None, force: bool = False
) -> int | None:
    """Show a stored report, after verifying it."""
    check_suffix(out)
    check_texts(report=name)

    async def read() -> Checked:
        async with _reporter(session) as node, aclosing(node.report(name)) as parts:
            return _verified([dict(part) async for part in parts], session.home / "node.pub")

    with _kept(out, force=force) as part:
        try:
            checked = session.run(read)
        except ExecutionNotFoundError as error:
            raise Refusal(str(error), NOT_FOUND, "qflow audit reports lists them") from error
        _write(session, checked, (out, part), receipts)
    print_report(session, checked, stored=True, out=out)
    return None


def check(
    session: Session, file: Path, key: str | None, out: Path | None, *, force: bool = False
) -> int | None:
    """Verify a report file with nothing but a public key."""
    from qflow.audit._verify import load_vkey
    from qflow.audit.compliance import check_report

    check_suffix(out)
    source = key if key is not None else session.home / "node.pub"
    try:
        checked = check_report(file, load_vkey(source))
    except VerificationError as error:
        if isinstance(error.__cause__, OSError):
            raise Refusal(str(error), NOT_FOUND) from error
        if session.out.json:
            session.out.document({"file": str(file), "verdict": "INVALID", "why": str(error)})
        else:
            session.out.line(f"INVALID  {file}", "bold red")
            session.out.line(f"  {error}", "red")
        return FAILED
    with _kept(out, force=force) as part:
        _write(session, checked, (out, part), None)
    if session.out.json:
        session.out.document(document_of(checked, verdict="VERIFIED", file=str(file)))
        return None
    session.out.line(f"VERIFIED  {file}", "bold green")
    session.out.line(f"  signed by the key of {checked.report.origin}, with all of its findings")
    session.out.line(f"  and {plural(checked.receipts, 'receipt')}, each good")
    print_report(session, checked, stored=None, out=out)
    if key is None:
        session.out.note("note: the key is this home's own; to prove who signed it, use --key")
    return None


def _rules(path: Path | None) -> tuple[str | None, Rules]:
    from qflow.audit.compliance import load_rules, parse_rules

    try:
        if path is None:
            return None, load_rules()
        data = path.read_bytes()
        return data.decode("utf-8", "replace"), parse_rules(data, path.name)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}", NOT_FOUND) from error
    except ConfigError as error:
        raise Refusal(str(error), USAGE, "docs/guides/compliance.md has each kind") from error


async def _recorded(
    session: Session, text: str | None, rules: Rules, scope: Scope, step: Any
) -> Checked:
    """Judged and put on record by the node, or under the lock of the log while none runs."""
    parts: list[dict[str, Any]] = []
    async with (
        _reporter(session) as node,
        aclosing(
            node.comply(
                text,
                source=rules.source,
                flow=scope.flow,
                since=scope.since,
                until=scope.until,
            )
        ) as found,
    ):
        async for item in found:
            part = dict(item)
            if part["what"] != "progress":
                parts.append(part)
            elif step is not None:
                step(part["done"], part["whole"])
    return _verified(parts, session.home / "node.pub")


def _judged(session: Session, rules: Rules, scope: Scope, step: Any) -> Checked:
    """Judged here, from the files; nothing is stored, and a node may run beside it."""
    from qflow.audit.compliance import Subject, making_report, verify_signed
    from qflow.cli._reader import open_reader
    from qflow.clock import SystemClock
    from qflow.node._compliance import published_head
    from qflow.trust import load_or_create_key

    path, key = session.home / "log", load_or_create_key(session.home)
    subject = Subject(
        source=open_reader(path),
        path=path,
        head=published_head(path),
        subnet=session.config.subnet,
    )
    steps = making_report(subject, key, rules, scope, now_ms=SystemClock().now_ms())
    while True:
        try:
            done, whole = next(steps)
        except StopIteration as end:
            return verify_signed(end.value[1], key.vkey)
        if step is not None:
            step(done, whole)


def _verified(parts: list[dict[str, Any]], key: Path) -> Checked:
    """What came is verified here too, by the public key of the home."""
    from qflow.audit._verify import load_vkey
    from qflow.audit.compliance import Signed, verify_signed

    envelope = b"".join(_data(part) for part in parts if part["what"] == "envelope")
    blocks = {part["cid"]: _data(part) for part in parts if part["what"] == "block"}
    return verify_signed(Signed(envelope=envelope, blocks=blocks), load_vkey(key))


def _data(part: dict[str, Any]) -> bytes:
    data = part["data"]
    return data if isinstance(data, bytes) else b64decode(data)


def _reporter(session: Session) -> AbstractAsyncContextManager[Client | _Files]:
    """The node that runs in this home, or its files under the lock while none does."""
    return session.running_or(_files)


class _Files:
    """The methods of `Client` on the files of a home, in the name of the user of this process."""

    def __init__(self, compliance: Compliance, actor: str) -> None:
        self._compliance, self._actor = compliance, actor

    async def comply(
        self, rules: str | None, *, source: str, **asked: Any
    ) -> AsyncGenerator[Any, None]:
        from qflow.audit.compliance import Scope, load_rules, parse_rules

        given = load_rules() if rules is None else parse_rules(rules.encode(), source)
        parts = self._compliance.comply(given, Scope(**asked), actor=self._actor)
        async with aclosing(parts):
            async for part in parts:
                yield _plain(part)

    async def reports(self) -> list[Any]:
        return [_plain(item) for item in await self._compliance.reports()]

    async def report(self, name: str) -> AsyncGenerator[Any, None]:
        async with aclosing(self._compliance.report(name)) as parts:
            async for part in parts:
                yield _plain(part)


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(value)


@asynccontextmanager
async def _files(config: Config) -> AsyncIterator[_Files]:
    from qflow.api import actor_of
    from qflow.node._compliance import open_compliance

    if not (config.home / "log").is_dir():
        raise Refusal(f"{config.home} has no history: no node ever ran there", NOT_FOUND)
    async with open_compliance(config) as compliance:
        yield _Files(compliance, actor_of(os.getuid()))
