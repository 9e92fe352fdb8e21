"""The state of an execution as one block: what a checkpoint holds. Pure.

Values that several frames share (a loop's items, an input passed down) are stored once, in a
table; equal states give equal bytes, so a replay can check a snapshot against its own. Equal is
what has equal bytes: which of them are one object in memory differs between a run and its replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Final

from qflow import _core
from qflow.engine._state import Frame, State
from qflow.errors import ReplayError

VERSION: Final = 1
_PLAIN: Final = ("id", "flow", "status", "started_at", "now", "next_id", "paused", "timeout_at",
                 "base", "parent")  # fmt: skip
_VALUES: Final = ("input", "context", "output", "problem")
_FRAME_PLAIN: Final = ("id", "parent", "kind", "path", "where", "name", "entered_at", "attempt",
                       "timers", "running")  # fmt: skip


class _Table:
    """Containers by their bytes: the first one to hold a value stores it, others point there."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._by_id: dict[int, int] = {}
        self._by_bytes: dict[bytes, int] = {}

    def put(self, value: Any) -> Any:
        if not isinstance(value, dict | list) or not value:
            return [value]
        index = self._by_id.get(id(value))
        if index is None:
            index = self._by_bytes.setdefault(_core.encode(value), len(self.values))
            self._by_id[id(value)] = index
            if index == len(self.values):
                self.values.append(value)
        return index


def freeze(state: State) -> dict[str, Any]:
    """Plain data for a state; it refers to the state's values and is to be encoded at once."""
    table = _Table()
    made: dict[str, Any] = {name: getattr(state, name) for name in _PLAIN}
    made["v"] = VERSION
    made |= {name: table.put(getattr(state, name)) for name in _VALUES}
    made["frames"] = [_freeze_frame(frame, table) for frame in state.frames.values()]
    made["agenda"] = [
        [operation, frame, table.put(value)] for operation, frame, value in state.agenda
    ]
    made["table"] = table.values
    return made


def thaw(made: Mapping[str, Any]) -> State:
    """The state that `freeze` was given. Raises ReplayError for another version."""
    check_form(made)
    table = made["table"]

    def get(item: Any) -> Any:
        return item[0] if isinstance(item, list) else table[item]

    state = State(**{name: made[name] for name in _PLAIN})
    for name in _VALUES:
        setattr(state, name, get(made[name]))
    for item in made["frames"]:
        frame = Frame(
            raw=get(item["raw"]),
            input=get(item["input"]),
            scope={name: get(value) for name, value in item["scope"].items()},
            # Decisions change these lists and maps: each frame has its own.
            data={name: copy(get(value)) for name, value in item["data"].items()},
            **{name: item[name] for name in _FRAME_PLAIN},
        )
        state.frames[frame.id] = frame
    state.agenda = [(operation, frame, get(value)) for operation, frame, value in made["agenda"]]
    return state


def check_form(made: Any) -> None:
    """Raise ReplayError for what this release does not read."""
    version = made.get("v") if isinstance(made, Mapping) else None
    if version != VERSION:
        raise ReplayError(f"a snapshot of version {version!r}; this release reads {VERSION}")


def _freeze_frame(frame: Frame, table: _Table) -> dict[str, Any]:
    made = {name: getattr(frame, name) for name in _FRAME_PLAIN}
    made["raw"], made["input"] = table.put(frame.raw), table.put(frame.input)
    # In the order of the names: a map that was encoded and read back has another one.
    made["scope"] = {name: table.put(value) for name, value in sorted(frame.scope.items())}
    made["data"] = {name: table.put(value) for name, value in sorted(frame.data.items())}
    return made
