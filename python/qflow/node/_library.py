"""The flows that a node knows by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qflow import _core, model
from qflow.engine import Flow

if TYPE_CHECKING:
    from qflow.audit import History, Index


class Library:
    """Flows given to the node since it started, and those that its log holds.

    `stored` finds a flow in the log by `namespace/name` or `namespace/name/version`.
    """

    def __init__(self, stored: Callable[[str], Flow | None]) -> None:
        self._stored = stored
        self._known: dict[tuple[str, str], dict[str, Flow]] = {}

    def add(self, flow: Flow) -> None:
        self._known.setdefault((flow.namespace, flow.name), {})[flow.version] = flow

    def find(self, namespace: str, name: str, version: str) -> Flow | None:
        """A flow; `latest` is the highest version that was given, or else the one that ran last."""
        known = self._known.get((namespace, name), {})
        if version == "latest":
            if known:
                return known[max(known, key=_version_order)]
            return self._stored(f"{namespace}/{name}")
        if version in known:
            return known[version]
        return self._stored(f"{namespace}/{name}/{version}")


def _version_order(version: str) -> tuple[Any, ...]:
    """Semantic versions in order, as far as their numbers go."""
    numbers = version.split("-")[0].split("+")[0].split(".")
    return (*(int(n) if n.isdecimal() else 0 for n in numbers), "-" not in version)


def flow_that_ran(name: str, index: Index, history: History) -> Flow | None:
    """The flow of this name that ran last, from the log."""
    found = index.executions(flow=name, limit=1)
    if not found:
        return None
    (first,) = history.records(model.id_bytes(found[0].id), limit=1)
    document = _core.decode(history.block(_core.Cid(found[0].definition)))
    return Flow(document, base=first.record["meta"].get("base"))


def scheduled_flow(history: History, schedule: model.Schedule) -> Flow:
    """The flow of a schedule, from the log."""
    data = history.block(_core.Cid(schedule.definition))
    return Flow(_core.decode(data), base=schedule.rule.get("base"))
