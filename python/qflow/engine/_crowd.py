"""Sealed states between their decision and the store of states: how many bytes there may be."""

from __future__ import annotations

from collections import deque
from typing import Final

from qflow.engine._live import Decided, Live
from qflow.engine._sealed import Checkpoint
from qflow.errors import ExecutionStateError

STATES_BYTES_MAX: Final = 64 << 20
"""Of sealed states that were decided on and are not in the store yet; the last one may go beyond.
At the bound nothing is begun, and a checkpoint before a step waits to be made."""
OPTIONAL_BYTES_MAX: Final = STATES_BYTES_MAX // 2
"""At this bound none is made that nobody waits for."""


class Crowd:
    """Counts from the decision until the store has told how it ended."""

    def __init__(self) -> None:
        self._bytes = 0
        self._postponed = 0
        self._durable: deque[Decided] = deque()

    @property
    def size_bytes(self) -> int:
        """Of the sealed states on their way."""
        return self._bytes

    @property
    def has_room(self) -> bool:
        """Whether one more may be made. Those that were postponed come first."""
        return self._bytes < STATES_BYTES_MAX and not self._postponed

    @property
    def has_room_beside(self) -> bool:
        """Whether one may be made that nobody waits for."""
        return self._bytes < OPTIONAL_BYTES_MAX and not self._postponed

    def add(self, checkpoint: Checkpoint) -> None:
        """A checkpoint was decided on."""
        self._bytes += checkpoint.size_bytes

    def remove(self, checkpoint: Checkpoint) -> None:
        """It is kept, or never will be."""
        self._bytes -= checkpoint.size_bytes

    def postpone(self) -> None:
        """A decision wants a checkpoint before a step, and there is no room."""
        self._postponed += 1

    def note_durable(self, made: Decided) -> None:
        """The facts of a postponed one are durable: it can be made."""
        self._durable.append(made)

    def take(self) -> Decided | None:
        """The first of the postponed ones, once there is room."""
        if not self._durable or self._bytes >= STATES_BYTES_MAX:
            return None
        self._postponed -= 1
        return self._durable.popleft()


def unmade(live: Live, error: ValueError) -> ExecutionStateError:
    """Why an execution stays shut whose checkpoint before a step cannot be made."""
    return ExecutionStateError(
        f"{live.id} does not begin a step without the checkpoint before it, and none can be made:"
        f" {error}"
    )
