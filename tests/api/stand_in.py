"""A node in memory: what the control socket can see of one, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import msgspec

from qflow.errors import ExecutionNotFoundError, ExecutionStateError
from qflow.events import Bus, CloudEvent
from qflow.model import Execution, Schedule
from tests.api.ticks import Ticks

FLOW = {
    "document": {"dsl": "1.0.3", "namespace": "test", "name": "small", "version": "1.0.0"},
    "do": [{"greet": {"set": {"hello": "world"}}}],
}


class StandIn:
    """Executions that do what the test says, with records that the test adds."""

    def __init__(self) -> None:
        self.clock = Ticks()
        self.bus = Bus(clock=self.clock, source="did:key:zTest")
        self.executions: dict[str, Execution] = {}
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.emitted: list[CloudEvent] = []
        self.actors: list[str] = []
        self.care: Any = None
        self.compliance: Any = None
        self.states: Any = None
        self.documents: Any = None
        self.keys: Any = None
        self.known: dict[str, Schedule] = {}
        self.waiting = 0
        self.over = anyio.Event()
        self.starting: anyio.Event | None = None
        """When set, `start` waits for it."""
        self.asked = anyio.Event()

    async def start(self, flow: Any, input: Any = None, *, actor: str = "local") -> str:
        self.asked.set()
        if self.starting is not None:
            await self.starting.wait()
        name = f"{len(self.executions):026d}"
        self.executions[name] = Execution(
            id=name, flow=flow.key, status="running", started_at=1, updated_at=1, seq=-1
        )
        self.records[name] = []
        self.actors.append(actor)
        self.add(name, "created", value=input)
        return name

    def add(self, execution: str, fact: str, **fields: Any) -> None:
        """One more record, told on the bus as a node does."""
        records = self.records[execution]
        record = {
            "seq": len(records), "index": 100 + len(records), "type": f"q.qflow.exec.{fact}.v1",
            "step": None, "attempt": None, "at": self.clock.now_ms(), "actor": "local",
            "meta": {}, "payload": None, **fields,
        }  # fmt: skip
        records.append(record)
        changes: dict[str, Any] = {"seq": record["seq"], "updated_at": record["at"]}
        if fact in ("completed", "faulted", "aborted", "paused"):
            changes["status"] = fact
        found = self.executions[execution]
        self.executions[execution] = msgspec.structs.replace(found, **changes)
        event = CloudEvent(
            id=f"{execution}/{record['seq']}", source="/x", type=record["type"], subject=execution
        )
        self.bus.publish(event)

    async def wait(self, execution: str) -> Execution:
        self.waiting += 1
        try:
            await self.over.wait()
        finally:
            self.waiting -= 1
        return self.show(execution)

    def list(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Execution]:
        found = sorted(self.executions.values(), key=lambda item: item.id, reverse=True)
        return [
            item
            for item in found
            if (status is None or item.status == status) and (before is None or item.id < before)
        ][:limit]

    def show(self, execution: str) -> Execution:
        matches = [item for name, item in self.executions.items() if name.startswith(execution)]
        if len(matches) != 1:
            raise ExecutionNotFoundError(f"there is no execution {execution!r}")
        return matches[0]

    def history(
        self, execution: str, *, after: int = -1, limit: int = 1000, payloads: bool = False
    ) -> Sequence[dict[str, Any]]:
        return self.records[execution][after + 1 :][:limit]

    async def pause(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> None:
        self.actors.append(actor)
        if self.show(execution).status == "paused":
            raise ExecutionStateError(f"execution {execution} is paused; it cannot be paused")
        self.add(execution, "paused", meta={"reason": reason})

    async def resume(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> None:
        self.add(execution, "resumed", meta={"reason": reason})

    async def abort(
        self, execution: str, *, actor: str = "local", reason: str | None = None
    ) -> None:
        self.add(execution, "aborted", meta={"reason": reason})

    async def emit(self, event: CloudEvent, *, actor: str = "local") -> Sequence[str]:
        self.emitted.append(event)
        return list(self.executions)

    async def schedule(self, flow: Any, *, actor: str = "local") -> str:
        key = f"{flow.namespace}/{flow.name}"
        self.known[key] = Schedule(
            key=key, flow=flow.key, definition="b", rule={"every": "PT1H"}, since=1
        )
        return key

    def schedules(self) -> Sequence[Schedule]:
        return [*self.known.values()]

    async def unschedule(self, key: str, *, actor: str = "local") -> None:
        del self.known[key]

    def subscribe(
        self, pattern: str = "*"
    ) -> AbstractAsyncContextManager[AsyncIterator[CloudEvent]]:
        return self.bus.subscribe(pattern)

    def status(self) -> dict[str, Any]:
        return {"size": 7, "executions": {"running": len(self.executions)}}
