"""Executions set aside, while their chains in the log are made longer by a restore."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from qflow.engine._ledger import Ledger
from qflow.errors import ExecutionStateError


class Planned(Protocol):
    """What a restore found of a chain in the log, and is about to append."""

    @property
    def present(self) -> int:
        """Records that the log has."""
        ...

    @property
    def missing(self) -> int:
        """Records that it is to get."""
        ...


@asynccontextmanager
async def set_aside(
    ledger: Ledger, plans: Mapping[str, Planned], go_on: Callable[[str], None]
) -> AsyncGenerator[set[str], None]:
    """While the block runs, nothing is decided of these executions, here or not. Behind it they go
    on from their chains as the log has them then, the last one first; after an error, those that
    were shut before stay shut.

    Gives those that were set aside: one that lacks nothing and goes on here is left alone, as its
    attempts under way would be lost for nothing. Raises ExecutionStateError when one has more
    records than were found; then nothing was changed.
    """
    aside = {
        execution: plan.present
        for execution, plan in plans.items()
        if plan.missing or ledger.reach(execution) is None
    }
    await ledger.settled()
    for execution, present in aside.items():
        known = ledger.view(execution)
        if present != (0 if known is None else known.seq + 1):
            raise ExecutionStateError(f"{execution} went on meanwhile; nothing was changed")
    shut = {execution: ledger.shut.get(execution) for execution in aside}
    for execution in aside:
        ledger.shut[execution] = ExecutionStateError(f"{execution} is being restored")
        ledger.lives.drop(execution)
    try:
        yield set(aside)
    except BaseException:
        _bring_back(ledger, shut, go_on)
        raise
    _bring_back(ledger, dict.fromkeys(shut), go_on)


def _bring_back(
    ledger: Ledger, shut: dict[str, Exception | None], go_on: Callable[[str], None]
) -> None:
    for execution, error in shut.items():
        del ledger.shut[execution]
        if error is not None:
            ledger.shut[execution] = error
    for execution in reversed(shut):
        if shut[execution] is None:
            go_on(execution)
