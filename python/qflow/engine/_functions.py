"""Which Python functions a flow needs."""

from __future__ import annotations

from typing import Final

from qflow.engine._flow import Flow
from qflow.engine._walk import tasks

_CALLS: Final = frozenset({"http", "openapi", "document"})


def functions_called(flow: Flow) -> set[str]:
    """The names that `call` tasks of a flow use and that the flow does not define itself."""
    called = {place.task["call"] for place in tasks(flow.document) if place.kind == "call"}
    return called - _CALLS - set((flow.document.get("use") or {}).get("functions") or {})
