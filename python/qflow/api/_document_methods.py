"""The calls of the control socket about documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from qflow.api._call import Call, Stream
from qflow.api._ports import NodeLike


class Documents(Stream):
    method = "documents"

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.documents.list()


class ReadDocument(Call):
    method = "read-document"
    name: str
    path: str = ""
    strategy: str | None = None
    at: bytes | None = None

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.documents.get(self.name, self.path, strategy=self.strategy, at=self.at)


class ChangeDocument(Call):
    method = "change-document"
    name: str
    changes: tuple[tuple[str, str, Any], ...]
    operation: str | None = None

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.documents.change(self.name, self.changes, operation=self.operation)


class DocumentConflicts(Stream):
    method = "document-conflicts"
    name: str
    path: str = ""

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.documents.conflicts(self.name, self.path)


class DocumentHistory(Stream):
    method = "document-history"
    name: str
    path: str = ""
    limit: int = 100

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.documents.history(self.name, self.path, limit=self.limit)


class CompactDocument(Call):
    method = "compact-document"
    name: str

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.documents.compact(self.name)
