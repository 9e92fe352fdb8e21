"""The executions in memory: what is needed now, the rest is in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from qflow import _core, model
from qflow.engine._decide import decide
from qflow.engine._flow import Flow
from qflow.engine._replay import Restored, checkpoint, rows
from qflow.engine._state import FINAL, Command, Event, Fact, State, Status

Blocks = list[tuple[bytes, bytes]]


class Identity(msgspec.Struct, frozen=True):
    """Who signs the records of this node."""

    node: str
    subnet: str
    epoch: int = 0


class Beside(Protocol):
    """Records of another chain, made when the log takes them and not before."""

    def records(self) -> tuple[list[bytes], Blocks]:
        """The next records of that chain; they go to the log at once."""
        ...

    def take_back(self) -> None:
        """The log did not take them: the chain is where it was."""
        ...


class Batch(msgspec.Struct):
    """Records of one or more executions that become durable together, and what follows then."""

    records: list[bytes] = msgspec.field(default_factory=list)
    blocks: dict[bytes, bytes] = msgspec.field(default_factory=dict)
    """By CID: what is there already, as the flow of many, is stored once."""
    after: list[tuple[Live, Sequence[bytes], Sequence[Command]]] = msgspec.field(
        default_factory=list
    )
    beside: Beside | None = None
    size_bytes: int = 0

    def add(self, records: Sequence[bytes], blocks: Blocks) -> None:
        """Put records and their blocks behind those that are there."""
        self.records.extend(records)
        self.size_bytes += sum(map(len, records))
        for cid, data in blocks:
            if self.blocks.setdefault(cid, data) is data:
                self.size_bytes += len(data)


class Live:
    """One execution in memory, ahead of the log by what is on its way there."""

    __slots__ = (
        "chain",
        "definition",
        "flow",
        "id",
        "key",
        "listens",
        "pending",
        "prev",
        "seq",
        "since_snapshot",
        "state",
    )

    def __init__(
        self, flow: Flow, definition: str, state: State, key: _core.SealingKey | None
    ) -> None:
        self.flow, self.definition, self.state = flow, definition, state
        self.key = key
        """What its payloads are sealed with; None for one that began before they were."""
        self.id = state.id
        self.chain = model.id_bytes(state.id)
        self.seq, self.prev, self.since_snapshot = -1, bytes(32), 0
        self.pending = 0
        self.listens: tuple[str, ...] = ()

    @classmethod
    def of(cls, flow: Flow, definition: str, restored: Restored) -> Live:
        """An execution as a replay left it."""
        live = cls(flow, definition, restored.state, restored.key)
        live.seq, live.prev = restored.seq, restored.prev
        live.since_snapshot = restored.since_snapshot
        return live

    @property
    def is_idle(self) -> bool:
        """Whether it can leave memory: all durable, nothing under way."""
        return self.pending == 0 and self.state.status in (Status.WAITING, Status.PAUSED)

    def decide(
        self, event: Event, identity: Identity, actor: str, snapshot_every: int
    ) -> tuple[list[bytes], Blocks, list[Command]]:
        """Apply an event: its records, encoded and chained. No records: nothing happened.

        When this raises, the state in memory is no longer that of the chain: drop it.
        """
        decision = decide(self.flow, self.state, event)
        if not decision.facts:
            return [], [], []
        records, blocks = self._encode(decision.facts, event.at, identity, actor)
        asked = [command for command in decision.commands if command.kind == "checkpoint"]
        is_due = asked or self.since_snapshot >= snapshot_every
        if is_due and self.state.status not in FINAL:
            more, more_blocks = self._snapshot(event.at, identity, snapshot_every)
            records, blocks = records + more, blocks + more_blocks
        self.note_listens()
        return records, blocks, [item for item in decision.commands if item not in asked]

    def _encode(
        self, facts: Sequence[Fact], at: int, identity: Identity, actor: str
    ) -> tuple[list[bytes], Blocks]:
        records, blocks, prev = _core.encode_records(
            self.chain,
            self.seq + 1,
            self.prev,
            self.flow.key,
            at,
            actor,
            identity.node,
            identity.subnet,
            identity.epoch,
            rows(facts),
            self.key,
        )
        self.seq, self.prev = self.seq + len(records), prev
        self.since_snapshot += len(records)
        return records, blocks

    def _snapshot(
        self, at: int, identity: Identity, snapshot_every: int
    ) -> tuple[list[bytes], Blocks]:
        """A checkpoint bounds the next replay. A state too large for a block goes without one."""
        try:
            made = self._encode([checkpoint(self.state)], at, identity, identity.node)
        except ValueError:
            self.since_snapshot -= snapshot_every
            return [], []
        self.since_snapshot = 0
        return made

    def note_listens(self) -> None:
        """Find the types of the events that the execution waits for."""
        types: dict[str, None] = {}
        for frame in self.state.frames.values():
            if frame.kind == "listen":
                types.update(dict.fromkeys(frame.data.get("types", ())))
        self.listens = tuple(types)

    def view(self) -> model.Execution:
        """As it is shown. It may be ahead of what is durable."""
        state = self.state
        due = [at for frame in state.frames.values() for at in frame.timers.values()]
        return model.Execution(
            id=self.id,
            flow=self.flow.key,
            status=state.status,
            started_at=state.started_at,
            updated_at=state.now,
            seq=self.seq,
            definition=self.definition,
            parent=state.parent,
            wake_at=min(due, default=None),
            listens=self.listens,
            output=state.output,
            problem=state.problem,
        )


_SHARE: Final = 10


class Residents:
    """Least recently used order; those that only wait leave when there are too many."""

    def __init__(self, idle_max: int) -> None:
        self._lives: dict[str, Live] = {}
        self._idle_max = idle_max
        self._look_in = 0

    def __len__(self) -> int:
        return len(self._lives)

    def get(self, execution: str) -> Live | None:
        live = self._lives.pop(execution, None)
        if live is not None:
            self._lives[execution] = live
        return live

    def values(self) -> Iterable[Live]:
        return self._lives.values()

    def put(self, live: Live) -> None:
        """Add one, which stays for now: whoever brought it in is about to use it."""
        self._lives[live.id] = live
        self._look_in -= 1
        if len(self._lives) > self._idle_max and self._look_in <= 0:
            self._evict(live)

    def drop(self, execution: str) -> None:
        self._lives.pop(execution, None)

    def _evict(self, newest: Live) -> None:
        """A tenth below the bound, and no next search before a tenth more has come: searches that
        find everybody busy would take quadratic time."""
        idle = [live.id for live in self._lives.values() if live.is_idle and live is not newest]
        excess = len(self._lives) - self._idle_max + self._idle_max // _SHARE
        for execution in idle[:excess]:
            del self._lives[execution]
        self._look_in = len(self._lives) // _SHARE


def plain(value: Any) -> Any:
    """A value as a replay will see it: through its encoding and back. Raises ValueError."""
    return _core.decode(_core.encode(value))
