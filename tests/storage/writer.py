"""A process that stores and pins until it fails, and says what was acknowledged."""

from __future__ import annotations

import os
import sqlite3
import sys
from functools import partial
from pathlib import Path
from threading import Semaphore
from typing import Any

from qflow import _core
from qflow.storage import Block, Database, SqliteBlocks, _file

ROUNDS = 6
SIZE = 20_000


def blocks_of(number: int) -> list[Block]:
    """A root and two parts that say whose they are; one part is the round's before too."""
    parts = [b"%d " % part + b"x" * SIZE for part in (number, number - 1)]
    leaves = [(bytes(_core.cid_of(data, "raw")), data) for data in parts]
    root = _core.encode({"number": number, "parts": [_core.Cid(cid) for cid, _ in leaves]})
    return [*leaves, (bytes(_core.cid_of(root)), root)]


def keep(store: SqliteBlocks, db: sqlite3.Connection, *, number: int) -> int:
    """One transaction: a round's blocks and their pin, in place of the one three before."""
    blocks = blocks_of(number)
    store.put_blocks(db, blocks)
    store.pin_block(db, blocks[-1][0], str(number))
    if number >= 3:
        before = blocks_of(number - 3)[-1][0]
        store.unpin_block(db, before)
        store.delete_blocks(db, [before])
    return number


def main(path: Path) -> None:
    # So small that these few commits fill it, and it is made longer and written back.
    _file.WAL_BYTES = 128 << 10  # type: ignore[misc]
    _file.WAL_FIRST_BYTES = 0  # type: ignore[misc]
    store = SqliteBlocks(Database(path))
    os.write(1, b"ready\n")
    sys.stdin.readline()
    answered = Semaphore(0)

    def done(result: Any, error: Exception | None) -> None:
        try:
            if error is None:
                os.write(1, b"%d\n" % result)
        except OSError:
            os._exit(1)  # who cannot say so has acknowledged nothing
        answered.release()

    for number in range(ROUNDS):
        store.database.submit(partial(keep, store, number=number), done)
        answered.acquire()
    if store.database.poisoned:
        sys.exit(1)
    store.database.close()
    os.write(1, b"closed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
