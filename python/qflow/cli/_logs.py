"""Printing the records of one execution, as they are or as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._records import line_of, style_of

if TYPE_CHECKING:
    from qflow.cli._session import Session

PAGE_RECORDS: Final = 200


def logs(session: Session, execution: str, *, follow: bool, payloads: bool) -> int | None:
    """Print records in order; with `follow`, until the execution is over."""

    async def main() -> None:
        if follow:
            async with session.running() as client:
                records = client.follow(execution, payloads=payloads or not session.out.json)
                async with aclosing(records):
                    async for record in records:
                        _print(session, record, payloads=payloads)
            return
        async with session.either() as node:
            async for record in _pages(node, execution, payloads or not session.out.json):
                _print(session, record, payloads=payloads)

    session.run(main)
    return None


async def _pages(node: Any, execution: str, payloads: bool) -> AsyncIterator[dict[str, Any]]:
    found = (await node.show(execution)).id
    after = -1
    while True:
        page = await node.history(found, after=after, limit=PAGE_RECORDS, payloads=payloads)
        for record in page:
            yield record
            after = record["seq"]
        if len(page) < PAGE_RECORDS:
            return


def _print(session: Session, record: dict[str, Any], *, payloads: bool) -> None:
    if session.out.json:
        session.out.document(record)
    else:
        session.out.line(line_of(record, payloads=payloads), style_of(record))
