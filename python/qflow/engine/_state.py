"""What an execution is between two events: plain data that a checkpoint can hold."""

from __future__ import annotations

from typing import Any, Final

import msgspec

ROOT: Final = 1
"""The id of the frame that runs the flow's own list of tasks."""


class Status:
    """Where an execution stands. The last three are final."""

    RUNNING: Final = "running"
    WAITING: Final = "waiting"
    PAUSED: Final = "paused"
    COMPLETED: Final = "completed"
    FAULTED: Final = "faulted"
    ABORTED: Final = "aborted"


FINAL: Final = frozenset({Status.COMPLETED, Status.FAULTED, Status.ABORTED})


class Frame(msgspec.Struct, kw_only=True):
    """One task (or one list of tasks) that has been entered and not yet left."""

    id: int
    parent: int
    kind: str
    """call, run, subflow, set, ...; `list` runs tasks one after the other."""
    path: str
    """The step's name in records: the document path with `#n` at each iteration."""
    where: str
    """The JSON pointer of the task, or of the list, in the document."""
    name: str = ""
    raw: Any = None
    input: Any = None
    entered_at: int = 0
    attempt: int = 1
    scope: dict[str, Any] = msgspec.field(default_factory=dict)
    """The expression variables that this frame adds for those below it."""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the kind needs to remember; see `_tasks`."""
    timers: dict[str, int] = msgspec.field(default_factory=dict)
    """What is due, and when: UTC milliseconds by purpose (`wait`, `timeout`, `retry`)."""
    running: bool = False
    """An attempt of this step is with a runner, or will be as soon as the commit is durable."""


class State(msgspec.Struct, kw_only=True):
    """One execution, whole. Equal chains give equal states."""

    id: str
    flow: str
    status: str = Status.RUNNING
    input: Any = None
    context: Any = None
    output: Any = None
    problem: Any = None
    started_at: int = 0
    now: int = 0
    """The time of the event being decided: the only time that decisions see."""
    next_id: int = ROOT
    frames: dict[int, Frame] = msgspec.field(default_factory=dict)
    agenda: list[tuple[str, int, Any]] = msgspec.field(default_factory=list)
    """What is still to be done without waiting: (operation, frame, value)."""
    paused: bool = False
    timeout_at: int | None = None
    base: str | None = None
    """The folder of the flow's file, for its relative `file:` resources."""
    parent: str | None = None
    """The execution and frame that wait for this one, as `id:frame`."""


class Event(msgspec.Struct, kw_only=True):
    """What happened, as it was recorded. `kind` is the record's fact."""

    kind: str
    at: int
    frame: int = 0
    value: Any = None
    meta: dict[str, Any] = msgspec.field(default_factory=dict)


class Fact(msgspec.Struct, kw_only=True):
    """What is recorded of a decision: one record of the chain."""

    kind: str
    step: str | None = None
    attempt: int | None = None
    payload: Any = msgspec.UNSET
    meta: dict[str, Any] = msgspec.field(default_factory=dict)


class Command(msgspec.Struct, kw_only=True):
    """What the world is asked to do, once the facts beside it are durable."""

    kind: str
    """attempt, read, cancel, timer, emit, subflow, checkpoint, go_on, finished."""
    frame: int = 0
    value: Any = None


class Decision(msgspec.Struct, kw_only=True):
    """The answer to one event. No facts: the event did not matter and is not recorded."""

    facts: list[Fact]
    commands: list[Command]
