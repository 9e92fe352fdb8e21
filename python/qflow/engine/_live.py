"""The executions in memory: what is needed now, the rest is in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from qflow import _core, model
from qflow.engine._decide import decide
from qflow.engine._flow import Flow
from qflow.engine._replay import Restored, rows
from qflow.engine._sealed import FACTS, STEP, Asked, Checkpoint, seal
from qflow.engine._state import FINAL, Command, Event, Fact, State, Status

Blocks = list[tuple[bytes, bytes]]
Told = Callable[[str | None, Exception | None], None]
"""Hears the CID of a version that is durable, or why there is none."""


class Identity(msgspec.Struct, frozen=True):
    """Who signs the records of this node."""

    node: str
    subnet: str
    epoch: int = 0
    """Of the node's own chain, and of executions that begin here."""


class Beside(Protocol):
    """Records of another chain, made when the log takes them and not before."""

    def records(self) -> tuple[list[bytes], Blocks]:
        """The next records of that chain; they go to the log at once."""
        ...

    def take_back(self) -> None:
        """The log did not take them: the chain is where it was."""
        ...


class Decided(msgspec.Struct):
    """What one execution has among the records of a batch, and what follows when it is durable."""

    live: Live
    records: Sequence[bytes]
    commands: Sequence[Command] = ()
    checkpoint: Checkpoint | None = None
    told: Told | None = None
    """Hears that the checkpoint is kept, or why not."""
    postponed: Asked | None = None
    """The checkpoint that is to be made first, once there is room for it."""
    refused: Exception | None = None
    """Why the checkpoint that was to come first cannot be made: nothing else follows then."""


class Batch(msgspec.Struct):
    """Records of one or more executions that become durable together, and what follows then."""

    records: list[bytes] = msgspec.field(default_factory=list)
    blocks: dict[bytes, bytes] = msgspec.field(default_factory=dict)
    """By CID: what is there already, as the flow of many, is stored once."""
    after: list[Decided] = msgspec.field(default_factory=list)
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
        "at",
        "begins",
        "chain",
        "definition",
        "epoch",
        "flow",
        "id",
        "key",
        "listens",
        "node",
        "pending",
        "prev",
        "seq",
        "since",
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
        self.seq, self.prev, self.at = -1, bytes(32), 0
        self.node, self.epoch = "", 0
        """Whose its last record is, and in which epoch."""
        self.begins = 0
        """The epoch that its next record begins, when it was restored and nothing followed."""
        self.since = 0
        """Records since the last checkpoint."""
        self.pending = 0
        self.listens: tuple[str, ...] = ()

    @classmethod
    def of(cls, flow: Flow, definition: str, restored: Restored) -> Live:
        """An execution as a replay left it."""
        live = cls(flow, definition, restored.state, restored.key)
        live.seq, live.prev, live.at = restored.seq, restored.prev, restored.at
        live.node, live.epoch = restored.node, restored.epoch
        live.since = restored.since
        return live

    @property
    def is_idle(self) -> bool:
        """Whether it can leave memory: all durable, nothing under way."""
        return self.pending == 0 and self.state.status in (Status.WAITING, Status.PAUSED)

    def decide(
        self, event: Event, identity: Identity, actor: str
    ) -> tuple[list[bytes], Blocks, list[Command]]:
        """Apply an event: its records, encoded and chained. No records: nothing happened.

        When this raises, the state in memory is no longer that of the chain: drop it.
        """
        decision = decide(self.flow, self.state, event)
        if not decision.facts:
            return [], [], []
        records, blocks = self._encode(decision.facts, event.at, identity, actor)
        self.note_listens()
        return records, blocks, decision.commands

    def due(self, commands: Sequence[Command], every_facts: int) -> Asked | None:
        """The checkpoint that is to follow a decision, by what the decision asks for."""
        if self.state.status in FINAL:
            return None
        if any(command.kind == "checkpoint" for command in commands):
            return Asked(why=STEP)
        if self.key is None:
            return None
        return Asked(why=FACTS) if self.since >= every_facts else None

    def checkpoint(
        self, asked: Asked, at: int, identity: Identity, actor: str
    ) -> tuple[list[bytes], Checkpoint]:
        """The next record is a checkpoint. Raises ValueError for a state, label or description
        that is too large; then nothing was changed."""
        if self.key is None:
            raise ValueError("it began before payloads were sealed, and has no key")
        fact, blocks = seal(self.state, asked.meta(), self.key, identity.subnet, self.chain)
        records, _ = self._encode([fact], at, identity, actor)
        self.since = 0
        return records, Checkpoint(
            execution=self.id,
            seq=self.seq,
            state=fact.meta["state"],
            definition=self.definition,
            status=self.state.status,
            key=self.key,
            blocks=blocks,
            asked=asked,
            meta=fact.meta,
            size_bytes=sum(len(data) for _, data in blocks),
        )

    def _encode(
        self, facts: Sequence[Fact], at: int, identity: Identity, actor: str
    ) -> tuple[list[bytes], Blocks]:
        epoch = self._epoch(identity)
        records, blocks, prev = _core.encode_records(
            self.chain,
            self.seq + 1,
            self.prev,
            self.flow.key,
            at,
            actor,
            identity.node,
            identity.subnet,
            epoch,
            rows(facts),
            self.key,
        )
        self.seq, self.prev, self.at = self.seq + len(records), prev, at
        self.node, self.epoch, self.begins = identity.node, epoch, 0
        self.since += len(records)
        return records, blocks

    def _epoch(self, identity: Identity) -> int:
        """Who goes on with what another node wrote, or behind a restore, begins an epoch. It
        fences that node, and what was written behind the restored checkpoint."""
        if not self.node:
            return identity.epoch
        if self.node == identity.node and not self.begins:
            return self.epoch
        return max(self.epoch + 1, self.begins)

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


class Changed:
    """Executions with facts since their last checkpoint, by the time of the first of these."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def note(self, live: Live, at: int) -> None:
        """An execution stands where its records say."""
        if live.since and live.key is not None and live.state.status not in FINAL:
            self._since.setdefault(live.id, at)
        else:
            self._since.pop(live.id, None)

    def add(self, execution: str, at: int) -> None:
        """One that is not in memory."""
        self._since.setdefault(execution, at)

    @property
    def first(self) -> int | None:
        """The time of the one that has waited longest."""
        return next(iter(self._since.values()), None)

    def take(self, before: int) -> str | None:
        """Forget the one that has waited longest, if its time is not after `before`."""
        for execution, since in self._since.items():
            if since > before:
                break
            del self._since[execution]
            return execution
        return None


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
