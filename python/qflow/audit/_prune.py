"""Pruning: the oldest records go, after a record that says so and names what goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import anyio
import msgspec

from qflow import _core
from qflow.audit._log import Log
from qflow.audit._own import OwnChain
from qflow.errors import BusyError

PRUNED: Final = "q.qflow.history.pruned.v1"
CHAINS_A_BLOCK: Final = 30_000
"""Of the chains that go on across a cut; a block of them is below 2 MiB."""

Block = tuple[bytes, bytes]
Chain = tuple[bytes, int, bytes]


class Cut(msgspec.Struct, frozen=True):
    """Where a log can be cut."""

    segment: int
    """The first journal file that is kept."""
    minimum: int
    """The index of its first record."""
    records: int
    """Records that go."""
    bytes: int
    """Of the journal's files that go."""


class Pruning(msgspec.Struct, frozen=True):
    """A pruning that was done."""

    cut: Cut
    record: int
    """The index of the record of it."""
    chains: int
    """Chains that go on across the cut."""


def find_cut(log: Log, bound: int) -> Cut | None:
    """The last place where the log can be cut so that no record from index `bound` on goes.

    Cuts are where journal files begin. None when nothing can go.
    """
    segments = log.segments
    kept = [(at, number, first) for at, (number, first, _) in enumerate(segments) if first <= bound]
    if len(kept) < 2:
        return None
    at, number, minimum = kept[-1]
    going = segments[:at]
    return Cut(number, minimum, minimum - going[0][1], sum(size for _, _, size in going))


async def prune(log: Log, own: OwnChain, bound: int, *, reason: str, actor: str) -> Pruning | None:
    """Delete the oldest records, none from index `bound` on. None when nothing can go.

    First a record on the node's own chain (docs/formats/log.md) is durable: it names the minimum
    index, the head at that time, the reason, and where every chain stands that goes on across the
    cut. Then the log begins there, durably, on return; a crash in between leaves the whole log, or
    the one that begins there. The caller sees to it that nobody needs the records that go, and
    that no hold is on them. Raises BusyError (nothing was changed), PoisonedError, CorruptError.
    """
    cut = find_cut(log, bound)
    if cut is None:
        return None
    with anyio.CancelScope(shield=True):
        carried = await log.survey(cut.segment)
        record = await _record(log, own, cut, carried, reason, actor)
        await log.prune(record)
    return Pruning(cut, record, len(carried))


async def _record(
    log: Log, own: OwnChain, cut: Cut, carried: Sequence[Chain], reason: str, actor: str
) -> int:
    """Append the record with its blocks; its index."""
    lists = list(_chain_blocks(carried))
    payload = {
        "minimum": cut.minimum,
        "segment": cut.segment,
        "head": log.head,
        "reason": reason,
        "carried": [cid for cid, _ in lists],
    }
    meta = {
        "minimum": cut.minimum,
        "segment": cut.segment,
        "chains": len(carried),
        "reason": reason,
    }
    records, blocks = own.records([(PRUNED, None, None, (payload,), meta)], actor)
    blocks += [(bytes(cid), data) for cid, data in lists]
    try:
        first = await log.append(records, blocks)
    except (BusyError, ValueError):
        own.take_back()
        raise
    return first + len(records) - 1


def _chain_blocks(carried: Sequence[Chain]) -> Iterator[tuple[_core.Cid, bytes]]:
    for start in range(0, len(carried), CHAINS_A_BLOCK):
        part: list[Any] = [list(chain) for chain in carried[start : start + CHAINS_A_BLOCK]]
        data = _core.encode(part)
        yield _core.cid_of(data, "dag-cbor"), data
