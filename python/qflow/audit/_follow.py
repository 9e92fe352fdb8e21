"""Keeps the index near the head of a log while the node runs."""

from __future__ import annotations

from typing import Final

import anyio

from qflow.audit._index import Index
from qflow.audit._log import Log
from qflow.diagnostics import logger
from qflow.errors import UnavailableError

COALESCE_S: Final = 0.1
"""How far the index may lag for those who look at it from outside; the node itself catches up
before it asks. One transaction for all commits of this time costs a fraction of one each."""
RETRY_S: Final = 5.0
"""After the index could not be written; the log does not need it."""

_log = logger("qflow.audit")


async def follow(index: Index, log: Log, *, coalesce_s: float = COALESCE_S) -> None:
    """Project new records until cancelled, in a worker thread.

    A batch that has begun when the cancellation comes is finished first. An index that cannot be
    written is tried again later, with a line in the program's log. Raises CorruptError when the
    log is at fault.
    """
    while True:
        try:
            size = await anyio.to_thread.run_sync(_step, index, log)
        except UnavailableError as error:
            _log.warning("index is behind", why=str(error))
            await anyio.sleep(RETRY_S)
            continue
        await log.grown(size)
        await anyio.sleep(coalesce_s)


def _step(index: Index, log: Log) -> int:
    index.catch_up(log)
    index.follow_pruning(log)
    index.compact()
    return index.size
