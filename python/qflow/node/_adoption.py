"""A chain that came from elsewhere goes to this home's log: the very records, verified.

A version carries its chain from record 0. What the log has of it must be the beginning of it; the
rest is appended in pieces, so that a crash leaves a longer beginning, with which the next restore
goes on. The last piece has a record of the node's own chain with it, in one append: only then may
a node go on with the execution: `is_restored`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import anyio
import msgspec

from qflow import _core, model
from qflow.audit import History, Index, Log, Query
from qflow.audit._own import OwnChain, Row
from qflow.audit._read import GENESIS, TERMINAL
from qflow.engine._replay import type_of
from qflow.engine._state import FINAL
from qflow.errors import (
    BusyError,
    ExecutionNotFoundError,
    ExecutionStateError,
    VerificationError,
)
from qflow.state import Block, Saved, States

RESTORED: Final = "q.qflow.state.restored.v1"
PIECE_RECORDS_MAX: Final = 256
PIECE_BYTES_MAX: Final = 4 << 20
"""Of an append; one payload more at most."""
_CREATED: Final = type_of("created")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What of a chain is here, and what is missing."""

    present: int
    """Records that the log has."""
    missing: int
    definition: str
    """The CID of the flow's document."""


class Adoption:
    """Restores into one log, by its only writer: a running node, or whoever has its lock."""

    def __init__(
        self,
        *,
        states: States,
        log: Log,
        index: Index,
        history: History,
        own: OwnChain,
        subnet: str,
    ) -> None:
        self._states, self._log, self._index = states, log, index
        self._history, self._own, self._subnet = history, own, subnet

    async def plan(self, saved: Saved) -> Plan:
        """Look at all of a version's chain, and at what the log has of it. Changes nothing.

        Raises ExecutionStateError, which says which is ahead, when the log has another history of
        the execution or a longer one, VerificationError when the chain is not good, ErasedError,
        UnavailableError.
        """
        return await anyio.to_thread.run_sync(self._plan, saved)

    def stands(self, chain: bytes, saved: Saved | None) -> bool:
        """Whether the log has a chain, and has gone on from this version of it, if there is one.
        Blocks."""
        self._index.catch_up(self._log)
        last = self._history.last(chain)
        if last is None or saved is None:
            return last is not None
        if last.seq <= saved.seq:
            return False
        (entry,) = self._history.records(chain, after=saved.seq - 1, limit=1)
        # A chain that is over may have lost its beginning to a pruning.
        return entry.seq > saved.seq or entry.hash == saved.head

    def is_open(self, execution: str) -> bool:
        """Whether the log has an execution that is not over. Blocks."""
        self._index.catch_up(self._log)
        try:
            return self._index.execution(execution).status not in FINAL
        except ExecutionNotFoundError:
            return False

    async def adopt(self, saved: Saved, *, actor: str) -> Plan:
        """Append what the log lacks of a version's chain; what was missing is there, durably, on
        return. Nothing may be decided of the execution meanwhile.

        Again is no harm; after an error or a crash, do it again. Raises as `plan`, PoisonedError.
        """
        plan = await self.plan(saved)
        # A newer version may lie here, which was refused or not asked for: what follows is kept
        # behind this one. And as long as the log has not all of it, nobody goes on with the rest.
        await anyio.to_thread.run_sync(self._states.go_on_from, saved.cid)
        pieces = self._pieces(saved, plan)
        piece = await anyio.to_thread.run_sync(next, pieces, None)
        while piece is not None:
            following = await anyio.to_thread.run_sync(next, pieces, None)
            last = None if following is not None else _row(saved, plan.missing)
            await self._append(*piece, last, actor)
            piece = following
        if not plan.missing and not await anyio.to_thread.run_sync(
            is_restored, self._history, model.id_text(saved.chain), saved.seq
        ):
            await self._append([], [], _row(saved, 0), actor)
        await anyio.to_thread.run_sync(self._index.catch_up, self._log)
        return plan

    async def _append(
        self, records: list[bytes], blocks: list[Block], last: Row | None, actor: str
    ) -> None:
        """One piece; with the last one a record of the own chain."""
        while True:
            size, more, more_blocks = self._log.size, list[bytes](), list[Block]()
            if last is not None:
                more, more_blocks = self._own.records([last], actor)
            try:
                # Handed over before the first wait, so that the own chain stays in order.
                await self._log.append([*records, *more], [*blocks, *more_blocks])
                return
            except (BusyError, ValueError) as error:
                if last is not None:
                    self._own.take_back()
                if isinstance(error, ValueError):
                    raise
                await self._log.grown(size)

    # -- looking ---------------------------------------------------------------------------

    def _plan(self, saved: Saved) -> Plan:
        self._index.catch_up(self._log)
        here = self._history.records(saved.chain, after=-1, limit=1)
        last = self._history.last(saved.chain) if here else None
        present = 0 if last is None else last.seq + 1
        name = model.id_text(saved.chain)
        if here and here[0].seq:
            raise ExecutionStateError(f"the log has lost the beginning of {name} to a pruning")
        if last is not None and last.seq > saved.seq:
            self._check_ahead(saved, last.seq)
        if last is not None and last.record["type"] in TERMINAL:
            raise ExecutionStateError(f"{name} is over in this home")
        definition = ""
        for seq, data, _ in self._walk(saved):
            if seq == 0:
                definition = str(_core.decode_record(data)["meta"].get("definition"))
            if last is not None and seq == last.seq and _core.record_hash(data) != last.hash:
                raise ExecutionStateError(
                    f"this home has another history of {name}: it ends with its own record {seq}"
                )
        self._check_document(saved, definition)
        return Plan(present=present, missing=saved.seq + 1 - present, definition=definition)

    def _check_ahead(self, saved: Saved, last: int) -> None:
        (entry,) = self._history.records(saved.chain, after=saved.seq - 1, limit=1)
        what = "is ahead" if entry.hash == saved.head else "has another history"
        raise ExecutionStateError(
            f"this home {what} of it: it has {last} as its last record of"
            f" {model.id_text(saved.chain)}, and the checkpoint is record {saved.seq}"
        )

    def _walk(self, saved: Saved) -> Iterator[tuple[int, bytes, Block | None]]:
        """The records of a version's chain, each with its payload block, checked to be what the
        index can fold: nobody who signs a version may spoil the log of others."""
        seq, prev = 0, GENESIS
        for records, blocks in self._states.records(saved.cid):
            payloads = dict(blocks)
            for data in records:
                record = _checked(data, saved, seq, prev, self._subnet)
                cid = record["payload"]
                block = None if cid is None else (bytes(cid), payloads[bytes(cid)])
                yield seq, data, block
                seq, prev = seq + 1, _core.record_hash(data)
        if seq != saved.seq + 1 or prev != saved.head:
            raise VerificationError(f"the records end at {seq - 1}, not at the checkpoint")

    def _check_document(self, saved: Saved, definition: str) -> None:
        document = self._states.document(saved.cid)
        if str(_core.cid_of(document)) != definition:
            raise VerificationError("the flow's document is not the one that record 0 names")

    def _pieces(self, saved: Saved, plan: Plan) -> Iterator[tuple[list[bytes], list[Block]]]:
        """What is to be appended, in order. The flow's document comes with the first."""
        records: list[bytes] = []
        blocks = self._document(saved, plan)
        size = 0
        for seq, data, payload in self._walk(saved):
            if seq < plan.present:
                continue
            records.append(data)
            size += len(data)
            if payload is not None:
                blocks.append(payload)
                size += len(payload[1])
            if size >= PIECE_BYTES_MAX or len(records) == PIECE_RECORDS_MAX:
                yield records, blocks
                records, blocks, size = [], [], 0
        if records:
            yield records, blocks

    def _document(self, saved: Saved, plan: Plan) -> list[Block]:
        cid = bytes(_core.Cid(plan.definition))
        return [] if self._index.block(cid) else [(cid, self._states.document(saved.cid))]


def is_restored(history: History, execution: str, seq: int) -> bool:
    """Whether the node's own chain says that it took over an execution at this record."""
    found = history.search(Query(type=RESTORED, text=execution))
    return any(
        entry.record["meta"].get("execution") == execution
        and entry.record["meta"].get("seq") == seq
        for entry in found
    )


def _row(saved: Saved, records: int) -> Row:
    meta = {
        "execution": model.id_text(saved.chain),
        "version": str(_core.Cid(saved.cid)),
        "number": saved.number,
        "epoch": saved.epoch,
        "seq": saved.seq,
        "records": records,
    }
    return RESTORED, None, None, None, meta


def _checked(data: bytes, saved: Saved, seq: int, prev: bytes, subnet: str) -> dict[str, Any]:
    record = _core.decode_record(data)
    where = f"record {seq} of {model.id_text(saved.chain)}"
    if (record["chain"], record["seq"], record["prev"]) != (saved.chain, seq, prev):
        raise VerificationError(f"{where} does not follow the record before it")
    if (record["type"] == _CREATED) != (seq == 0):
        raise VerificationError(f"{where} is {record['type']}: no execution begins so")
    if record["type"] in TERMINAL:
        raise VerificationError(f"{where} is an end, and others follow it")
    if record["subnet"] != subnet:
        raise VerificationError(f"{where} is of subnet {record['subnet']!r:.80}")
    return record
