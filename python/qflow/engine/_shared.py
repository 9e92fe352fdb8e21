"""The documents that executions share: what a task reads of them before it begins. Pure.

A decision sees no document, only what was read: a fact of the chain, made before it is used. So a
replay, a recovery and a restore elsewhere see the same, however the document went on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from qflow import expressions, model
from qflow.engine import _walk
from qflow.engine._expressions import task_sites, texts
from qflow.engine._flow import Flow
from qflow.engine._scope import BASE, DOCUMENTS
from qflow.engine._state import Frame
from qflow.engine._turn import Fault, Turn

NAME_CHARS_MAX: Final = 200
"""Of the whole name of a document."""
CALL: Final = "document"
"""The call that writes."""
_FLOWS_MAX: Final = 256
_READING: Final = "reading"

Keys = tuple[str, ...]
"""The members that lead to a part of a document; none of them lead to all of it."""


def reads(turn: Turn, frame: Frame) -> bool:
    """Have read what the expressions of a step mention. False: they mention no document."""
    if not turn.flow.documents:
        return False
    wanted = _mentioned(turn.flow).get(frame.where)
    if not wanted:
        return False
    frame.data[_READING] = {
        local: {"document": name_of(turn, local), "parts": [list(keys) for keys in parts]}
        for local, parts in wanted.items()
    }
    frame.running = True
    turn.ask("read", frame.id)
    return True


def is_reading(frame: Frame) -> bool:
    """Whether a step waits for what is read before it."""
    return _READING in frame.data


def wanted(frame: Frame) -> Mapping[str, Mapping[str, Any]]:
    """What a step waits for: by local name the `document`, and the `parts` of it."""
    found: Mapping[str, Mapping[str, Any]] = frame.data[_READING]
    return found


def take(frame: Frame, read: Mapping[str, Mapping[str, Any]]) -> None:
    """From now on the step's expressions see this."""
    del frame.data[_READING]
    frame.data[DOCUMENTS] = {local: item["value"] for local, item in read.items()}


def name_of(turn: Turn, local: str) -> str:
    """The whole name of a document of the flow. Raises Fault, ExpressionError."""
    name = expressions.resolve(turn.flow.documents[local], turn.state.input, {})
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
        detail = f"{local} is {name!r:.80}; a name has 1 to {NAME_CHARS_MAX} characters"
        kind = model.ErrorKind.CONFIGURATION
        raise Fault(model.problem(kind, "Not the name of a document", detail))
    return name


# -- what expressions mention --------------------------------------------------------------


@lru_cache(maxsize=_FLOWS_MAX)
def _mentioned(flow: Flow) -> dict[str, dict[str, tuple[Keys, ...]]]:
    """By the pointer of each task of a flow: the parts of documents that its own expressions
    mention, by local name. Tasks below it read for themselves, when they begin."""
    found: dict[str, dict[str, tuple[Keys, ...]]] = {}
    for place in _walk.tasks(flow.document):
        parts: dict[str, set[Keys]] = {}
        for _, local, keys in mentions(place, flow.document, flow.documents):
            parts.setdefault(local, set()).add(keys)
        if parts:
            found[place.pointer] = {local: _least(parts[local]) for local in sorted(parts)}
    return found


def mentions(
    place: _walk.Place, document: dict[str, Any], documents: Iterable[str]
) -> Iterator[tuple[str, str, Keys]]:
    """The documents that the expressions of a task itself read: where, by which local name, and the
    keys that they spell out. Raises ExpressionError."""
    for path, form, value, names in task_sites(place, document):
        scope = tuple(dict.fromkeys((*BASE, DOCUMENTS, *names)))
        for where, text in texts(path, form, value):
            for local, keys in _mentions(text, scope, documents):
                yield where, local, keys


def _mentions(text: str, scope: Keys, documents: Iterable[str]) -> Iterator[tuple[str, Keys]]:
    """Where an expression does not spell out which document, it reads all of each."""
    compiled = expressions.compile_expression(expressions.source_of(text), scope)
    for variable, keys in compiled.reads:
        if variable != DOCUMENTS:
            continue
        if keys:
            yield keys[0], keys[1:]
        else:
            yield from ((local, ()) for local in documents)


def _least(parts: set[Keys]) -> tuple[Keys, ...]:
    """Without those that lie within another one."""
    return tuple(
        keys
        for keys in sorted(parts)
        if not any(keys[:length] in parts for length in range(len(keys)))
    )
