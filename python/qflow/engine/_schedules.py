"""Flows that start by themselves: every, cron, after. Each due time starts one execution, once.

The firing and the start are one commit, so a crash between them cannot happen. Due times that
passed while the node was down are made up for by one start, not by many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import anyio
import msgspec
from cronsim import CronSim

from qflow import model
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.engine._duration import duration_s
from qflow.engine._engine import Engine
from qflow.engine._flow import Flow
from qflow.engine._replay import Row, rows
from qflow.engine._state import FINAL, Fact
from qflow.engine._timers import Due, Timers
from qflow.errors import BusyError, FlowError, PoisonedError, QflowError

_log = logger(__name__)


class NodeChain(Protocol):
    """The node's own chain of records; rows as `rows` gives them."""

    def records(
        self, rows: Sequence[Row], actor: str
    ) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """The next records of the chain; they must go to the log at once, in this order."""
        ...

    def take_back(self) -> None:
        """The log did not take the last ones: the chain is where it was."""
        ...

    async def append(self, rows: Sequence[Row], actor: str) -> None:
        """Durable on return. Raises BusyError; then the chain is where it was."""
        ...


class Firing(msgspec.Struct, frozen=True):
    """The record that a schedule fired, which goes to the log beside the start."""

    chain: Any
    rows: list[Row]
    actor: str

    def records(self) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        made: tuple[list[bytes], list[tuple[bytes, bytes]]]
        made = self.chain.records(self.rows, self.actor)
        return made

    def take_back(self) -> None:
        self.chain.take_back()


def next_due(schedule: model.Schedule, now: int, finished_at: int | None) -> int | None:
    """The due time to wait for: the latest one that passed, or the next. UTC ms.

    None: it follows an execution that is not over. Pure.
    """
    rule = schedule.rule
    if "after" in rule:
        if schedule.execution is None:
            return schedule.since
        return None if finished_at is None else finished_at + _ms(rule["after"])
    last = schedule.since if schedule.fired_at is None else schedule.fired_at
    if "every" in rule:
        step = _ms(rule["every"])
        return last + step * max(1, (now - last) // step)
    latest = _cron(rule["cron"], now + 1, back=True)
    return latest if latest > last else _cron(rule["cron"], max(last, now))


def _cron(text: str, from_ms: int, *, back: bool = False) -> int:
    """The next time behind a moment, or the last before it. It was checked that there are any."""
    moment = datetime.fromtimestamp(from_ms / 1000, UTC)
    return round(next(CronSim(text, moment, reverse=back)).timestamp() * 1000)


def _ms(duration: Any) -> int:
    return max(1, round(duration_s(duration) * 1000))


class Schedules:
    """The schedules of a node. `run` fires them; additions are durable on return."""

    def __init__(self, engine: Engine, chain: NodeChain, clock: Clock) -> None:
        self._engine, self._chain, self._clock = engine, chain, clock
        self._known: dict[str, model.Schedule] = {}
        self._flows: dict[str, Flow] = {}
        self._by_execution: dict[str, str] = {}
        self._timers = Timers(clock, self._due)
        self._ready: list[Due] = []
        self._wake = anyio.Event()

    def restore(
        self,
        known: Sequence[model.Schedule],
        flow_of: Callable[[model.Schedule], Flow],
        view: Callable[[str], model.Execution | None],
    ) -> None:
        """Take up what the log knows, before `run`."""
        for schedule in known:
            try:
                self._flows[schedule.key] = flow_of(schedule)
            except QflowError as error:
                _log.error("a schedule stays shut", schedule=schedule.key, error=str(error))
                continue
            last = view(schedule.execution) if schedule.execution else None
            finished = last.updated_at if last is not None and last.status in FINAL else None
            self._plan(schedule, finished)

    async def add(self, flow: Flow, actor: str) -> model.Schedule:
        """Start a flow by its `schedule` from now on; it replaces one of the same name."""
        rule = flow.document.get("schedule")
        if not rule:
            raise FlowError(f"{flow.key} has no schedule section")
        key = f"{flow.namespace}/{flow.name}"
        meta = {"key": key, "rule": rule}
        if flow.base is not None:
            rule = meta["rule"] = {**rule, "base": flow.base}
        now = self._clock.now_ms()
        fact = Fact(kind="scheduled", payload=flow.document, meta=meta)
        await self._record(key, fact, actor)
        self._flows[key] = flow
        made = model.Schedule(key=key, flow=flow.key, definition="", rule=rule, since=now)
        self._plan(made, None)
        return self._known[key]

    async def remove(self, key: str, actor: str) -> None:
        """Start it no more. Executions that it started go on."""
        if key not in self._known:
            raise FlowError(f"no schedule {key!r}; there are: {', '.join(self._known) or 'none'}")
        await self._record(key, Fact(kind="unscheduled", meta={"key": key}), actor)
        self._flows.pop(key, None)
        self._timers.keep(key)

    async def _record(self, key: str, fact: Fact, actor: str) -> None:
        """Append what ends the schedule of this name, which from now on does not fire.

        Shielded: whoever asked may go, and memory still follows the log.
        """
        known = self._known.pop(key, None)
        try:
            with anyio.CancelScope(shield=True):
                await self._chain.append(rows([fact]), actor)
        except BusyError:
            if known is not None:
                self._plan(known, None)
            raise

    def list(self) -> list[model.Schedule]:
        return sorted(self._known.values(), key=lambda schedule: schedule.key)

    def finished(self, execution: str, at: int) -> None:
        """An execution is over: what comes after it is planned."""
        key = self._by_execution.pop(execution, None)
        schedule = self._known.get(key) if key is not None else None
        if schedule is not None and schedule.execution == execution and "after" in schedule.rule:
            self._plan(schedule, at)

    async def run(self) -> None:
        """Fire what is due, for ever."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._timers.run)
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                ready, self._ready = self._ready, []
                for due in ready:
                    await self._fire(due)

    def _plan(self, schedule: model.Schedule, finished_at: int | None) -> None:
        due = next_due(schedule, self._clock.now_ms(), finished_at)
        self._known[schedule.key] = msgspec.structs.replace(schedule, next_at=due)
        if due is not None:
            self._timers.add(Due(due, schedule.key, None, "schedule"))
        elif schedule.execution is not None:
            self._by_execution[schedule.execution] = schedule.key

    def _due(self, due: Due) -> None:
        self._ready.append(due)
        self._wake.set()

    async def _fire(self, due: Due) -> None:
        schedule = self._known.get(due.execution)
        if schedule is None or schedule.next_at != due.at:
            return
        key, name = schedule.key, model.id_text(model.new_id(self._clock.now_ms()))
        fired = msgspec.structs.replace(schedule, fired_at=due.at, execution=name, next_at=None)
        self._known[key] = fired
        self._by_execution[name] = key
        try:
            await self._start(fired)
        except PoisonedError:
            # The node stops, and says why itself.
            return
        except QflowError as error:
            _log.error("a schedule could not start its flow", schedule=key, error=str(error))
            del self._by_execution[name]
        else:
            if "after" in schedule.rule:
                return
        # It may have been removed or replaced meanwhile.
        if self._known.get(key) is fired:
            self._plan(fired, self._clock.now_ms())

    async def _start(self, fired: model.Schedule) -> None:
        meta = {"key": fired.key, "due": fired.fired_at, "execution": fired.execution}
        fact = Fact(kind="schedule_fired", meta=meta)
        await self._engine.start(
            self._flows[fired.key],
            {},
            actor=f"schedule:{fired.key}",
            name=fired.execution,
            beside=Firing(self._chain, rows([fact]), fired.key),
        )
