"""listen: which events a step takes, and when it has enough.

The output is always the list of what was taken, in order (DSL reference, "Listen"). Attributes of
a filter are compared for equality; `${ }` is evaluated on the attribute's value and must give true
or the value itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qflow import expressions
from qflow.engine._state import Frame
from qflow.engine._turn import Turn
from qflow.errors import ExpressionError


def begin(turn: Turn, frame: Frame, task: dict[str, Any]) -> None:
    to = task["listen"]["to"]
    frame.data |= {"taken": [], "matched": [], "keys": {}, "queue": [], "busy": False}
    frame.data["types"] = _types_of(to)
    if to.get("all") == []:
        turn.later("leave", frame.id, [])


def _types_of(to: Mapping[str, Any]) -> list[str]:
    """The types of the events that may matter to a listen task; `*` when any may."""
    found: dict[str, None] = {}
    for item in _filters(to) + _filters(_until(to)):
        kind = item["with"].get("type")
        found[kind if isinstance(kind, str) and not expressions.is_expression(kind) else "*"] = None
    if to.get("any") == []:
        found["*"] = None
    return ["*"] if "*" in found else list(found)


def wants(turn: Turn, frame: Frame, event: Mapping[str, Any]) -> bool:
    """Whether this step would take the event now."""
    if frame.data.get("done"):
        return False
    to = turn.task(frame)["listen"]["to"]
    if _matches_any(turn, frame, _filters(_until(to)), event):
        return True
    return bool(_open_matches(turn, frame, to, event))


def take(turn: Turn, frame: Frame, event: Mapping[str, Any]) -> None:
    """Take an event that `wants` said yes to."""
    task, data = turn.task(frame), frame.data
    to = task["listen"]["to"]
    if _matches_any(turn, frame, _filters(_until(to)), event):
        data["done"] = True
        _go_on(turn, frame, task)
        return
    matched = _open_matches(turn, frame, to, event)
    for index, item in matched:
        _remember(turn, frame, item, event)
        if "all" in to:
            data["matched"].append(index)
    value = _read(task, event)
    if "foreach" in task and "do" in task["foreach"]:
        data["queue"].append(value)
    else:
        data["taken"].append(_shaped(turn, frame, task, value, len(data["taken"])))
    data["done"] = _is_enough(turn, frame, to)
    _go_on(turn, frame, task)


def list_done(turn: Turn, frame: Frame, done: Frame, output: Any) -> None:
    """One event went through `foreach`."""
    task, data = turn.task(frame), frame.data
    data["busy"] = False
    data["taken"].append(_shaped(turn, frame, task, output, done.data["key"]))
    until = task["listen"]["to"].get("until")
    if isinstance(until, str) and turn.holds(until, data["taken"], frame):
        data["done"] = True
        data["queue"] = []
    _go_on(turn, frame, task)


def _go_on(turn: Turn, frame: Frame, task: Mapping[str, Any]) -> None:
    data = frame.data
    if data["busy"]:
        return
    if data["queue"]:
        data["busy"] = True
        index = len(data["taken"])
        value = data["queue"].pop(0)
        names = task["foreach"]
        scope = {names.get("item", "item"): value, names.get("at", "index"): index}
        turn.open_list(
            frame,
            f"/foreach/do#{index}",
            value,
            where="/foreach/do",
            scope=scope,
            key=index,
        )
    elif data["done"]:
        turn.later("leave", frame.id, data["taken"])


def _is_enough(turn: Turn, frame: Frame, to: Mapping[str, Any]) -> bool:
    data = frame.data
    if "all" in to:
        return len(set(data["matched"])) == len(to["all"])
    until = to.get("until")
    if until is None:
        return True
    if isinstance(until, str) and not data["queue"] and not data["busy"]:
        return turn.holds(until, data["taken"], frame)
    return False


def _shaped(turn: Turn, frame: Frame, task: Mapping[str, Any], value: Any, index: int) -> Any:
    """What `foreach.output` and `foreach.export` make of one event."""
    names = task.get("foreach") or {}
    extra = {names.get("item", "item"): value, names.get("at", "index"): index}
    if "as" in (names.get("output") or {}):
        scope = turn.scope(frame, **extra | {"output": value})
        value = expressions.transform(names["output"]["as"], value, scope)
    if "as" in (names.get("export") or {}):
        scope = turn.scope(frame, **extra | {"output": value})
        turn.state.context = expressions.transform(names["export"]["as"], value, scope)
    return value


def _read(task: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    how = task["listen"].get("read", "data")
    return event.get("data") if how == "data" else dict(event)


# -- filters -------------------------------------------------------------------------------


def _filters(to: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*to.get("all", ()), *to.get("any", ()), *([to["one"]] if "one" in to else [])]


def _until(to: Mapping[str, Any]) -> Mapping[str, Any]:
    until = to.get("until")
    return until if isinstance(until, Mapping) else {}


def _open_matches(
    turn: Turn, frame: Frame, to: Mapping[str, Any], event: Mapping[str, Any]
) -> list[tuple[int, dict[str, Any]]]:
    """The filters that the event meets, less those of `all` that were met before."""
    if to.get("any") == []:
        return [(0, {"with": {}})]
    return [
        (index, item)
        for index, item in enumerate(_filters(to))
        if index not in frame.data["matched"] and _matches(turn, frame, item, event)
    ]


def _matches_any(
    turn: Turn, frame: Frame, filters: list[dict[str, Any]], event: Mapping[str, Any]
) -> bool:
    return any(_matches(turn, frame, item, event) for item in filters)


def _matches(turn: Turn, frame: Frame, item: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether an event meets a filter. An expression that fails on it is a no: strangers send
    events, and what they send must not be able to fail the execution."""
    try:
        return _meets(turn, frame, item, event)
    except ExpressionError:
        return False


def _meets(turn: Turn, frame: Frame, item: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    for name, wanted in item["with"].items():
        if name not in event:
            return False
        value = event[name]
        if expressions.is_expression(wanted):
            answer = expressions.evaluate(wanted, value, turn.scope(frame))
            if answer is not True and answer != value:
                return False
        elif turn.resolve(wanted, frame) != value:
            return False
    return all(
        name not in frame.data["keys"] or frame.data["keys"][name] == found
        for name, found in _keys(turn, frame, item, event)
    ) and all(
        turn.resolve(rule["expect"], frame)
        == expressions.evaluate(rule["from"], dict(event), turn.scope(frame))
        for rule in (item.get("correlate") or {}).values()
        if "expect" in rule
    )


def _keys(
    turn: Turn, frame: Frame, item: Mapping[str, Any], event: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Correlation values without an expectation: the first event sets what later ones must have."""
    for name, rule in (item.get("correlate") or {}).items():
        if "expect" not in rule:
            yield name, expressions.evaluate(rule["from"], dict(event), turn.scope(frame))


def _remember(turn: Turn, frame: Frame, item: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    for name, found in _keys(turn, frame, item, event):
        frame.data["keys"].setdefault(name, found)
