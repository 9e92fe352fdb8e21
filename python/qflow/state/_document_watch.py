"""Who follows a document: changes after they are durable, bounded; who is too slow is told."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from qflow.errors import UnavailableError
from qflow.state._document_words import Changed, is_under

QUEUE_MAX: Final = 256
"""Changes that a reader may be behind; then the oldest go, and a gap says how many."""
PATHS_MAX: Final = 1000
"""Of one change; with more it is said to be of the whole document."""
READERS_MAX: Final = 1024


class Watchers:
    """The readers of one document. All calls belong to one event loop."""

    def __init__(self, queue_max: int = QUEUE_MAX) -> None:
        self._bound = queue_max
        self._readers: set[_Reader] = set()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._readers)

    def tell(self, paths: Sequence[str], *, local: bool, operations: int) -> None:
        """Something at these paths is another than before, and durable. Never waits."""
        if len(paths) > PATHS_MAX:
            paths = [""]
        for reader in self._readers:
            reader.take(paths, local, operations)

    def close(self) -> None:
        """Every iteration ends, once what waits was read."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    @asynccontextmanager
    async def reading(self, path: str) -> AsyncGenerator[AsyncIterator[Changed], None]:
        """What changes at a path and beneath, from now on, until the document is closed.

        Raises UnavailableError when it is closed, or has READERS_MAX readers."""
        if self._closed:
            raise UnavailableError("the document was closed")
        if len(self._readers) >= READERS_MAX:
            raise UnavailableError(f"{READERS_MAX} readers follow this document already")
        reader = _Reader(path, self._bound)
        self._readers.add(reader)
        reading = reader.read()
        try:
            yield reading
        finally:
            self._readers.discard(reader)
            await reading.aclose()


class _Reader:
    def __init__(self, path: str, bound: int) -> None:
        self._path, self._bound = path, bound
        self._queue: deque[Changed] = deque()
        self._lost = 0
        self._closed = False
        self._ready = anyio.Event()

    def take(self, paths: Sequence[str], local: bool, operations: int) -> None:
        # A change of an ancestor may have changed what is beneath it.
        mine = tuple(one for one in paths if is_under(one, self._path) or is_under(self._path, one))
        if not mine:
            return
        if len(self._queue) >= self._bound:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(Changed(paths=mine, local=local, operations=operations))
        self._ready.set()

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    async def read(self) -> AsyncGenerator[Changed, None]:
        while True:
            while not (self._queue or self._closed):
                self._ready = anyio.Event()
                await self._ready.wait()
            if self._lost:
                lost, self._lost = self._lost, 0
                yield Changed(paths=(self._path,), local=False, lost=lost)
            elif self._queue:
                yield self._queue.popleft()
            else:
                return
