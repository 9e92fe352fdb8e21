"""A world for decisions, in virtual time and memory: what they ask for is done at once, in order.

The chain is kept as encoded records and blocks, so that `World.crash` can throw the state away and
bring it back by the same replay that a node uses.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from qflow import _core, model
from qflow.engine._flow import Flow
from qflow.engine._live import Identity, Live, plain
from qflow.engine._load import load_flow
from qflow.engine._replay import Entry, replay
from qflow.engine._scope import Scope
from qflow.engine._sealed import Asked, Checkpoint
from qflow.engine._shared import wanted
from qflow.engine._state import FINAL, Command, Event, Frame, State

IDENTITY = Identity(node="did:key:zTest", subnet="test")
START_MS = 1_700_000_000_000
KEY = _core.SealingKey(7, bytes(range(32)))


class Failed(Exception):
    """Raised by a world's function to fail an attempt with a problem."""

    def __init__(self, status: int = 503, kind: str = "communication") -> None:
        super().__init__(kind)
        self.problem = model.problem((kind, status), "It failed")


class World:
    """One execution. `act` is called for each attempt with (step, number, input, arguments)."""

    def __init__(
        self,
        text: str,
        act: Callable[[str, int, Any, Any], Any] | None = None,
        *,
        every_facts: int = 10_000,
    ) -> None:
        self.flow: Flow = load_flow(text)
        self.act = act or (lambda step, number, value, arguments: value)
        self.now = START_MS
        self.calls: list[tuple[str, int]] = []
        self.documents: dict[str, Any] = {}
        """What stands in each, by its whole name."""
        self.read: list[tuple[str, list[list[str]]]] = []
        self.emitted: list[Any] = []
        self.records: list[bytes] = []
        self.blocks: dict[bytes, bytes] = {}
        self.every_facts = every_facts
        self.checkpoints: list[Checkpoint] = []
        self._timers: list[tuple[int, int, str]] = []
        self._asked: list[Command] = []
        state = State(id=model.id_text(bytes(16)), flow=self.flow.key)
        self.live = Live(self.flow, "bafy", state, KEY)

    # -- doing -----------------------------------------------------------------------------

    def start(self, value: Any = None) -> World:
        self.post("created", value=value, meta={"definition": "bafy"})
        return self

    def run(self, value: Any = None) -> World:
        return self.start(value).settle()

    def settle(self, *, steps_max: int = 100_000) -> World:
        """Do all that is asked, in order, and let time pass, until nothing is left to do."""
        for _ in range(steps_max):
            if not self.step():
                return self
        raise AssertionError("the flow does not settle")

    def step(self) -> bool:
        """Do one thing. False: nothing is left but to wait for events."""
        if self._asked:
            self._carry_out(self._asked.pop(0))
            return True
        if not self._timers or self.state.status in FINAL or self.state.paused:
            return False
        at, frame, purpose = heapq.heappop(self._timers)
        self.now = max(self.now, at)
        self.post("timer_fired", frame=frame, value=purpose)
        return True

    def post(self, kind: str, *, frame: int = 0, value: Any = None, **fields: Any) -> bool:
        event = Event(kind=kind, at=self.now, frame=frame, value=value, **fields)
        records, blocks, commands = self.live.decide(event, IDENTITY, "test")
        self.records.extend(records)
        self.blocks.update(blocks)
        self._asked.extend(command for command in commands if command.kind != "checkpoint")
        if records and (asked := self.live.due(commands, self.every_facts)) is not None:
            self.checkpoint(asked)
        return bool(records)

    def checkpoint(self, asked: Asked) -> None:
        records, made = self.live.checkpoint(asked, self.now, IDENTITY, "test")
        self.records.extend(records)
        self.blocks.update(made.blocks)
        self.checkpoints.append(made)

    def crash(self) -> World:
        """Lose everything but the chain, and go on from there."""
        restored = replay(self.flow, self.live.id, self.entries(), KEY)
        live = Live.of(self.flow, "bafy", restored)
        assert (live.seq, live.prev) == (self.live.seq, self.live.prev)
        assert msgspec.to_builtins(live.state) == msgspec.to_builtins(self.live.state)
        self.live, self._asked, self._timers = live, [], []
        from qflow.engine._recover import timers

        for command in timers(live.state):
            self._carry_out(command)
        self.post("recovered")
        return self

    # -- seeing ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.live.state

    def entries(self, first: int | None = None) -> Iterator[Entry]:
        """The chain from its newest checkpoint on, as a node reads it."""
        decoded = [_core.decode_record(record) for record in self.records]
        if first is None:
            first = max(
                (i for i, record in enumerate(decoded) if "checkpoint" in record["type"]),
                default=0,
            )
        for index in range(first, len(decoded)):
            record = decoded[index]
            cid = record.get("payload")
            payload = msgspec.UNSET if cid is None else _unsealed(record, self.blocks[bytes(cid)])
            if index == first and "state" in record["meta"]:
                payload = self.unsealed_state(record)
            yield Entry(record["seq"], _core.record_hash(self.records[index]), record, payload)

    def unsealed_state(self, record: dict[str, Any]) -> Any:
        root = bytes(_core.Cid(record["meta"]["state"]))
        place = {"subnet": record["subnet"], "chain": record["chain"]}
        return _core.decode(KEY.unseal_state(root, self.blocks, **place))

    def facts(self) -> list[str]:
        """The kinds of the records, in order."""
        types = [_core.decode_record(record)["type"] for record in self.records]
        return [name.split(".")[-2] for name in types]

    def committed(self) -> list[tuple[str, int]]:
        """(step, attempt) of every attempt whose success is in the chain."""
        return [
            (record["step"], record["attempt"])
            for record in map(_core.decode_record, self.records)
            if record["type"] == "q.qflow.exec.step_completed.v1" and record.get("attempt")
        ]

    # -- commands --------------------------------------------------------------------------

    def _carry_out(self, command: Command) -> None:
        frame = self.state.frames.get(command.frame)
        if command.kind == "timer":
            heapq.heappush(self._timers, (command.value[1], command.frame, command.value[0]))
        elif command.kind == "go_on":
            self.post("continued")
        elif command.kind == "emit":
            self.emitted.append(command.value)
            self.post("step_completed", frame=command.frame, value=command.value)
        elif command.kind == "read" and frame is not None and frame.running:
            self._read(frame)
        elif command.kind == "attempt" and frame is not None and frame.running:
            self._attempt(frame.path, frame.attempt, command.frame)

    def _read(self, frame: Frame) -> None:
        found = {}
        for local, item in wanted(frame).items():
            name, parts = item["document"], item["parts"]
            self.read.append((name, parts))
            if name == "broken":
                problem = model.problem(model.ErrorKind.RUNTIME, "It is broken")
                self.post("step_failed", frame=frame.id, value=problem)
                return
            value = parts_of(self.documents.get(name, {}), parts)
            found[local] = {"document": name, "clock": b"", "value": value}
        self.post("documents_read", frame=frame.id, value=plain(found))

    def _attempt(self, step: str, number: int, frame: int) -> None:
        at = self.state.frames[frame]
        scope = Scope(self.flow, self.state, at).frozen()
        arguments = self.flow.at(at.where).get("with")
        self.calls.append((step, number))
        try:
            from qflow import expressions

            value = self.act(
                step, number, at.input, expressions.resolve(arguments, at.input, scope)
            )
        except Failed as failed:
            self.post("step_failed", frame=frame, value=failed.problem)
        else:
            self.post("step_completed", frame=frame, value=value)


def parts_of(document: Any, parts: list[list[str]]) -> Any:
    """Of a document what is at these paths, as a node reads it."""
    made: dict[str, Any] = {}
    for keys in parts:
        at, source = made, document
        for index, key in enumerate(keys):
            if not isinstance(source, dict) or key not in source:
                break
            source = source[key]
            if index == len(keys) - 1 or not isinstance(source, dict):
                at[key] = source
                break
            at = at.setdefault(key, {})
        if not keys:
            return source
    return made


def _unsealed(record: dict[str, Any], block: bytes) -> Any:
    place = {name: record[name] for name in ("subnet", "chain", "seq", "epoch", "prev")}
    return _core.decode(KEY.unseal(block, **place))
