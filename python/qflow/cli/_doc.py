"""Documents, on the running node or in the files while none runs."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qflow import errors
from qflow.cli._checkpoint import SHORT
from qflow.cli._exit import FAILED, NOT_FOUND, OK, USAGE, Refusal
from qflow.cli._input import read_value
from qflow.cli._output import day, plural, size
from qflow.cli._retain import check_texts
from qflow.clock import SystemClock

if TYPE_CHECKING:
    from qflow.api._document_client import DocumentClient
    from qflow.api._documents import Compaction, Found, ShownConflict, ShownOperation, Written
    from qflow.cli._session import Session
    from qflow.node._document_care import DocumentCare

VALUE_CHARS_MAX: Final = 60
"""Of a value in a table; the JSON form has all of it."""
_T = TypeVar("_T")


@asynccontextmanager
async def keeper(
    session: Session, *, changing: bool
) -> AsyncIterator[DocumentClient | DocumentCare]:
    """Whoever keeps the documents of this home: the running node, or its files."""
    from qflow.api import Client
    from qflow.cli._doc_offline import documents_of_files, view_of_files

    async with session.running_or(documents_of_files if changing else view_of_files) as found:
        yield found.documents if isinstance(found, Client) else found


def ask(
    session: Session,
    question: Callable[[DocumentClient | DocumentCare], Awaitable[_T]],
    *,
    changing: bool = False,
) -> _T:
    """Ask whoever keeps the documents. What is refused is said with what to do."""

    async def main() -> _T:
        async with keeper(session, changing=changing) as documents:
            return await question(documents)

    try:
        return session.run(main)
    except errors.DocumentNotFoundError as error:
        raise Refusal(str(error), NOT_FOUND, "qflow doc list shows what there is") from error
    except errors.TypeMismatchError as error:
        raise Refusal(str(error), FAILED, "qflow doc get shows what is there") from error
    except errors.QflowError as error:
        if type(error) is errors.QflowError:
            raise Refusal(str(error), USAGE) from error
        raise


async def _all(items: Any) -> list[Any]:
    async with aclosing(items):
        return [item async for item in items]


def list_(session: Session) -> int | None:
    """Print the documents."""
    found = ask(session, lambda documents: _all(documents.list()))
    if session.out.json:
        session.out.document(found)
    elif not found:
        session.out.note("no documents")
    else:
        now = SystemClock().now_ms()
        headers = ("DOCUMENT", "STATE", "SINCE", "BLOCKS", "SIZE", "OPERATIONS")
        rows = [
            (
                item.name,
                item.state,
                day(item.created, now),
                f"{item.blocks:,}",
                size(item.bytes),
                f"{item.operations:,}",
            )
            for item in found
        ]
        session.out.table(headers, rows)
    return None


def get(
    session: Session, name: str, path: str, *, strategy: str | None, at: str | None
) -> int | None:
    """Print a value; 3 when there is none."""
    check_texts(name=name, path=path or None, strategy=strategy)
    clock = None if at is None else _clock(at)
    found: Found = ask(
        session, lambda documents: documents.get(name, path, strategy=strategy, at=clock)
    )
    if session.out.json:
        session.out.document(found)
        return OK if found.found else NOT_FOUND
    if not found.found:
        what = f"{name} has nothing at {path}" if path else f"{name} is empty"
        raise Refusal(what, NOT_FOUND, f"qflow doc get {name} prints all of it")
    session.out.value(found.value)
    return None


def _clock(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        hint = "qflow doc get NAME --json prints one"
        raise Refusal("--at is no clock of a document", USAGE, hint) from None


def set_(
    session: Session,
    name: str,
    path: str,
    text: str | None,
    *,
    verbs: list[str],
    operation: str | None,
) -> int | None:
    """Write at a path."""
    check_texts(name=name, path=path or None, operation=operation)
    if len(verbs) > 1:
        raise Refusal(f"--{verbs[0]} and --{verbs[1]} do two things", USAGE, "do one of them")
    verb = verbs[0] if verbs else "set"
    if (text is None) != (verb == "delete"):
        what = "--delete takes no value" if text is not None else f"{verb} needs a value"
        raise Refusal(what, USAGE, "qflow doc set --help")
    value = read_value(text, "VALUE")
    if verb == "append":
        value = [value]
    done: Written = ask(
        session,
        lambda documents: documents.change(name, [(verb, path, value)], operation=operation),
        changing=True,
    )
    if session.out.json:
        session.out.document({"document": name, "clock": done.clock, "durable": True})
    else:
        session.out.line(f"{name}  {verb} {path or 'all'}")
    return None


def conflicts(session: Session, name: str, path: str) -> int | None:
    """Print conflicts."""
    check_texts(name=name, path=path or None)
    found: list[ShownConflict] = ask(session, lambda docs: _all(docs.conflicts(name, path)))
    if session.out.json:
        session.out.document(found)
        return None
    if not found:
        session.out.note("no conflicts")
    for item in found:
        operations = plural(len(item.operations), "operation")
        session.out.line(f"{item.kind:<10}{item.path or '(all)'}  {operations}  {item.id}")
        for at, one in enumerate(item.values):
            shown = "shown" if at == 0 else "kept"
            session.out.line(f"  {shown:<8}{_short(one.value)}  {one.node}")
    return None


def history(session: Session, name: str, path: str, *, limit: int) -> int | None:
    """Print operations."""
    check_texts(name=name, path=path or None)
    found: list[ShownOperation] = ask(
        session, lambda documents: _all(documents.history(name, path, limit=limit))
    )
    if session.out.json:
        session.out.document(found)
        return None
    if not found:
        session.out.note("no operations in the log")
        return None
    headers = ("TIME", "KIND", "PATH", "VALUE", "CHANGE", "NODE")
    rows = [
        (
            f"{item.lamport}",
            item.kind,
            item.path or "(all)",
            "" if item.value is None else _short(item.value),
            item.change[:SHORT],
            item.node,
        )
        for item in found
    ]
    session.out.table(headers, rows)
    return None


def compact(session: Session, name: str) -> int | None:
    """Compact one document now."""
    check_texts(name=name)
    done: Compaction = ask(session, lambda documents: documents.compact(name), changing=True)
    if session.out.json:
        from qflow.api import to_plain

        session.out.document({**to_plain(done), "durable": True})
        return None
    sizes = f"{size(done.bytes_before)} to {size(done.bytes_after)}"
    session.out.line(f"{name}  {plural(done.operations, 'operation')} compacted, {sizes}")
    if done.kept:
        waits = f"; it waits for {', '.join(done.waits_for)}" if done.waits_for else ""
        session.out.note(f"{plural(done.kept, 'operation')} stay in the log{waits}")
    return None


def _short(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 3] + "..."
