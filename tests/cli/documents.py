"""Documents in memory, for tests of what `qflow doc` asks and prints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from qflow.api._documents import (
    Compaction,
    Found,
    ShownConflict,
    ShownOperation,
    ShownSibling,
    StoredDocument,
    Written,
)
from qflow.errors import DocumentNotFoundError, QflowError, TypeMismatchError

EVIL = "e\x1b[31m\u202evil"
ADA, BOB = "did:key:zAda", "did:key:zBob"


class KeptDocuments:
    """Notes the changes; shows one document, `shop/cart`."""

    def __init__(self) -> None:
        self.value: Any = {"items": {"tea": 2}, "note": EVIL}
        self.changes: list[tuple[Any, ...]] = []

    def _known(self, name: str) -> None:
        if name != "shop/cart":
            raise DocumentNotFoundError(f"no document is called {name!r}")

    async def list(self) -> AsyncGenerator[StoredDocument, None]:
        yield StoredDocument(
            name="shop/cart",
            id="0" * 26,
            state="alive",
            created=1_767_323_045_000,
            blocks=3,
            bytes=4096,
            operations=1234,
        )

    async def get(
        self, name: str, path: str = "", *, strategy: str | None = None, at: bytes | None = None
    ) -> Found:
        self._known(name)
        if path and not path.startswith("/"):
            raise QflowError(f"{path!r} is no JSON Pointer")
        value, found = self.value, True
        for key in path.split("/")[1:]:
            found = found and isinstance(value, dict) and key in value
            value = value[key] if found else None
        if strategy == "keep-all":
            value = [value]
        return Found(document=name, path=path, found=found, value=value, clock=at or b"\x00now")

    async def change(
        self, name: str, changes: Sequence[tuple[str, str, Any]], *, operation: str | None = None
    ) -> Written:
        for verb, path, value in changes:
            if verb == "increment" and path == "/note":
                raise TypeMismatchError("/note is a text: it cannot be incremented")
            self.changes.append((name, verb, path, value, operation))
        return Written(document=name, clock=b"\x00then")

    async def conflicts(self, name: str, path: str = "") -> AsyncGenerator[ShownConflict, None]:
        self._known(name)
        values = (ShownSibling(value=1, node=ADA), ShownSibling(value=EVIL, node=BOB))
        yield ShownConflict(
            id="ab" * 16, path="/a", kind="set", operations=("bafA", "bafB"), values=values
        )
        yield ShownConflict(id="cd" * 16, path="", kind="type", operations=("bafA",))

    async def history(
        self, name: str, path: str = "", *, limit: int = 100
    ) -> AsyncGenerator[ShownOperation, None]:
        self._known(name)
        for seq in range(min(limit, 3), 0, -1):
            yield ShownOperation(
                path="/items/tea",
                kind="set",
                value="x" * 100 if seq == 1 else seq,
                node=ADA,
                seq=seq,
                lamport=seq,
                change="bafyrei" + "a" * 52,
            )

    async def compact(self, name: str) -> Compaction:
        self._known(name)
        return Compaction(
            document=name,
            operations=1200,
            kept=34,
            bytes_before=4096,
            bytes_after=1024,
            took_ms=5,
            snapshot="bafySnap",
            waits_for=(BOB,),
        )
