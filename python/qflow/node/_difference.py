"""What happened to the state of an execution between two checkpoints of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from qflow import model
from qflow.api._states import Change
from qflow.engine._state import Frame, State

VALUE_BYTES_MAX: Final = 64 << 10
"""Of one value in a difference, as JSON; a longer one is left out and marked."""
VALUES_BYTES_MAX: Final = 4 << 20
"""Of all of them: a difference has to fit one line of the control socket."""
_PLAIN: Final = ("status", "input", "context", "output", "problem", "paused", "timeout_at")
_FRAME: Final = ("path", "kind", "attempt", "input", "raw", "scope", "data", "timers", "running")
_ABSENT: Final = object()


class Compared(NamedTuple):
    """The places where two states differ, in the order of their paths."""

    changes: list[Change]
    more: int
    """Further ones, beyond the limit."""
    entered: list[str]
    """Steps that only the newer one has under way."""
    left: list[str]


def compare(older: State, newer: State, *, limit: int, values: bool) -> Compared:
    """What changed from one state to another; without `values` only where."""
    found = _walk("", _document(older), _document(newer))
    changes: list[Change] = []
    room, more = VALUES_BYTES_MAX, 0
    for path, old, new in found:
        if len(changes) == limit:
            more += 1
            continue
        change, used = _change(path, old, new, room if values else 0)
        room -= used
        changes.append(change)
    before, after = _steps(older), _steps(newer)
    return Compared(changes, more, sorted(after - before), sorted(before - after))


def _document(state: State) -> dict[str, Any]:
    made: dict[str, Any] = {name: getattr(state, name) for name in _PLAIN}
    made["frames"] = {str(frame.id): _frame(frame) for frame in state.frames.values()}
    made["agenda"] = [list(item) for item in state.agenda]
    return made


def _frame(frame: Frame) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in _FRAME}


def _steps(state: State) -> set[str]:
    return {frame.path for frame in state.frames.values() if frame.kind != "list"}


def _walk(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}/{model.pointer_token(key)}"
            yield from _walk(below, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif _is_list(old) and _is_list(new):
        for index in range(max(len(old), len(new))):
            yield from _walk(f"{path}/{index}", _item(old, index), _item(new, index))
    elif type(old) is not type(new) or old != new:
        yield path, old, new


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _item(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def _change(path: str, old: Any, new: Any, room: int) -> tuple[Change, int]:
    what = "added" if old is _ABSENT else "removed" if new is _ABSENT else "changed"
    given = {name: value for name, value in (("old", old), ("new", new)) if value is not _ABSENT}
    if not room:
        return Change(path=path, what=what), 0
    sizes = [len(msgspec.json.encode(value)) for value in given.values()]
    if max(sizes) > VALUE_BYTES_MAX or sum(sizes) > room:
        return Change(path=path, what=what, cut=True), 0
    return Change(path=path, what=what, **given), sum(sizes)
