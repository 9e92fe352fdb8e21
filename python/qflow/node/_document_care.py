"""What commands and the control socket ask of documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qflow import _core, model
from qflow.api._documents import (
    Compaction,
    Found,
    ShownConflict,
    ShownOperation,
    ShownSibling,
    StoredDocument,
    Written,
)
from qflow.errors import QflowError
from qflow.node._document_values import json_of
from qflow.node._documents import SharedDocuments
from qflow.trust import did_of_public

if TYPE_CHECKING:
    from qflow.state import Document

_ABSENT = object()


class DocumentCare:
    """Fills `api.DocumentKeeper`: for a running node, or for the files of a home."""

    def __init__(self, shared: SharedDocuments) -> None:
        self._shared = shared
        self.opened = shared.opened

    async def list(self) -> AsyncGenerator[StoredDocument, None]:
        """The documents of the home, by name."""
        for item in await self._shared.documents.list():
            yield StoredDocument(
                name=item.name,
                id=model.id_text(item.id),
                state=item.state,
                created=item.created_ms,
                blocks=item.blocks,
                bytes=item.size_bytes,
                operations=item.operations,
            )

    async def get(
        self, name: str, path: str = "", *, strategy: str | None = None, at: bytes | None = None
    ) -> Found:
        """What is at a path, now or at an earlier clock."""
        with _told():
            async with self._shared.opened(name) as document:
                if at is None:
                    value = document.get(path, _ABSENT, strategy)
                elif strategy is None:
                    value = _earlier(document, at).get(path, _ABSENT)
                else:
                    raise ValueError("a strategy is for what stands now, not for an earlier clock")
                found = value is not _ABSENT
                return Found(
                    document=name,
                    path=path,
                    found=found,
                    value=json_of(value) if found else None,
                    clock=document.clock if at is None else at,
                )

    async def change(
        self,
        name: str,
        changes: Sequence[tuple[str, str, Any]],
        *,
        operation: str | None = None,
    ) -> Written:
        """Make all changes in one transaction; a document that is not there is made."""
        with _told():
            clock = await self._shared.change(name, changes, operation=operation)
            return Written(document=name, clock=clock)

    async def conflicts(self, name: str, path: str = "") -> AsyncGenerator[ShownConflict, None]:
        """What was written at the same time at or beneath a path."""
        async with self._shared.opened(name) as document:
            with _told():
                found = [_conflict(document, item) for item in document.conflicts(path)]
        for item in found:
            yield item

    async def history(
        self, name: str, path: str = "", *, limit: int = 100
    ) -> AsyncGenerator[ShownOperation, None]:
        """The operations at and beneath a path, the newest first."""
        async with self._shared.opened(name) as document:
            with _told():
                found = [_operation(item) for item in document.history(path, limit)]
        for item in found:
            yield item

    async def compact(self, name: str) -> Compaction:
        """Put a snapshot in the place of what all members have seen."""
        async with self._shared.opened(name) as document:
            done = await document.compact()
        return Compaction(
            document=name,
            operations=done.operations,
            kept=done.kept,
            bytes_before=done.bytes_before,
            bytes_after=done.bytes_after,
            took_ms=done.took_ms,
            snapshot=done.snapshot,
            waits_for=done.waits_for,
        )


@contextmanager
def _told() -> Generator[None]:
    """A path or a value that no document takes is the caller's mistake, and said across the
    socket in words."""
    try:
        yield
    except QflowError:
        raise
    except ValueError as error:
        raise QflowError(str(error)) from error


def _earlier(document: Document, clock: bytes) -> _core.CrdtDocument:
    try:
        return document.at(clock)
    except ValueError as error:
        raise ValueError(f"not a clock of {document.name}: {error}") from error


def _conflict(document: Document, found: Any) -> ShownConflict:
    values: tuple[ShownSibling, ...] = ()
    if found.kind == "set":
        values = tuple(
            ShownSibling(value=json_of(one.value), node=did_of_public(one.replica))
            for one in document.siblings(found.path)
        )
    return ShownConflict(
        id=found.id,
        path=found.path,
        kind=found.kind,
        operations=tuple(str(_core.Cid(cid)) for cid in found.operations),
        values=values,
    )


def _operation(found: Mapping[str, Any]) -> ShownOperation:
    return ShownOperation(
        path=found["path"],
        kind=found["kind"],
        value=json_of(found.get("value")),
        node=did_of_public(found["replica"]),
        seq=found["seq"],
        lamport=found["lamport"],
        change=str(_core.Cid(found["change"])),
    )
