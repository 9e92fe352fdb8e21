"""Documents of a running node, for `Client.documents`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from qflow.api import _document_methods as methods
from qflow.api._call import Call, Stream
from qflow.api._documents import (
    Compaction,
    Found,
    ShownConflict,
    ShownOperation,
    StoredDocument,
    Written,
)

_Kind = TypeVar("_Kind")


class DocumentClient:
    """What `Node.documents` does."""

    def __init__(
        self,
        call: Callable[[Call], Any],
        items: Callable[[Stream], AsyncGenerator[Any, None]],
    ) -> None:
        self._call, self._items = call, items

    def list(self) -> AsyncGenerator[StoredDocument, None]:
        """The documents of the home, by name."""
        return self._each(methods.Documents(), StoredDocument)

    async def get(
        self, name: str, path: str = "", *, strategy: str | None = None, at: bytes | None = None
    ) -> Found:
        """What is at a path, now or at an earlier clock. See `state.Document.get`."""
        call = methods.ReadDocument(name=name, path=path, strategy=strategy, at=at)
        return msgspec.convert(await self._call(call), Found)

    async def change(
        self,
        name: str,
        changes: Sequence[tuple[str, str, Any]],
        *,
        operation: str | None = None,
    ) -> Written:
        """Make all changes (verb, path, value) in one transaction. Durable on return. With an
        `operation` that was done before nothing is done."""
        call = methods.ChangeDocument(name=name, changes=tuple(changes), operation=operation)
        return msgspec.convert(await self._call(call), Written)

    def conflicts(self, name: str, path: str = "") -> AsyncGenerator[ShownConflict, None]:
        """What was written at the same time at or beneath a path."""
        return self._each(methods.DocumentConflicts(name=name, path=path), ShownConflict)

    def history(
        self, name: str, path: str = "", *, limit: int = 100
    ) -> AsyncGenerator[ShownOperation, None]:
        """The operations at and beneath a path, the newest first."""
        call = methods.DocumentHistory(name=name, path=path, limit=limit)
        return self._each(call, ShownOperation)

    async def compact(self, name: str) -> Compaction:
        """Put a snapshot in the place of what all members have seen."""
        return msgspec.convert(await self._call(methods.CompactDocument(name=name)), Compaction)

    async def _each(self, call: Stream, kind: type[_Kind]) -> AsyncGenerator[_Kind, None]:
        async with aclosing(self._items(call)) as items:
            async for item in items:
                yield msgspec.convert(item, kind)
