"""What the records of a chain say about its execution. Pure: the index is the fold of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from qflow.errors import CorruptError

CREATED: Final = "q.qflow.exec.created.v1"
SUSPENDED: Final = "q.qflow.exec.suspended.v1"
PAUSED: Final = "q.qflow.exec.paused.v1"
RESUMED: Final = "q.qflow.exec.resumed.v1"
COMPLETED: Final = "q.qflow.exec.completed.v1"
FAULTED: Final = "q.qflow.exec.faulted.v1"
ABORTED: Final = "q.qflow.exec.aborted.v1"
SNAPSHOT: Final = "q.qflow.checkpoint.created.v1"
SCHEDULED: Final = "q.qflow.exec.scheduled.v1"
UNSCHEDULED: Final = "q.qflow.exec.unscheduled.v1"
SCHEDULE_FIRED: Final = "q.qflow.exec.schedule_fired.v1"

FINAL: Final = {COMPLETED: "completed", FAULTED: "faulted", ABORTED: "aborted"}

_FINAL_STATUSES: Final = frozenset(FINAL.values())
_EXCERPT_KEYS: Final = ("type", "status", "title", "detail", "instance")
_EXCERPT_CHARS_MAX: Final = 500


class Row(msgspec.Struct, kw_only=True):
    """One execution as its records tell it so far."""

    id: bytes
    flow: str
    status: str = "running"
    parent: str | None = None
    started_at: int
    updated_at: int
    seq: int = 0
    wake_at: int | None = None
    listens: tuple[str, ...] = ()
    snapshot_seq: int | None = None
    problem: dict[str, Any] | None = None
    definition: str = ""


def begin(record: Mapping[str, Any]) -> Row | None:
    """The row that the first record of a chain makes; None when the chain is no execution."""
    if record["type"] != CREATED:
        return None
    if record["seq"] != 0:
        raise CorruptError(f"a chain begins with record {record['seq']} of an execution")
    meta = record["meta"]
    return Row(
        id=record["chain"],
        flow=record["flow"],
        parent=meta.get("parent"),
        started_at=record["at"],
        updated_at=record["at"],
        definition=meta.get("definition", ""),
    )


def advance(row: Row, record: Mapping[str, Any], payload: Callable[[], Any]) -> None:
    """Apply the next record of a chain. `payload` reads its block, asked only for a problem.

    Paused holds until resumed: attempts that were in flight may still be recorded meanwhile.
    """
    kind = record["type"]
    if record["seq"] != row.seq + 1:
        raise CorruptError(f"record {record['seq']} of a chain follows its record {row.seq}")
    if row.status in _FINAL_STATUSES:
        raise CorruptError(f"record {record['seq']} of a chain follows its end")
    row.seq, row.updated_at = record["seq"], record["at"]
    if kind == SNAPSHOT:
        row.snapshot_seq = record["seq"]
    elif kind in FINAL:
        _wait_for_nothing(row, FINAL[kind])
        row.problem = _problem(record, payload)
    elif kind == PAUSED:
        row.status = "paused"
    elif row.status == "paused" and kind != RESUMED:
        return
    elif kind == SUSPENDED:
        row.status = "waiting"
        row.wake_at = record["meta"].get("wake_at")
        row.listens = tuple(record["meta"].get("listen") or ())
    else:
        _wait_for_nothing(row, "running")


def _wait_for_nothing(row: Row, status: str) -> None:
    row.status, row.wake_at, row.listens = status, None, ()


def _problem(record: Mapping[str, Any], payload: Callable[[], Any]) -> dict[str, Any] | None:
    if record["type"] == ABORTED:
        return _excerpt({"title": "Aborted", "detail": record["meta"].get("reason")})
    if record["type"] == FAULTED:
        problem = payload()
        return _excerpt(problem if isinstance(problem, dict) else {"title": str(problem)})
    return None


def _excerpt(problem: Mapping[str, Any]) -> dict[str, Any]:
    """What a list shows of a problem; the whole is in the chain."""
    kept = {key: problem[key] for key in _EXCERPT_KEYS if problem.get(key) is not None}
    return {
        key: value[:_EXCERPT_CHARS_MAX] if isinstance(value, str) else value
        for key, value in kept.items()
        if isinstance(value, str | int)
    }
