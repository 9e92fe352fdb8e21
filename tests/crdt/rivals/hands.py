"""The same step, taken by each library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benches.rivals import crdt
from tests.crdt.rivals.histories import History, Path, Step


def loro_map(document: Any, path: Path) -> Any:
    found = document.map
    for part in path:
        found = found.ensure_mergeable_map(part)
    return found


def loro(document: Any, step: Step) -> None:
    match step.verb:
        case "map":
            loro_map(document, step.path)
        case "set":
            loro_map(document, step.path[:-1]).insert(step.path[-1], step.value)
        case "delete":
            loro_map(document, step.path[:-1]).delete(step.path[-1])
        case "add":
            document.counter.increment(step.value)
    document.doc.commit()


def pycrdt(document: Any, step: Step) -> None:
    from pycrdt import Map

    found = document.map
    for part in step.path[:-1]:
        found = found[part]
    match step.verb:
        case "map":
            found[step.path[-1]] = Map()
        case "set":
            found[step.path[-1]] = step.value
        case "delete":
            del found[step.path[-1]]
        case "add":
            document.total += step.value
            document.totals[document.own] = document.total


def automerge(document: Any, step: Step) -> None:
    from automerge import core

    from benches.rivals.crdt_automerge import scalar

    found = document.map
    for part in step.path[:-1]:
        found = document.doc.get(found, part)[1]
    with document.doc.transaction() as transaction:
        match step.verb:
            case "map":
                transaction.put_object(found, step.path[-1], core.ObjType.Map)
            case "set":
                transaction.put(found, step.path[-1], scalar(step.value), step.value)
            case "delete":
                transaction.delete(found, step.path[-1])
            case "add":
                transaction.increment(core.ROOT, "n", step.value)


def qflow(document: Any, step: Step) -> None:
    path = ("m", *step.path)
    match step.verb:
        case "map":
            document.write(lambda transaction: transaction.set(path, {}))
        case "set":
            document.write(lambda transaction: transaction.set(path, step.value))
        case "delete":
            document.write(lambda transaction: transaction.delete(path))
        case "add":
            document.write(lambda transaction: transaction.increment("/n", step.value))
        case "append":
            document.write(lambda transaction: transaction.append("/l", *step.value))


OURS = "qflow"
"""In which several values that are appended at once are one operation."""
HANDS: dict[str, Callable[[Any, Step], None]] = {
    "qflow": qflow,
    "loro": loro,
    "pycrdt": pycrdt,
    "automerge": automerge,
}


def take(name: str, documents: dict[int, Any], step: Step) -> None:
    document = documents[step.replica]
    if step.verb == "see":
        document.take(documents[step.value].lacks(document))
    elif step.verb == "append" and name != OURS:
        document.append(list(step.value))
    elif step.verb == "clear":
        document.clear()
    else:
        HANDS[name](document, step)


def play(name: str, history: History) -> list[dict[str, Any]]:
    """What each replica of this library reads at the end."""
    library = crdt.library(name)
    documents = {replica: library.create(replica) for replica in range(1, history.replicas + 1)}
    for path in history.maps:
        take(name, documents, Step(1, "map", path))
    for replica in range(2, history.replicas + 1):
        take(name, documents, Step(replica, "see", value=1))
    for step in history.steps:
        take(name, documents, step)
    return [document.read() for document in documents.values()]
