"""One compaction: a snapshot made of what is on the disk, in a thread, and put in place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio
import msgspec

from qflow import _core
from qflow.clock import Clock
from qflow.state import _document_rows as rows
from qflow.state._document_attestation import Attestation
from qflow.state._document_cut import WAITS_MAX, cut_for, holding_back, operations_in
from qflow.state._document_form import About
from qflow.state._document_load import load, replay
from qflow.state._document_rows import BlockRow
from qflow.state._document_store import Added, Store, Tail, added_blocks, base_block
from qflow.state._document_words import Compacted, CompactionLimits
from qflow.trust import did_of_public

if TYPE_CHECKING:
    from qflow._core import CrdtDocument
    from qflow.state._document_live import Live

LATE_BLOCKS: Final = 32
"""Blocks written meanwhile that are taken over while writers wait; more of them before that."""
ROUNDS_MAX: Final = 8


class Planned(NamedTuple):
    """What a compaction puts in place."""

    core: CrdtDocument
    """Of the new snapshot and the log behind it."""
    base: Added
    added: Added
    """Behind the base: what stays in the log, in as few blocks as possible."""
    done: Compacted
    attestation: Attestation | None
    is_worth_it: bool
    """Otherwise nothing was sealed: there are no blocks."""


class Compaction:
    """Compacts one document once. Nothing changes before all of it is ready."""

    def __init__(
        self,
        store: Store,
        live: Live,
        clock: Clock,
        limits: CompactionLimits,
        quorum: int | None,
        is_given_up: Callable[[], bool],
    ) -> None:
        self._store, self._live, self._clock = store, live, clock
        self._limits, self._quorum, self._is_given_up = limits, quorum, is_given_up
        self._members = live.members

    async def run(self) -> Compacted:
        """Do it, and say what was done. Writers wait only for the last moment.

        Raises VerificationError, StaleError (another process wrote meanwhile), and as the database
        does; nothing has changed then."""
        began = self._clock.elapsed_ms()
        tail = self._live.tail
        planned = await anyio.to_thread.run_sync(self._plan, tail)
        if planned.attestation is not None:
            await self._live.keep_attestation(planned.attestation)
        done = planned.done
        if planned.is_worth_it and not self._is_given_up():
            await self._put_in_place(planned, tail)
        else:
            done = msgspec.structs.replace(
                done, operations=0, blocks=0, bytes_after=done.bytes_before
            )
        return msgspec.structs.replace(done, took_ms=self._clock.elapsed_ms() - began)

    # -- in a thread -----------------------------------------------------------------------

    def _plan(self, tail: Tail) -> Planned:
        live, row, owner = self._live, self._live.row, self._live.owner
        core, _, about, text, waiting = load(self._store, row, owner, live.me, tail)
        waits = holding_back(core, self._members)
        before, now = about.cut, operations_in(core.clock())
        attestations = [Attestation.parse(data) for data in live.attestations_now()]
        cut = cut_for(
            core, before, members=self._members, attestations=attestations, me=live.me,
            doc=row.id, quorum=self._quorum,
        )  # fmt: skip
        attestation = None if cut is None else cut.attestation
        if cut is not None and cut.missing:
            waits = tuple(did_of_public(member) for member in cut.missing[:WAITS_MAX])
            cut, core = None, load(self._store, row, owner, live.me, tail).core
        if cut is not None:
            text = cut.snapshot
            about = msgspec.structs.replace(
                about, cut=cut.clock, cid=cut.cid, operations=operations_in(cut.clock)
            )
        kept = now - operations_in(about.cut)
        has_log = core.stats()["changes"] > 0
        late = [(one.pack(), one.operations) for one in waiting]
        worth_it = cut is not None or has_log + len(late) < tail.blocks // 2
        base = added = Added([], [], [])
        if worth_it:
            packs = [(core.delta(about.cut), kept), *late] if has_log else late
            base = base_block(owner, tail.number + 1, about, text)
            added = added_blocks(owner, tail.number + 2, base.blocks[0][0], packs)
        done = self._done(tail, base, added, about, operations_in(before), kept, waits)
        return Planned(core, base, added, done, attestation, worth_it)

    def _done(
        self,
        tail: Tail,
        base: Added,
        added: Added,
        about: About,
        before: int,
        kept: int,
        waits: tuple[str, ...],
    ) -> Compacted:
        return Compacted(
            operations=operations_in(about.cut) - before,
            kept=kept,
            blocks=tail.blocks + 1,
            bytes_before=tail.size_bytes,
            bytes_after=sum(block.size for block in (*base.rows, *added.rows)),
            took_ms=0,
            snapshot=None if about.cid is None else str(_core.Cid(about.cid)),
            waits_for=waits if kept else (),
        )

    # -- putting it in place ---------------------------------------------------------------

    async def _put_in_place(self, planned: Planned, tail: Tail) -> None:
        """Write the new blocks, take over what was written meanwhile, and swap."""
        live, store = self._live, self._store
        parts = [*planned.base.parts, *planned.added.parts]
        await anyio.to_thread.run_sync(store.put_parts, parts, self._limits.batch_bytes)
        added, at = planned.added, tail
        for _ in range(ROUNDS_MAX):
            if live.tail.number - at.number <= LATE_BLOCKS:
                break
            added, at = await self._take_over(planned, added, at, live.tail)
        async with live.writing():
            added, at = await self._take_over(planned, added, at, live.tail)
            with anyio.CancelScope(shield=True):
                await live.put_in_place(planned.core, planned.base, added)

    async def _take_over(
        self, planned: Planned, added: Added, at: Tail, end: Tail
    ) -> tuple[Added, Tail]:
        """Have blocks from behind `at` up to `end`, too, behind those that there are."""
        if at.number == end.number:
            return added, at
        late = await anyio.to_thread.run_sync(self._late, planned, added, at, end)
        joined = Added(added.blocks + late.blocks, added.rows + late.rows, added.parts + late.parts)
        return joined, end

    def _late(self, planned: Planned, added: Added, at: Tail, end: Tail) -> Added:
        live, store, row = self._live, self._store, self._live.row

        def read(db: sqlite3.Connection) -> list[BlockRow]:
            found = rows.blocks_of(db, row.number, at.number)
            return [block for block in found if block.number <= end.number]

        blocks = store.database.read(read)
        found = list(store.packs(row, live.owner, blocks, at.head))
        replay(planned.core, row, blocks, found)
        packs = [
            (pack, block.operations)
            for block, some in zip(blocks, found, strict=True)
            for pack in some
        ]
        last = (added.rows or planned.base.rows)[-1]
        late = added_blocks(live.owner, last.number + 1, last.cid, packs)
        if late.parts:
            store.put_parts(late.parts, self._limits.batch_bytes)
        return late
