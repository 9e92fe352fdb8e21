"""Reports in the node's own chain: signed before they are stored, refused when they do not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._answer import Entry
from qflow.audit._log import Log
from qflow.audit._own import OwnChain
from qflow.audit._read import History
from qflow.audit.compliance._report import Report, Signed, open_report, public_of
from qflow.errors import ExecutionNotFoundError, VerificationError

REPORTED: Final = "q.qflow.compliance.reported.v1"
APPEND_BYTES: Final = 4 << 20
"""Blocks that go to the log at once; the record follows when all of them are durable."""
_PAGE: Final = 1000


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A report that is on record."""

    id: str
    at: int
    """UTC ms."""
    actor: str
    """Who asked for it."""
    seq: int
    index: int
    """Its place in the log."""
    meta: dict[str, Any]


async def store_report(
    own: OwnChain, log: Log, report: Report, signed: Signed, *, actor: str
) -> None:
    """Put a report on record. Durable on return.

    The blocks of the findings come before the record that names them: a crash in between leaves
    blocks that mean nothing. Raises BusyError and PoisonedError; then there is no such report.
    """
    for blocks in _batches(signed):
        await log.append([], blocks)
    meta = {
        "report": report.id,
        "rules": report.rules_sha256,
        "size": report.outcome.size,
        "findings": report.findings,
        "errors": report.by_severity["error"],
    }
    await own.append([(REPORTED, None, None, (signed.envelope,), meta)], actor)


def _batches(signed: Signed) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    batch: list[tuple[bytes, bytes]] = []
    size = 0
    for cid, data in signed.blocks.items():
        batch.append((bytes(_core.Cid(cid)), data))
        size += len(data)
        if size >= APPEND_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def stored_reports(history: History, chain: bytes) -> Iterator[Stored]:
    """The reports on the node's own chain, oldest first. Their signatures are not verified yet."""
    for entry in _entries(history, chain):
        meta = entry.record["meta"]
        yield Stored(
            id=str(meta.get("report")),
            at=entry.record["at"],
            actor=entry.record["actor"],
            seq=entry.seq,
            index=entry.index,
            meta=meta,
        )


def load_report(history: History, chain: bytes, name: str, vkey: str) -> tuple[Report, Signed]:
    """A stored report by its id or a unique beginning, with its blocks, all verified.

    Raises ExecutionNotFoundError, or VerificationError when the stored copy is not what the
    holder of `vkey` signed.
    """
    found = [stored for stored in stored_reports(history, chain) if stored.id.startswith(name)]
    if len(found) != 1:
        what = "more than one report begins" if found else "no report begins"
        raise ExecutionNotFoundError(f"{what} with {name!r}")
    (entry,) = history.records(chain, after=found[0].seq - 1, limit=1, values=True)
    if not isinstance(entry.value, bytes):
        raise VerificationError(f"the record of report {found[0].id} holds no signed report")
    report = open_report(entry.value, public_of(vkey), vkey)
    if report.id != found[0].id:
        raise VerificationError(f"the record of report {found[0].id} holds report {report.id}")
    named = [chunk.cid for chunk in (*report.chunks, *report.receipts)]
    blocks = {cid: history.block(_core.Cid(cid)) for cid in named}
    return report, Signed(envelope=entry.value, blocks=blocks)


def _entries(history: History, chain: bytes) -> Iterator[Entry]:
    after = -1
    while page := history.records(chain, after=after, limit=_PAGE):
        yield from (entry for entry in page if entry.record["type"] == REPORTED)
        after = page[-1].seq
