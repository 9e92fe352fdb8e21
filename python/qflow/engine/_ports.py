"""What the engine needs of the parts around it. `node.py` fills these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from qflow import _core, model
from qflow.engine._flow import Flow
from qflow.engine._replay import Entry
from qflow.engine._sealed import Checkpoint


class Journal(Protocol):
    """The durable log."""

    def submit(
        self,
        records: Sequence[bytes],
        blocks: Sequence[tuple[bytes, bytes]],
        done: Callable[[int | None, Exception | None], None],
    ) -> object:
        """Take a batch, all or nothing. `done` comes later, from the event loop, in order: with
        the index of the first record when it is durable, or with the error. Raises BusyError or
        PoisonedError when nothing was taken."""
        ...


class Archive(Protocol):
    """What the log holds, by execution. Every answer is verified against its hash."""

    def execution(self, execution: str) -> model.Execution | None:
        """Where an execution stands by its durable records, with its output or problem when it
        is over; None when there is none."""
        ...

    def entries(self, execution: str) -> Iterator[Entry]:
        """Its records from the newest checkpoint on whose state is good, or all of them.

        In the first, if it is a checkpoint, the state that it names stands as its payload."""
        ...

    def begins(self, execution: str, seq: int) -> int:
        """The epoch, from 1, that the record behind this one begins at least, when the execution
        was restored up to this record; 0: it was not."""
        ...

    def key(self, execution: str) -> _core.SealingKey | None:
        """What its payloads are sealed with; None for one that began before they were.

        Raises ErasedError, or UnavailableError when the key is not here."""
        ...

    def block(self, cid: str) -> bytes | None:
        """A block by CID; None when the log does not hold it."""
        ...

    def keeps(self, cid: str) -> bool:
        """Whether the log holds a block, and not only until a pruning that has begun is over."""
        ...

    def unfinished(self) -> Iterator[model.Execution]:
        """Every execution that is not over."""
        ...

    def is_to_be_restored(self, execution: str) -> bool:
        """Whether a checkpoint of an execution is kept of which the log has nothing: beginning it
        would do again what was done."""
        ...


class Checkpoints(Protocol):
    """The store of states."""

    @property
    def has_room(self) -> bool:
        """Whether it can take one that nobody waits for. Those that somebody waits for are always
        taken: the engine bounds their bytes before it makes them."""
        ...

    def keep(
        self, checkpoint: Checkpoint, done: Callable[[str | None, Exception | None], None]
    ) -> None:
        """Take a checkpoint whose record is durable. Never waits, never raises.

        `done` comes later, from the event loop: with the CID of the version once that is durable,
        or with an error; with both when it is durable here, and too few other stores have it.
        StaleError: somebody else owns the execution now. PoisonedError: the store
        failed, and takes nothing more. Others are of this checkpoint alone. One that nobody waits
        for may be left out for a newer one of the same execution, and hears of that one's end."""
        ...


class Keys(Protocol):
    """Keys for new executions."""

    def take(self) -> _core.SealingKey:
        """A key that nothing was ever sealed with, and that a crash does not lose.

        Raises UnavailableError; then nothing can be started."""
        ...


class Runner(Protocol):
    """Runs attempts."""

    async def run(self, attempt: model.Attempt) -> Any:
        """The raw output of one attempt. Raises StepError."""
        ...


class Documents(Protocol):
    """The documents that executions share."""

    async def read(self, document: str, parts: Sequence[Sequence[str]]) -> Mapping[str, Any]:
        """Some parts of a document, as they stand together: `document`, its `clock`, and `value`,
        an object that has of the document what is at these paths. A part that is not there is left
        out, and so is all of a document that nobody has written. Only what is durable is read.

        Raises StepError."""
        ...


class Library(Protocol):
    """Where subflows are found."""

    def find(self, namespace: str, name: str, version: str) -> Flow | None:
        """A flow that this node knows; `latest` is the newest version."""
        ...
