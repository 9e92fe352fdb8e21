"""Checkpoints and stored states in the files of a home, while no node runs."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from qflow.cli._exit import NOT_FOUND, Refusal

if TYPE_CHECKING:
    from qflow.api._states import (
        Checkpoint,
        Deleted,
        Detail,
        Difference,
        Garbage,
        Pruned,
        Restored,
        StateStep,
        StoredState,
    )
    from qflow.config import Config
    from qflow.node._states import StateCare


class FileStates:
    """The methods of `Client.states` on files, in the name of the user of this process."""

    def __init__(self, care: StateCare, actor: str) -> None:
        self._care, self._actor = care, actor

    async def create(
        self, execution: str, *, label: str | None, description: str | None
    ) -> Checkpoint:
        return await self._care.create(
            execution, label=label, description=description, actor=self._actor
        )

    def list(self, **asked: Any) -> AsyncGenerator[Checkpoint, None]:
        return self._care.list(**asked)

    async def show(self, name: str) -> Detail:
        return await self._care.show(name)

    async def diff(self, older: str, newer: str, *, paths: bool, limit: int) -> Difference:
        return await self._care.diff(older, newer, paths=paths, limit=limit)

    async def restore(
        self, name: str, *, dry_run: bool, children_anew: bool = False, or_older: bool = False
    ) -> Restored:
        return await self._care.restore(
            name,
            dry_run=dry_run,
            children_anew=children_anew,
            or_older=or_older,
            actor=self._actor,
        )

    async def prune(
        self, execution: str | None, *, keep: int | None, dry_run: bool, labelled: bool = False
    ) -> Pruned:
        return await self._care.prune(
            execution, keep=keep, dry_run=dry_run, labelled=labelled, actor=self._actor
        )

    def stored(self, **asked: Any) -> AsyncGenerator[StoredState, None]:
        return self._care.stored(**asked)

    def verify(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        return self._care.verify(executions)

    async def delete(self, execution: str) -> Deleted:
        return await self._care.delete(execution, actor=self._actor)

    def export(
        self, executions: Sequence[str], path: str, *, with_key: bool, replace: bool
    ) -> AsyncGenerator[StateStep, None]:
        return self._care.export(executions, path, with_key=with_key, replace=replace)

    def import_(self, path: str) -> AsyncGenerator[StateStep, None]:
        return self._care.import_(path)

    def recover(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        return self._care.recover(executions)

    def sync(self) -> AsyncGenerator[StateStep, None]:
        return self._care.sync()

    async def garbage(self, *, collect: bool) -> Garbage:
        return await self._care.garbage(collect=collect)


@asynccontextmanager
async def states_of_files(config: Config) -> AsyncIterator[FileStates]:
    """Under the lock of the log. Raises LockedError when a node runs after all."""
    from qflow.api import actor_of
    from qflow.node._states_open import open_state_care

    check_home(config)
    async with open_state_care(config) as care:
        yield FileStates(care, actor_of(os.getuid()))


@asynccontextmanager
async def view_of_files(config: Config) -> AsyncIterator[FileStates]:
    """For reading only, beside whoever else does."""
    from qflow.api import actor_of
    from qflow.node._states_open import open_state_view

    check_home(config)
    with open_state_view(config) as care:
        yield FileStates(care, actor_of(os.getuid()))


def check_home(config: Config) -> None:
    """Refuse a home that is not there."""
    if not config.home.is_dir():
        hint = "qflow init makes a home; --home names one"
        raise Refusal(f"{config.home} is not there", NOT_FOUND, hint)
