"""What runtime expressions see: `$context`, `$input`, `$task`, ... made only when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from qflow.engine._flow import Flow
from qflow.engine._state import Frame, State

BASE: Final = ("context", "input", "task", "workflow", "runtime")
DOCUMENTS: Final = "documents"
"""In scope of the tasks of a flow that names documents."""
_RUNTIME: Final = {"name": "qflow", "version": "1", "metadata": {}}
UNSET: Final = object()


def instant(at_ms: int) -> dict[str, Any]:
    """The date-time descriptor of the specification."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
    return {"iso8601": text, "epoch": {"seconds": at_ms // 1000, "milliseconds": at_ms}}


class Scope(Mapping[str, Any]):
    """The variables in scope of one frame, by name without `$`."""

    __slots__ = ("_extra", "_flow", "_frame", "_names", "_state")

    def __init__(self, flow: Flow, state: State, frame: Frame, /, **extra: Any) -> None:
        self._flow, self._state, self._frame, self._extra = flow, state, frame, extra
        base = (*BASE, DOCUMENTS) if flow.documents else BASE
        names = dict.fromkeys((*base, *extra))
        at = frame
        while at.parent:
            at = state.frames[at.parent]
            names.update(dict.fromkeys(at.scope))
        self._names = tuple(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name in self._extra:
            return self._extra[name]
        at = self._frame
        while at.parent:
            at = self._state.frames[at.parent]
            if name in at.scope:
                return at.scope[name]
        return self._base(name)

    def _base(self, name: str) -> Any:
        if name == "context":
            return self._state.context
        if name == "input":
            return self._frame.input
        if name == "runtime":
            return _RUNTIME
        if name == "workflow":
            return {
                "id": self._state.id,
                "definition": self._flow.document,
                "input": self._state.input,
                "startedAt": instant(self._state.started_at),
            }
        if name == "task":
            return self._task()
        if name == DOCUMENTS:
            return self._frame.data.get(DOCUMENTS, {})
        raise KeyError(name)

    def _task(self) -> dict[str, Any]:
        frame = self._frame
        task = {
            "name": frame.name,
            "reference": frame.where,
            "definition": self._flow.at(frame.where),
            "input": frame.raw,
            "startedAt": instant(frame.entered_at),
        }
        if "output" in self._extra:
            task["output"] = self._extra["output"]
        return task

    def frozen(self) -> dict[str, Any]:
        """A plain copy for an attempt, which runs while the state moves on."""
        return {name: self[name] for name in self._names}
