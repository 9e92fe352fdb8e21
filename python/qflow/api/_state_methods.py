"""The calls of the control socket about checkpoints and stored states."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from qflow.api._call import Call, Stream
from qflow.api._ports import NodeLike


class CreateCheckpoint(Call):
    method = "checkpoint"
    execution: str
    label: str | None = None
    description: str | None = None

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.create(
            self.execution, label=self.label, description=self.description, actor=actor
        )


class Checkpoints(Stream):
    method = "checkpoints"
    execution: str | None = None
    flow: str | None = None
    label: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int | None = None

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        asked = {name: getattr(self, name) for name in self.__struct_fields__}
        return node.states.list(**asked)


class ShowCheckpoint(Call):
    method = "show-checkpoint"
    name: str

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.show(self.name)


class DiffCheckpoints(Call):
    method = "diff-checkpoints"
    older: str
    newer: str
    paths: bool = False
    limit: int = 100

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.diff(self.older, self.newer, paths=self.paths, limit=self.limit)


class RestoreCheckpoint(Call):
    method = "restore-checkpoint"
    name: str
    dry_run: bool = False
    children_anew: bool = False
    or_older: bool = False

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.restore(
            self.name,
            dry_run=self.dry_run,
            children_anew=self.children_anew,
            or_older=self.or_older,
            actor=actor,
        )


class PruneCheckpoints(Call):
    method = "prune-checkpoints"
    execution: str | None = None
    keep: int | None = None
    dry_run: bool = True
    labelled: bool = False

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.prune(
            self.execution,
            keep=self.keep,
            dry_run=self.dry_run,
            labelled=self.labelled,
            actor=actor,
        )


class States(Stream):
    method = "states"
    execution: str | None = None
    flow: str | None = None
    limit: int | None = None

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.states.stored(execution=self.execution, flow=self.flow, limit=self.limit)


class VerifyStates(Stream):
    method = "verify-states"
    executions: tuple[str, ...] = ()

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.states.verify(self.executions)


class DeleteState(Call):
    method = "delete-state"
    execution: str

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.delete(self.execution, actor=actor)


class ExportStates(Stream):
    """Into a file of this machine, by the node."""

    method = "export-states"
    path: str
    executions: tuple[str, ...] = ()
    with_key: bool = True
    replace: bool = False

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.states.export(
            self.executions, self.path, with_key=self.with_key, replace=self.replace
        )


class ImportStates(Stream):
    """From a file of this machine, by the node."""

    method = "import-states"
    path: str

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.states.import_(self.path)


class RecoverStates(Stream):
    method = "recover-states"
    executions: tuple[str, ...] = ()

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.states.recover(self.executions)


class SyncStates(Stream):
    method = "sync-states"

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.states.sync()


class StateGarbage(Call):
    method = "state-garbage"
    collect: bool = False

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.states.garbage(collect=self.collect)
