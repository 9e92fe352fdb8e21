"""From a chain back to the state: the same events through the same `decide`, compared as they go.

What is compared is the hash of each record: a decision that would be made otherwise today, a
record that was not made by its event, or a snapshot that is not of this state stops the replay
(claim E3), and the execution stays shut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.engine._decide import INPUTS, decide
from qflow.engine._flow import Flow
from qflow.engine._sealed import inline, seal
from qflow.engine._snapshot import thaw
from qflow.engine._state import Event, Fact, State
from qflow.errors import ReplayError

EXEC: Final = "q.qflow.exec."
CHECKPOINT: Final = "q.qflow.checkpoint.created.v1"
GENESIS: Final = bytes(32)


class Entry(msgspec.Struct, frozen=True):
    """One record as it is read back: verified against its hash before it comes here."""

    seq: int
    hash: bytes
    record: dict[str, Any]
    payload: Any = msgspec.UNSET


class Restored(msgspec.Struct, kw_only=True):
    """An execution as its chain leaves it."""

    state: State
    seq: int
    """The number of its last record."""
    prev: bytes
    """The hash of its last record."""
    since: int
    """Records since the last checkpoint."""
    at: int = 0
    """The time of its last record."""
    node: str = ""
    """Who wrote its last record."""
    epoch: int = 0
    """The epoch of its last record."""
    key: _core.SealingKey | None
    """What its payloads are sealed with."""


def type_of(kind: str) -> str:
    """The record type of a fact."""
    return CHECKPOINT if kind == "checkpoint" else f"{EXEC}{kind}.v1"


def kind_of(record_type: str) -> str:
    """The fact of a record type."""
    if record_type == CHECKPOINT:
        return "checkpoint"
    return record_type.removeprefix(EXEC).removesuffix(".v1")


Row = tuple[str, str | None, int | None, tuple[Any] | None, dict[str, Any]]


def rows(facts: Iterable[Fact]) -> list[Row]:
    """Facts as `_core.encode_records` takes them."""
    return [
        (
            type_of(fact.kind),
            fact.step,
            fact.attempt,
            None if fact.payload is msgspec.UNSET else (fact.payload,),
            fact.meta,
        )
        for fact in facts
    ]


def replay(
    flow: Flow, execution: str, entries: Iterable[Entry], key: _core.SealingKey | None
) -> Restored:
    """The state behind the last entry. `entries` begin at seq 0, or at a checkpoint whose payload
    is then the state as `freeze` made it; payloads are unsealed. `key` seals again what is
    compared, to the same bytes.

    Raises ReplayError when the chain does not follow from the decisions.
    """
    ahead = iter(entries)
    first = next(ahead, None)
    if first is None:
        raise ReplayError(f"execution {execution} has no records")
    if kind_of(first.record["type"]) == "checkpoint":
        restored = Restored(
            state=thaw(first.payload), seq=first.seq, prev=first.hash, since=0, key=key
        )
        _note(restored, first)
    elif first.seq == 0:
        state = State(id=execution, flow=flow.key, parent=first.record["meta"].get("parent"))
        restored = Restored(state=state, seq=-1, prev=GENESIS, since=0, key=key)
        _step(flow, restored, first, ahead)
    else:
        raise ReplayError(f"the chain of {execution} begins at record {first.seq}")
    if restored.state.id != execution:
        raise ReplayError(f"a checkpoint of {restored.state.id} in the chain of {execution}")
    for entry in ahead:
        _step(flow, restored, entry, ahead)
    return restored


def event_of(entry: Entry) -> Event:
    """The event that a record tells of."""
    record, kind = entry.record, kind_of(entry.record["type"])
    meta = record["meta"]
    value = None if entry.payload is msgspec.UNSET else entry.payload
    if kind == "timer_fired":
        value = meta["purpose"]
    return Event(kind=kind, at=record["at"], frame=meta.get("frame", 0), value=value, meta=meta)


def _step(flow: Flow, restored: Restored, entry: Entry, ahead: Iterator[Entry]) -> None:
    """Apply one event and check every record that its decision makes."""
    kind = kind_of(entry.record["type"])
    if kind == "checkpoint":
        facts = [_checkpoint(restored, entry)]
        restored.since = -1
    elif kind in INPUTS:
        facts = decide(flow, restored.state, event_of(entry)).facts
    else:
        raise ReplayError(f"record {entry.seq} ({kind}) does not follow from any event")
    for index, fact in enumerate(facts):
        found = entry if index == 0 else next(ahead, None)
        _compare(restored, fact, found)
    if not facts:
        raise ReplayError(f"record {entry.seq} ({kind}) changes nothing, and would not be made")


def _checkpoint(restored: Restored, entry: Entry) -> Fact:
    """What the record of a checkpoint says, made again from the state."""
    record = entry.record
    if record["payload"] is not None:
        return inline(restored.state)
    if restored.key is None:
        raise ReplayError(f"record {entry.seq} is a checkpoint of an execution without a key")
    try:
        made, _ = seal(
            restored.state, record["meta"], restored.key, record["subnet"], record["chain"]
        )
    except ValueError as error:
        raise ReplayError(f"record {entry.seq}: no checkpoint can be made here: {error}") from None
    return made


def _compare(restored: Restored, fact: Fact, found: Entry | None) -> None:
    seq = restored.seq + 1
    if found is None or found.seq != seq:
        raise ReplayError(f"record {seq} ({fact.kind}) is missing")
    record = found.record
    _, _, made = _core.encode_records(
        record["chain"],
        seq,
        restored.prev,
        record["flow"],
        record["at"],
        record["actor"],
        record["node"],
        record["subnet"],
        record["epoch"],
        rows([fact]),
        restored.key,
    )
    if made != found.hash:
        raise ReplayError(
            f"record {seq} says {record['type']} of {record.get('step')}; "
            f"the decision gives {type_of(fact.kind)} of {fact.step}"
        )
    restored.seq, restored.prev = seq, found.hash
    restored.since += 1
    _note(restored, found)


def _note(restored: Restored, entry: Entry) -> None:
    record = entry.record
    restored.at, restored.node, restored.epoch = record["at"], record["node"], record["epoch"]
