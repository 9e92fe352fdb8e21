"""`call: document`: one transaction in a document that executions share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from qflow.errors import StepError
from qflow.model import Attempt, ErrorKind
from qflow.steps._scope import Scope, failed

CALL: Final = "document"
VERBS: Final = ("delete", "set", "merge", "increment", "append")
"""The order in which a call does what it is asked to."""

Change = tuple[str, str, Any]
"""Verb, path (a JSON Pointer), value; of `append` the list of elements, of `delete` None."""


class Writer(Protocol):
    """The documents of a node."""

    async def write(self, document: str, changes: Sequence[Change], *, operation: str) -> None:
        """Make all changes, in their order, or none; nothing when this operation was done before.
        Durable on return. Raises StepError."""
        ...


async def write(attempt: Attempt, scope: Scope, documents: Writer | None) -> dict[str, Any]:
    """Make the attempt. All tries of a step are one operation, so that it is done once, whichever
    of them was cut off before its end was recorded; and each gives the same output."""
    if documents is None or attempt.document is None:
        raise failed(ErrorKind.CONFIGURATION, "There are no documents here")
    given = {
        name: scope.resolve(value)
        for name, value in (attempt.task.get("with") or {}).items()
        if name in VERBS
    }
    changes = [change for verb in VERBS if verb in given for change in _changes(verb, given[verb])]
    await documents.write(attempt.document, changes, operation=attempt.step_key)
    return {"document": attempt.document, "operation": attempt.step_key}


def _changes(verb: str, given: Any) -> Iterator[Change]:
    """In the order of the paths: a path comes before those beneath it."""
    if verb == "delete":
        if not isinstance(given, list) or not all(isinstance(path, str) for path in given):
            raise _unfit("delete takes a list of paths")
        yield from ((verb, path, None) for path in sorted(given))
        return
    if not isinstance(given, Mapping):
        raise _unfit(f"{verb} takes an object: values by path")
    for path, value in sorted(given.items()):
        if verb == "append" and not isinstance(value, list):
            value = [value]
        if verb == "append" and not value:
            continue
        yield verb, path, value


def _unfit(detail: str) -> StepError:
    return failed(ErrorKind.VALIDATION, "The arguments do not fit the call", detail)
