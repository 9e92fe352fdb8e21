"""Checkpoints that no decision asks for: those that somebody asks for, and those that are due."""

from __future__ import annotations

from typing import Final
from unicodedata import category

import anyio

from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.engine._ledger import Ledger
from qflow.engine._live import Live
from qflow.engine._sealed import ASKED, TIME, Asked, Checkpoint
from qflow.errors import ExecutionStateError, PoisonedError

LABEL_CHARS_MAX: Final = 100
DESCRIPTION_CHARS_MAX: Final = 1000
"""Both stand in a record."""
_NO_LINE: Final = ("Cc", "Zl", "Zp")
"""Unicode categories: control characters, and what ends a line or a paragraph."""
_ROUND_MS: Final = 1000
_ROUND_MAX: Final = 64
"""Executions that are checkpointed in a round because it is time, and the rest of a round is for
others: those that only wait have to be read first."""
_log = logger(__name__)


async def ask(
    ledger: Ledger, live: Live, *, actor: str, label: str | None, description: str | None
) -> tuple[Checkpoint, str]:
    """Make a checkpoint of an execution as it stands; durable in the store on return, with the CID
    of its version.

    Raises ExecutionStateError when none can be made, StaleError, PoisonedError.
    """
    _check("label", label, LABEL_CHARS_MAX)
    if label is not None and any(category(letter) in _NO_LINE for letter in label):
        raise ExecutionStateError("a label has no control characters and is one line")
    _check("description", description, DESCRIPTION_CHARS_MAX)
    kept = anyio.Event()
    found: list[tuple[str | None, Exception | None]] = []

    def told(version: str | None, error: Exception | None) -> None:
        found.append((version, error))
        kept.set()

    asked = Asked(why=ASKED, label=label, description=description)
    try:
        batch, made = ledger.checkpoint(live, asked, actor, told)
    except ValueError as error:
        raise ExecutionStateError(f"no checkpoint of {live.id} can be made: {error}") from None
    await ledger.durable(batch)
    await kept.wait()
    ((version, why),) = found
    if version is None or why is not None:
        raise why or PoisonedError("the store of states has stopped")
    return made, version


async def by_time(ledger: Ledger, clock: Clock, every_s: float) -> None:
    """Checkpoint every execution whose first fact since its last checkpoint is `every_s` old, until
    cancelled. While the store has no room, they wait."""
    every_ms = round(every_s * 1000)
    while True:
        now, first = clock.now_ms(), ledger.changed.first
        due = now if first is None else min(first, now)
        await clock.sleep_until(max(due + every_ms, now + _ROUND_MS))
        for _ in range(_ROUND_MAX):
            if ledger.failed is not None or not ledger.has_room:
                break
            execution = ledger.changed.take(clock.now_ms() - every_ms)
            if execution is None:
                break
            _make(ledger, execution)
            # Each may be large: others have their turn in between.
            await anyio.lowlevel.checkpoint()
        await ledger.room()


def _make(ledger: Ledger, execution: str) -> None:
    live = ledger.reach(execution)
    if live is None or live.key is None or not live.since:
        return
    try:
        batch, _ = ledger.checkpoint(live, Asked(why=TIME))
    except (ValueError, PoisonedError) as error:
        _log.warning("no checkpoint is made", execution=execution, error=str(error))
    else:
        ledger.submit(batch)


def _check(name: str, text: str | None, chars_max: int) -> None:
    if text is not None and not 0 < len(text) <= chars_max:
        raise ExecutionStateError(f"a {name} has 1 to {chars_max} characters, not {len(text)}")
