"""A process that writes a document until it fails, and says which writes are durable."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio

from qflow.errors import QflowError
from qflow.state import CompactionLimits, Document, Documents
from qflow.state._document_live import Live
from qflow.storage import Database, SqliteBlocks
from qflow.trust import Keyring, load_or_create_key

WRITES = 8
NAME = "shop/cart"
LIMITS = CompactionLimits(operations=10**9, size_bytes=1 << 40, blocks=10**9)


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[Documents, None]:
    """The documents of a home with real keys."""
    key = load_or_create_key(path)
    with closing(Keyring(path, lambda: key.seed)) as keys:
        keys.hold()
        with Database(path / "state.db") as database:
            blocks = SqliteBlocks(database)
            async with Documents(
                blocks, subnet="default", keys=keys, signer=key, limits=LIMITS
            ) as documents:
                yield documents


async def step(cart: Document) -> int:
    """One write, told by its number; a failed one has changed nothing in memory."""
    number = int(cart.get("/n", 0))
    seen, clock = cart.get(), cart.clock
    try:
        async with cart.transaction(op=f"write-{number}") as t:
            t.set(f"/of/{number}", f"{number} " + "x" * 3000)
            t.increment("/n")
        if number == WRITES // 2:
            await cart.compact()
    except QflowError:
        if cart.get("/n", 0) == number:
            assert (cart.get(), cart.clock) == (seen, clock)
        raise
    return number


async def work(path: Path) -> None:
    async with opened(path) as documents:
        cart = await documents.open(NAME)
        for _ in range(WRITES):
            os.write(1, b"%d\n" % await step(cart))


def main(path: Path, die: str | None) -> None:
    if die is not None:

        async def show(live: Live, checked: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        Live.show = show  # type: ignore[assignment, method-assign]
    os.write(1, b"ready\n")
    sys.stdin.readline()
    try:
        anyio.run(work, path)
    except (QflowError, OSError) as error:
        os.write(2, f"{error!r}\n".encode())
        sys.exit(1)
    os.write(1, b"closed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
