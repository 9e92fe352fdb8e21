"""An execution's records as they are made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from qflow.api._ports import NodeLike
from qflow.events import CloudEvent

PAGE_RECORDS: Final = 500
PAGE_RECORDS_WITH_PAYLOADS: Final = 32
"""A payload has up to 1 MiB: fewer records at once."""

EXEC: Final = "q.qflow.exec."
FINAL_TYPES: Final = frozenset(f"{EXEC}{fact}.v1" for fact in ("completed", "faulted", "aborted"))
"""The types of record behind which a chain has no more."""


async def follow(
    node: NodeLike, execution: str, *, after: int = -1, payloads: bool = False
) -> AsyncGenerator[dict[str, Any], None]:
    """The records behind sequence number `after`, then new ones, until the execution is final."""
    found = node.show(execution).id
    page_records = PAGE_RECORDS_WITH_PAYLOADS if payloads else PAGE_RECORDS
    # Subscribed before the first read, so that nothing falls between reading and waiting.
    async with node.subscribe(f"{EXEC}*") as events:
        while True:
            page = node.history(found, after=after, limit=page_records, payloads=payloads)
            for record in page:
                yield record
                after = record["seq"]
                if record["type"] in FINAL_TYPES:
                    return
            if len(page) < page_records:
                await _news_of(found, events)


async def _news_of(execution: str, events: AsyncIterator[CloudEvent]) -> None:
    async for event in events:
        # An event without a subject is a gap marker: what was lost may have been ours.
        if event.subject is None or event.subject == execution:
            return
