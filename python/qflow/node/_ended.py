"""Saved states of executions that are over: they go when nobody is likely to look at them again."""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio

from qflow import model
from qflow.audit import Index
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.engine._state import FINAL
from qflow.errors import ExecutionNotFoundError, PoisonedError, QflowError
from qflow.state import States

EVERY_MS: Final = 3_600_000
FIRST_MS: Final = 60_000
"""After a start: also a node that is started often comes to it."""
_DAY_MS: Final = 86_400_000
_PAGE: Final = 200
_log = logger(__name__)


async def forget_ended(states: States, index: Index, clock: Clock, days: float) -> None:
    """Delete the versions of executions that were over for so many days; again and again, until
    cancelled."""
    wait_ms = FIRST_MS
    while True:
        await clock.sleep_until(clock.now_ms() + wait_ms)
        wait_ms = EVERY_MS
        before = clock.now_ms() - round(days * _DAY_MS)
        try:
            await anyio.to_thread.run_sync(partial(forget, states, index, before))
        except PoisonedError:
            # The node stops, and says why itself.
            return
        except (QflowError, OSError) as error:
            _log.error("states of ended executions stay", error=str(error))


def forget(states: States, index: Index, before: int) -> int:
    """Delete the versions of executions that were over before a time (UTC ms); how many executions
    that were. Those of executions that this log does not know stay. Blocks."""
    done, after = 0, None
    while True:
        page = states.list(newest=True, limit=_PAGE, after=after)
        for saved in page.versions:
            if _is_over(index, saved.chain, before):
                states.delete(chain=saved.chain)
                done += 1
        if (after := page.next) is None:
            return done


def _is_over(index: Index, chain: bytes, before: int) -> bool:
    try:
        view = index.execution(model.id_text(chain))
    except ExecutionNotFoundError:
        return False
    return view.status in FINAL and view.updated_at < before
