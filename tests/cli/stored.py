"""Stored states in memory: what the commands about them can see of a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from msgspec.structs import replace

from qflow.api._states import (
    Brought,
    Change,
    Checkpoint,
    Deleted,
    Detail,
    Difference,
    Endpoint,
    Exported,
    Fault,
    Garbage,
    Pin,
    Pruned,
    Refused,
    Restored,
    StateStep,
    StoredState,
    Synced,
    Verified,
)
from qflow.errors import BlockNotFoundError, ExecutionStateError

EXECUTION = "01k9x" + "0" * 21
EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\r"


def checkpoint(number: int, **fields: Any) -> Checkpoint:
    known: dict[str, Any] = {
        "cid": f"bafyreic{number}" + "a" * 50, "execution": EXECUTION, "number": number,
        "epoch": 0, "previous": None, "at": 1_767_323_045_000 + number, "node": "did:key:zTest",
        "seq": 10 * number + 5, "head": f"{number:064x}", "state": "bafyreis" + "b" * 51,
        "flow": "shop/order/1.0.0", "status": "waiting", "label": None, "description": None,
        "why": "asked", "size": 4096, "frames": 2,
    }  # fmt: skip
    return Checkpoint(**known | fields)


class StoredStates:
    """Answers as `Node.states` does, with what the test put there."""

    def __init__(self, *items: Checkpoint) -> None:
        self.items = list(items)
        self.calls: list[tuple[str, Any]] = []
        self.refused: tuple[Refused, ...] = ()
        self.faults: tuple[Fault, ...] = ()
        self.endpoints: tuple[Endpoint, ...] = ()
        self.difference: tuple[Change, ...] = ()
        self.missing: tuple[str, ...] = ()
        """Executions that others wait for, without a checkpoint."""

    def _find(self, name: str) -> Checkpoint:
        for item in self.items:
            if item.cid.startswith(name) or item.execution.startswith(name):
                return item
        raise BlockNotFoundError(f"there is no checkpoint {name!r}")

    async def create(self, execution: str, **fields: Any) -> Checkpoint:
        self.calls.append(("create", fields))
        found = self._find(execution)
        if found.status == "completed":
            raise ExecutionStateError(f"execution {execution} is over")
        return replace(found, label=fields["label"], description=fields["description"])

    async def list(self, **asked: Any) -> AsyncGenerator[Checkpoint, None]:
        self.calls.append(("list", asked))
        for item in self.items[: asked["limit"]]:
            yield item

    async def show(self, name: str) -> Detail:
        return Detail(
            checkpoint=self._find(name),
            blocks=12,
            bytes=70_000,
            shared_blocks=9,
            shared_bytes=60_000,
            trusted=True,
            in_log="matches",
            pins=(
                Pin(endpoint="http://127.0.0.1:5001", status="pinned"),
                Pin(endpoint="http://127.0.0.1:5002", status="owed", error="refused"),
            ),
        )

    async def diff(self, older: str, newer: str, *, paths: bool, limit: int) -> Difference:
        return Difference(
            older=self._find(older),
            newer=self._find(newer),
            changes=self.difference[:limit],
            more=len(self.difference[limit:]),
            entered=("/do/1/ask",),
            left=("/do/0/look",),
        )

    async def restore(
        self,
        name: str,
        *,
        dry_run: bool,
        actor: str,
        children_anew: bool = False,
        or_older: bool = False,
    ) -> Restored:
        self.calls.append(("restore", (name, dry_run, actor)))
        if self.missing and not children_anew:
            raise ExecutionStateError(f"it waits for {self.missing[0]}: --children-anew")
        parent, *children = (
            Restored(
                asked=self.refused[0].cid if self.refused else item.cid,
                taken=item.cid,
                checkpoint=item,
                verified=("signature", "seal"),
                refused=self.refused,
                records=6,
                present=2,
                status="waiting",
                dry_run=dry_run,
            )
            for item in (self._find(name), *self.items[1:])
        )
        return replace(parent, children=tuple(children), anew=self.missing)

    async def prune(
        self,
        execution: str | None,
        *,
        keep: int | None,
        dry_run: bool,
        actor: str,
        labelled: bool = False,
    ) -> Pruned:
        self.calls.append(("prune", (execution, keep, dry_run)))
        deleted = tuple(self.items[keep or 1 :])
        return Pruned(deleted=deleted, blocks=3, bytes=999, dry_run=dry_run)

    async def stored(self, **asked: Any) -> AsyncGenerator[StoredState, None]:
        for item in self.items:
            if asked["execution"] is None or item.execution.startswith(asked["execution"]):
                yield StoredState(
                    newest=item, versions=2, blocks=12, bytes=70_000, pins_owed=1, in_log=False
                )

    async def verify(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        yield StateStep(done=0, whole=1)
        yield StateStep(
            result=Verified(
                ok=not self.faults, executions=1, versions=2, blocks=12, bytes=70_000,
                records=30, findings=self.faults, more=0,
            )
        )  # fmt: skip

    async def delete(self, execution: str, *, actor: str) -> Deleted:
        self.calls.append(("delete", execution))
        name = self._find(execution).execution
        return Deleted(execution=name, versions=2, blocks=12, bytes=70_000, pins_owed=1)

    async def export(
        self, executions: Sequence[str], path: str, *, with_key: bool, replace: bool
    ) -> AsyncGenerator[StateStep, None]:
        self.calls.append(("export", (tuple(executions), path, with_key, replace)))
        yield StateStep(done=1, whole=2)
        yield StateStep(
            result=Exported(
                path=path, checkpoints=tuple(self.items), blocks=12, bytes=70_000,
                keys=int(with_key), refused=self.refused, children=len(self.items) - 1,
                missing=self.missing,
            )
        )  # fmt: skip

    async def import_(self, path: str) -> AsyncGenerator[StateStep, None]:
        self.calls.append(("import", path))
        yield StateStep(result=self._brought())

    async def recover(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        self.calls.append(("recover", tuple(executions)))
        yield StateStep(result=self._brought())

    def _brought(self) -> Brought:
        return Brought(
            taken=tuple(self.items), known=1, keys=1, refused=self.refused, diverged=(),
            blocks=12, bytes=70_000, endpoints=self.endpoints,
        )  # fmt: skip

    async def sync(self) -> AsyncGenerator[StateStep, None]:
        yield StateStep(result=Synced(endpoints=self.endpoints))

    async def garbage(self, *, collect: bool) -> Garbage:
        return Garbage(blocks=4, bytes=999, collected=collect)
