"""The calls of the control socket, one struct each: the client sends them, the node answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from qflow.api import _document_methods, _keys, _state_methods  # noqa: F401 - they declare calls
from qflow.api._call import Call, Method, Stream
from qflow.api._follow import follow
from qflow.api._ports import NodeLike
from qflow.api._source import FlowSource
from qflow.config import RetentionRule
from qflow.events import CloudEvent
from qflow.model import Execution

PROTOCOL: Final = 1


class Hello(Call):
    method = "hello"

    async def answer(self, node: NodeLike, actor: str) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "actor": actor}


class Status(Call):
    method = "status"

    async def answer(self, node: NodeLike, actor: str) -> dict[str, Any]:
        return node.status()


class Start(Call):
    method = "start"
    flow: FlowSource
    input: Any = None

    async def answer(self, node: NodeLike, actor: str) -> str:
        return await node.start(self.flow.load(), self.input, actor=actor)


class Wait(Call):
    method = "wait"
    lasting = True
    execution: str

    async def answer(self, node: NodeLike, actor: str) -> Execution:
        return await node.wait(self.execution)


class Show(Call):
    method = "show"
    execution: str

    async def answer(self, node: NodeLike, actor: str) -> Execution:
        return node.show(self.execution)


class Pause(Call):
    method = "pause"
    execution: str
    reason: str | None = None

    async def answer(self, node: NodeLike, actor: str) -> None:
        await node.pause(self.execution, actor=actor, reason=self.reason)


class Resume(Call):
    method = "resume"
    execution: str
    reason: str | None = None

    async def answer(self, node: NodeLike, actor: str) -> None:
        await node.resume(self.execution, actor=actor, reason=self.reason)


class Abort(Call):
    method = "abort"
    execution: str
    reason: str | None = None

    async def answer(self, node: NodeLike, actor: str) -> None:
        await node.abort(self.execution, actor=actor, reason=self.reason)


class Emit(Call):
    method = "emit"
    event: dict[str, Any]

    async def answer(self, node: NodeLike, actor: str) -> list[str]:
        return list(await node.emit(CloudEvent.from_mapping(self.event), actor=actor))


class Schedule(Call):
    method = "schedule"
    flow: FlowSource

    async def answer(self, node: NodeLike, actor: str) -> str:
        return await node.schedule(self.flow.load(), actor=actor)


class Unschedule(Call):
    method = "unschedule"
    key: str

    async def answer(self, node: NodeLike, actor: str) -> None:
        await node.unschedule(self.key, actor=actor)


class Hold(Call):
    method = "hold"
    reason: str
    execution: str | None = None
    flow: str | None = None
    actor: str | None = None
    since: int | None = None
    until: int | None = None

    async def answer(self, node: NodeLike, actor: str) -> Any:
        names = ("execution", "flow", "actor", "since", "until")
        selected = {name: getattr(self, name) for name in names}
        return await node.care.hold(reason=self.reason, by=actor, **selected)


class Release(Call):
    method = "release"
    hold: str
    reason: str

    async def answer(self, node: NodeLike, actor: str) -> Any:
        return await node.care.release(self.hold, reason=self.reason, actor=actor)


class Erase(Call):
    method = "erase"
    execution: str
    reason: str

    async def answer(self, node: NodeLike, actor: str) -> str:
        return await node.care.erase(self.execution, reason=self.reason, actor=actor)


class Stop(Method):
    """Answered by the socket itself, which tells whoever serves the node."""

    method = "stop"


class List(Stream):
    method = "list"
    status: str | None = None
    flow: str | None = None
    limit: int = 100
    before: str | None = None

    async def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Execution, None]:
        for item in node.list(
            status=self.status, flow=self.flow, limit=self.limit, before=self.before
        ):
            yield item


class History(Stream):
    method = "history"
    execution: str
    after: int = -1
    limit: int = 1000
    payloads: bool = False

    async def items(self, node: NodeLike, actor: str) -> AsyncGenerator[dict[str, Any], None]:
        for record in node.history(
            self.execution, after=self.after, limit=self.limit, payloads=self.payloads
        ):
            yield record


class Follow(Stream):
    method = "follow"
    lasting = True
    execution: str
    after: int = -1
    payloads: bool = False

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[dict[str, Any], None]:
        return follow(node, self.execution, after=self.after, payloads=self.payloads)


class Schedules(Stream):
    method = "schedules"

    async def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        for item in node.schedules():
            yield item


class Holds(Stream):
    method = "holds"

    async def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        for item in await node.care.holds():
            yield item


class Retain(Stream):
    """Without rules, those of the node's settings apply."""

    method = "retain"
    rules: tuple[RetentionRule, ...] | None = None
    dry_run: bool = True

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.care.retain(self.rules, actor=actor, dry_run=self.dry_run)


class Comply(Stream):
    """Without rules, those that come with Qflow apply."""

    method = "comply"
    rules: str | None = None
    source: str = ""
    flow: str | None = None
    since: int | None = None
    until: int | None = None

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        # Imported with the first report: a node that makes none needs nothing of it.
        from qflow.audit.compliance import Scope, load_rules, parse_rules

        given = self.rules
        rules = load_rules() if given is None else parse_rules(given.encode(), self.source)
        scope = Scope(flow=self.flow, since=self.since, until=self.until)
        return node.compliance.comply(rules, scope, actor=actor)


class Reports(Stream):
    method = "reports"

    async def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        for item in await node.compliance.reports():
            yield item


class ReportParts(Stream):
    method = "report"
    report: str

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        return node.compliance.report(self.report)


class Events(Stream):
    """The first item is null: from then on nothing is missed."""

    method = "events"
    lasting = True
    pattern: str = "*"

    async def items(
        self, node: NodeLike, actor: str
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        async with node.subscribe(self.pattern) as events:
            yield None
            async for event in events:
                yield event.to_mapping()


def _by_method() -> dict[str, type[Call | Stream | Stop]]:
    kinds: list[type[Call | Stream | Stop]] = [Stop]
    kinds += [*Call.__subclasses__(), *Stream.__subclasses__()]
    return {kind.method: kind for kind in kinds}


METHODS: Final = _by_method()
