"""Finding records of the whole history by what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from qflow.cli._audit import progress_bar
from qflow.cli._exit import NOT_FOUND, USAGE, Refusal
from qflow.cli._output import moment, plural
from qflow.cli._reader import open_reader
from qflow.cli._records import fact_of
from qflow.cli._when import time_ms
from qflow.errors import ExecutionNotFoundError, UnavailableError

if TYPE_CHECKING:
    from qflow.audit import Entry, History, Index, Page, Query
    from qflow.cli._session import Session

HEADERS: Final = ("TIME", "RECORD", "EXECUTION", "SEQ", "FACT", "FLOW", "STEP", "ACTOR")


def query(
    session: Session,
    asked: dict[str, Any],
    *,
    times: tuple[str | None, str | None],
    limit: int,
    reverse: bool,
    receipts: Path | None,
) -> int | None:
    """Print the records that are asked for, page by page, until the limit. 0: all of them.

    `asked` are the fields of a query, `times` its two times as they were given.
    """
    from qflow.audit import Query

    asked |= {"since": time_ms(times[0], "--since"), "until": time_ms(times[1], "--until")}
    with _history(session) as (history, index):
        if (name := asked["execution"]) is not None:
            asked["execution"] = _whole_id(index, name)
        try:
            question = Query(**asked, limit=limit or None, reverse=reverse)
            question.filter()
        except ValueError as error:
            raise Refusal(str(error), USAGE) from error
        prove = None if receipts is None else _maker(session, receipts)
        found, page = _print_pages(session, history, question, prove, receipts)
    _print_end(session, found, page, receipts)
    return None


@contextmanager
def _history(session: Session) -> Iterator[tuple[History, Index]]:
    """The history of this home. Beside a running node nothing is written."""
    from qflow.audit import History, Index

    log, path = session.home / "log", session.home / "index.db"
    if not log.is_dir():
        raise Refusal(f"{session.home} has no history: no node ever ran there", NOT_FOUND)
    source = open_reader(log)
    runs = session.run(_is_running, session)
    with closing(Index(path, read_only=runs)) as index:
        if not runs:
            with progress_bar(session.out, "indexing") as step:
                index.catch_up(source, step)
        yield History(index, source), index


async def _is_running(session: Session) -> bool:
    from qflow.api import Client

    try:
        async with Client(session.home):
            return True
    except UnavailableError:
        return False


def _whole_id(index: Index, name: str) -> str:
    """The id that a beginning stands for; the node's own chain only has its whole id."""
    from qflow import model

    try:
        return index.execution(name).id
    except ExecutionNotFoundError:
        try:
            if index.places(model.id_bytes(name.lower()), limit=1):
                return name.lower()
        except ValueError:
            pass
        raise


def _maker(session: Session, folder: Path) -> Callable[[int], bytes]:
    from qflow.audit import make_receipt

    folder.mkdir(parents=True, exist_ok=True)

    def make(index: int) -> bytes:
        try:
            return make_receipt(session.home, index=index)
        except ValueError as error:
            hint = "a running node publishes what is new within seconds"
            raise Refusal(str(error), NOT_FOUND, hint) from error

    return make


def _print_pages(
    session: Session,
    history: History,
    question: Query,
    prove: Callable[[int], bytes] | None,
    folder: Path | None,
) -> tuple[int, Page]:
    """How many records were printed, and the last page."""
    found, left = 0, question.limit
    while True:
        page = history.query(replace(question, limit=left), prove=prove)
        _print(session, page, first=found == 0)
        for entry in page.records:
            if folder is not None and entry.receipt is not None:
                _file(folder, entry).write_bytes(entry.receipt)
        found += len(page.records)
        left = None if left is None else left - len(page.records)
        if page.next is None or left == 0:
            return found, page
        question = replace(question, after=page.next)


def _file(folder: Path, entry: Entry) -> Path:
    from qflow import model
    from qflow.audit import RECEIPT_SUFFIX

    return folder / f"{model.id_text(entry.record['chain'])}-{entry.seq}{RECEIPT_SUFFIX}"


def _print(session: Session, page: Page, *, first: bool) -> None:
    if session.out.json:
        for entry in page.records:
            session.out.document(_document(entry))
    elif page.records:
        rows = [_row(entry) for entry in page.records]
        session.out.table(HEADERS if first else ("",) * len(HEADERS), rows)


def _row(entry: Entry) -> tuple[str, ...]:
    from qflow import model

    record = entry.record
    return (
        f"{moment(record['at'])}.{record['at'] % 1000:03d}",
        str(entry.index),
        model.id_text(record["chain"]),
        str(entry.seq),
        fact_of(record).replace("_", " "),
        record["flow"],
        record.get("step") or "",
        record["actor"],
    )


def _document(entry: Entry) -> dict[str, Any]:
    from qflow import model

    said = dict(entry.record)
    said.pop("v")
    return {
        "index": entry.index,
        "execution": model.id_text(said.pop("chain")),
        **said,
        "prev": said["prev"].hex(),
        "hash": entry.hash.hex(),
        "payload": None if said["payload"] is None else str(said["payload"]),
    }


def _print_end(session: Session, found: int, page: Page, receipts: Path | None) -> None:
    out = session.out
    if out.json:
        end = {"found": found, "next": page.next, "size": page.size, "ended": page.ended}
        out.document({"page": end})
        return
    if found == 0:
        out.note(f"no such record among {page.size:,}")
    elif page.next is not None:
        out.note(f"{plural(found, 'record')}, and there may be more: --after {page.next}")
    elif page.ended is not None:
        state = "it is over" if page.ended else "it goes on"
        out.note(f"{plural(found, 'record')}; the chain has no gap, and {state}")
    else:
        out.note(f"{plural(found, 'record')}, all that there are among {page.size:,}")
    if receipts is not None and found:
        out.note(f"receipts are in {receipts}: qflow audit check-receipt {receipts}/*")
