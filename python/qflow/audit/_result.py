"""What an execution came to, and the key of its payloads: read from its chain."""

from __future__ import annotations

import msgspec

from qflow import model
from qflow.audit._read import History

COMPLETED, FAULTED, ABORTED = "completed", "faulted", "aborted"


def with_result(view: model.Execution, history: History) -> model.Execution:
    """An execution that is over, with its output or whole problem from its last record.

    Where that is sealed and its key is not to be had, `payloads` says so.
    """
    if view.status not in (COMPLETED, FAULTED, ABORTED):
        return view
    last = history.last(model.id_bytes(view.id))
    if last is None:
        return view
    if view.status == ABORTED:
        return msgspec.structs.replace(view, problem=model.aborted(last.record["meta"]))
    if isinstance(last.value, model.Withheld):
        return msgspec.structs.replace(view, payloads=last.value.value, problem=None)
    value = None if last.value is msgspec.UNSET else last.value
    return msgspec.structs.replace(
        view, **{"output" if view.status == COMPLETED else "problem": value}
    )


def with_problem(view: model.Execution, history: History) -> model.Execution:
    """An execution as a list shows it: of one that failed, with why."""
    return with_result(view, history) if view.status in (FAULTED, ABORTED) else view


def key_number(history: History, execution: str) -> int | None:
    """The number of an execution's key, from its first record; None: its payloads are plain."""
    first = history.records(model.id_bytes(execution), limit=1)
    number = first[0].record["meta"].get("key") if first else None
    return number if isinstance(number, int) else None
