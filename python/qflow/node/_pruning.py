"""Cutting off the oldest part of a log, and carrying across the cut what still counts.

What would be lost with the records that go is said again behind the cut before they go: legal
holds, schedules, and the documents of flows that later executions name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import anyio
import msgspec

from qflow import _core, model
from qflow.audit import History, Index, Log
from qflow.audit._own import OwnChain, Row
from qflow.audit._prune import Cut, Pruning, find_cut, prune
from qflow.audit._retention import HELD, Holds
from qflow.engine._replay import type_of
from qflow.errors import BusyError, CorruptError, ExecutionNotFoundError

PAGE: Final = 200
_SEGMENT_BITS: Final = 32
"""Of an address, below the number of the segment (docs/formats/log.md)."""

Stays = Callable[[model.Execution], str | None]
"""Why an execution stays; None when its records may go."""
Stored = Callable[[int], set[str]]
"""From now on, store again what lies before this address. Gives the documents (CIDs) that
executions on their way to the log may count on."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log can be cut, and what keeps the rest."""

    cut: Cut | None
    why: str
    """What keeps the records behind the cut."""
    definitions: frozenset[str] = frozenset()
    """Documents of the executions that stay."""


class Pruner:
    """Prunings of one log, by its only writer."""

    def __init__(
        self,
        *,
        own: OwnChain,
        index: Index,
        history: History,
        log: Log,
        stored: Stored | None = None,
    ) -> None:
        self._own, self._index, self._history, self._log = own, index, history, log
        self._stored = stored or (lambda _: set())

    def plan(self, stays: Stays, scheduled: Mapping[str, int], size: int) -> Plan:
        """Where the log can be cut. Looks at every execution, unless nothing can go anyway; blocks.

        `scheduled` has the place of the record that each schedule began with, among the first
        `size` records at least. Nothing behind those goes, since nobody has looked at it.
        """
        segments = self._log.segments
        if len(segments) < 2:
            return Plan(cut=None, why="the log has one journal file, and that is in use")
        second, bound, why = segments[1][1], size, "the newest journal file is in use"
        definitions = set()
        self._index.catch_up(self._log)
        for reason, view in self._staying(stays):
            definitions.add(view.definition)
            if (first := self._first(view.id)) < bound:
                bound, why = first, f"{view.id}: {reason}"
            if bound < second:
                return Plan(cut=None, why=why)
        for reason, first in self._schedules(scheduled):
            if first < bound:
                bound, why = first, reason
        cut = find_cut(self._log, bound)
        return Plan(cut=cut, why=why, definitions=frozenset(definitions))

    def _staying(self, stays: Stays) -> Iterator[tuple[str, model.Execution]]:
        before = None
        while True:
            page = self._index.executions(limit=PAGE, before=before)
            for view in page:
                if (reason := stays(view)) is not None:
                    yield reason, view
            if len(page) < PAGE:
                return
            before = page[-1].id

    def _schedules(self, scheduled: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        """What a schedule counts its next time from: its beginning, or the execution it follows."""
        for schedule in self._index.schedules():
            if schedule.execution is None:
                # One that is not known there began since.
                if (first := scheduled.get(schedule.key)) is not None:
                    yield f"schedule {schedule.key} counts from it", first
            elif "after" in schedule.rule:
                try:
                    first = self._first(schedule.execution)
                except ExecutionNotFoundError:
                    continue
                yield f"schedule {schedule.key} follows {schedule.execution}", first

    def _first(self, execution: str) -> int:
        """The index of the first record that the log has of an execution."""
        places = self._index.places(model.id_bytes(execution), 0, 1)
        if not places:
            raise ExecutionNotFoundError(f"the log has no execution {execution}")
        return places[0].log_index

    async def prune(
        self, plan: Plan, cut: Cut, holds: Callable[[], Holds], *, reason: str, actor: str
    ) -> Pruning | None:
        """Carry across, then cut. Durable on return; the index is made anew.

        `holds` folds the own chain to its end and blocks. After a crash in between, the log is
        whole and says some things twice, which does no harm. Raises BusyError.
        """
        floor = cut.segment << _SEGMENT_BITS
        documents = partial(self._documents, plan.definitions, self._stored(floor), floor)
        blocks = await anyio.to_thread.run_sync(documents)
        await self._carry(cut, holds, blocks, actor)
        try:
            return await prune(self._log, self._own, cut.minimum, reason=reason, actor=actor)
        finally:
            # Also when the caller went, or not all that was cut off could be deleted.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._index.follow_pruning, self._log)

    async def _carry(
        self, cut: Cut, holds: Callable[[], Holds], blocks: list[tuple[bytes, bytes]], actor: str
    ) -> None:
        while True:
            seq = self._own.seq
            standing = await anyio.to_thread.run_sync(holds)
            rows: list[Row] = [(HELD, None, None, None, hold.meta()) for hold in standing]
            rows += await anyio.to_thread.run_sync(self._said_again)
            # What the chain said meanwhile may have ended what is said again here.
            if self._own.seq == seq:
                break
        if not rows and not blocks:
            return
        records, payloads = self._own.records(rows, actor) if rows else ([], [])
        try:
            await self._log.append(records, list(dict([*payloads, *blocks]).items()))
        except (BusyError, ValueError):
            if rows:
                self._own.take_back()
            raise
        await anyio.to_thread.run_sync(self._index.catch_up, self._log)

    def _said_again(self) -> list[Row]:
        """The schedules that stand and have started something, each with its last start.

        Of the others a record behind the cut tells: it is what their next time is counted from.
        """
        rows: list[Row] = []
        for schedule in self._index.schedules():
            if schedule.fired_at is None:
                continue
            document = _core.decode(self._history.block(_core.Cid(schedule.definition)))
            meta: dict[str, Any] = {"key": schedule.key, "rule": dict(schedule.rule)}
            rows.append((type_of("scheduled"), None, None, (document,), meta))
            meta = {"key": schedule.key, "due": schedule.fired_at}
            meta["execution"] = schedule.execution
            rows.append((type_of("schedule_fired"), None, None, None, meta))
        return rows

    def _documents(
        self, staying: frozenset[str], coming: set[str], floor: int
    ) -> list[tuple[bytes, bytes]]:
        """The documents that lie before an address, to be stored behind it. Those of executions
        that are coming may be on their way to the log themselves."""
        self._index.catch_up(self._log)
        blocks = []
        for text in sorted(staying | coming):
            cid = _core.Cid(text)
            known = self._index.block(bytes(cid))
            if known is None and text in staying:
                raise CorruptError(f"the log has no document {text}")
            if known is not None and known[0] < floor:
                blocks.append((bytes(cid), self._history.block(cid)))
        return blocks
