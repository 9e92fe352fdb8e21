"""Checkpoints and stored states of a running node, for `Client.states`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from qflow.api import _state_methods as methods
from qflow.api._call import Call, Stream
from qflow.api._states import (
    Brought,
    Checkpoint,
    Deleted,
    Detail,
    Difference,
    Exported,
    Garbage,
    Pruned,
    Restored,
    StateStep,
    StoredState,
    Synced,
    Verified,
)

_Kind = TypeVar("_Kind")
_Ask = Callable[[Call], Any]
_Items = Callable[[Stream], AsyncGenerator[Any, None]]


class StateClient:
    """What `Node.states` does, in the name of the user of this process."""

    def __init__(self, call: _Ask, items: _Items) -> None:
        self._call, self._items = call, items

    async def create(
        self, execution: str, *, label: str | None = None, description: str | None = None
    ) -> Checkpoint:
        """Write down the state of an execution that is not over. Durable on return."""
        call = methods.CreateCheckpoint(execution=execution, label=label, description=description)
        return msgspec.convert(await self._call(call), Checkpoint)

    def list(self, **asked: Any) -> AsyncGenerator[Checkpoint, None]:
        """Checkpoints, newest first: of an `execution`, a `flow`, a `label`, of times from `since`
        to before `until`, at most `limit`."""
        return self._each(methods.Checkpoints(**asked), Checkpoint)

    async def show(self, name: str) -> Detail:
        """One checkpoint by its CID, or the newest of an execution; or the beginning of either."""
        return msgspec.convert(await self._call(methods.ShowCheckpoint(name=name)), Detail)

    async def diff(self, older: str, newer: str, *, paths: bool, limit: int) -> Difference:
        """What changed between two checkpoints of one execution; with `paths` no values."""
        call = methods.DiffCheckpoints(older=older, newer=newer, paths=paths, limit=limit)
        return msgspec.convert(await self._call(call), Difference)

    async def restore(
        self, name: str, *, dry_run: bool, children_anew: bool = False, or_older: bool = False
    ) -> Restored:
        """Bring an execution and those that it waits for into the log of this node. Durable on
        return. Another checkpoint than one that is named is taken only with `or_older`."""
        call = methods.RestoreCheckpoint(
            name=name, dry_run=dry_run, children_anew=children_anew, or_older=or_older
        )
        return msgspec.convert(await self._call(call), Restored)

    async def prune(
        self, execution: str | None, *, keep: int | None, dry_run: bool, labelled: bool = False
    ) -> Pruned:
        """Delete all but the newest `keep` checkpoints of one execution or of each. Those with a
        label stay, and are not counted; with `labelled` they are as the others."""
        call = methods.PruneCheckpoints(
            execution=execution, keep=keep, dry_run=dry_run, labelled=labelled
        )
        return msgspec.convert(await self._call(call), Pruned)

    def stored(self, **asked: Any) -> AsyncGenerator[StoredState, None]:
        """Executions that have a stored state: of one `execution` or a `flow`, at most `limit`."""
        return self._each(methods.States(**asked), StoredState)

    def verify(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        """Verify the stored states of these executions, or of all."""
        return self._steps(methods.VerifyStates(executions=tuple(executions)), Verified)

    async def delete(self, execution: str) -> Deleted:
        """Delete every checkpoint of an execution, with its pins."""
        return msgspec.convert(await self._call(methods.DeleteState(execution=execution)), Deleted)

    def export(
        self, executions: Sequence[str], path: str, *, with_key: bool, replace: bool
    ) -> AsyncGenerator[StateStep, None]:
        """Write a CAR file, whole or not at all. The node writes it: `path` is absolute."""
        call = methods.ExportStates(
            executions=tuple(executions), path=path, with_key=with_key, replace=replace
        )
        return self._steps(call, Exported)

    def import_(self, path: str) -> AsyncGenerator[StateStep, None]:
        """Take checkpoints out of a CAR file. The node reads it: `path` is absolute."""
        return self._steps(methods.ImportStates(path=path), Brought)

    def recover(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        """Fetch checkpoints of these executions, or all, from the Kubo endpoints."""
        return self._steps(methods.RecoverStates(executions=tuple(executions)), Brought)

    def sync(self) -> AsyncGenerator[StateStep, None]:
        """Bring every Kubo endpoint up to date."""
        return self._steps(methods.SyncStates(), Synced)

    async def garbage(self, *, collect: bool) -> Garbage:
        """Blocks that nothing names; with `collect` they are deleted."""
        return msgspec.convert(await self._call(methods.StateGarbage(collect=collect)), Garbage)

    async def _each(self, call: Stream, kind: type[_Kind]) -> AsyncGenerator[_Kind, None]:
        async with aclosing(self._items(call)) as items:
            async for item in items:
                yield msgspec.convert(item, kind)

    async def _steps(self, call: Stream, kind: type[Any]) -> AsyncGenerator[StateStep, None]:
        async with aclosing(self._each(call, StateStep)) as steps:
            async for step in steps:
                if step.result is not None:
                    result = msgspec.convert(step.result, kind)
                    step = msgspec.structs.replace(step, result=result)
                yield step
