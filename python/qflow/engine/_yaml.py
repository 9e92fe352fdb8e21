"""YAML 1.2 in its core schema, from the events of ruamel.yaml.

Only what a flow needs: one document, keys that are texts, no tags, no merge keys. Timestamps are
texts, as the core schema has none. Anchors are allowed; `_document.expand` bounds them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from qflow.engine import _document
from qflow.engine._document import DEPTH_MAX, NODES_MAX, Entries, Node, UnreadableError
from qflow.engine._problems import Position, shortened

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LEAKED: Final = (
    *(ValueError, IndexError, KeyError, AttributeError, TypeError, AssertionError),
    *(OverflowError, RecursionError),
)
"""What the reader lets out for some malformed input, in place of an error of its own."""
_NUMBER_START: Final = frozenset("+-.0123456789")


def read(text: str) -> Node:
    """The one document of a text. Raises UnreadableError, with the place."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    composer = _Composer()
    try:
        for event in YAML(typ="base", pure=True).parse(text):
            composer.take(event)
    except MarkedYAMLError as error:
        raise _unreadable(error) from None
    except UnreadableError:
        raise
    except YAMLError as error:
        raise UnreadableError(shortened(str(error).partition("\n")[0]), composer.last) from None
    except _LEAKED as error:
        detail = f"the text is not YAML: {type(error).__name__}"
        raise UnreadableError(detail, composer.last) from None
    if composer.root is None:
        raise UnreadableError("the document is empty", (1, 1))
    return composer.root


def _unreadable(error: Any) -> UnreadableError:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark is not None else None
    words = [word for word in (error.problem, error.context) if word]
    return UnreadableError(f"the text is not YAML: {', '.join(words)}", place)


class _Composer:
    """Makes nodes of events, without recursion."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.last: Position = (1, 1)
        self._open: list[Node] = []
        self._keys: list[tuple[Any, Position] | None] = []
        self._anchors: dict[str, Node] = {}
        self._nodes = self._documents = 0

    def take(self, event: Any) -> None:
        mark = event.start_mark
        self.last = place = (mark.line + 1, mark.column + 1)
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._refuse_tag(event)
            self._add(Node(_scalar(event, place), place), event.anchor)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._refuse_tag(event)
            node = Node(Entries() if kind == "MappingStartEvent" else [], place)
            self._add(node, event.anchor)
            self._open.append(node)
            self._keys.append(None)
            if len(self._open) > DEPTH_MAX:
                raise UnreadableError(f"more than {DEPTH_MAX} levels inside each other", place)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._open.pop()
            self._keys.pop()
        elif kind == "AliasEvent":
            self._add(self._aliased(event.anchor), None)
        elif kind == "DocumentStartEvent":
            self._begin(event)

    def _begin(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise UnreadableError("there is more than one document in the text", self.last)
        if event.version is not None and tuple(event.version) != (1, 2):
            raise UnreadableError("the document asks for another YAML than 1.2", self.last)

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            raise UnreadableError(
                f"the tag {event.tag!r:.60} is not allowed", self.last, "remove the tag"
            )

    def _aliased(self, name: str) -> Node:
        node = self._anchors.get(name)
        if node is None:
            raise UnreadableError(f"the alias *{name:.40} names no anchor above it", self.last)
        if any(node is outer for outer in self._open):
            raise UnreadableError(f"the alias *{name:.40} is inside what it names", self.last)
        return Node(node.value, self.last)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open and self._keys[-1] is None and isinstance(self._open[-1].value, Entries):
            self._keys[-1] = (self._key(node), node.position)
            return
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise UnreadableError(f"the document has more than {NODES_MAX} values", self.last)
        if not self._open:
            self.root = node
            return
        into = self._open[-1].value
        if isinstance(into, list):
            into.append(node)
        elif self._keys[-1] is not None:
            key, place = self._keys[-1]
            self._keys[-1] = None
            into.put(key, place, node)

    def _key(self, node: Node) -> Any:
        if isinstance(node.value, list | Entries):
            raise UnreadableError("a list or an object cannot be a key", self.last)
        if node.value == "<<":
            raise UnreadableError(
                "the merge key << is not part of YAML 1.2", self.last, "repeat the fields"
            )
        return node.value


def _scalar(event: Any, place: Position) -> Any:
    text = str(event.value)
    if not event.implicit[0]:
        return _document.scalar(text, place)
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if text[0] not in _NUMBER_START:
        return _document.scalar(text, place)
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return _document.integer(text if base == 10 else text[2:], base, place)
    if _FLOAT.fullmatch(text):
        return _document.scalar(float(text), place)
    if _NOT_FINITE.fullmatch(text):
        raise UnreadableError("a number is not finite", place, "quote it")
    return text
