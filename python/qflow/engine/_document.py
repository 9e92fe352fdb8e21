"""A document as it was read: values with the place of each, within bounds.

YAML and JSON both become `Node`s here; `expand` makes plain data of them. Aliases share a node, so
the bounds are counted on what they expand to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from qflow.engine._problems import Position, listed

DOCUMENT_BYTES_MAX: Final = 1 << 20
"""A JSON document longer than this is refused unread."""
YAML_BYTES_MAX: Final = 256 << 10
"""A YAML document longer than this is refused unread: reading a mebibyte takes over a second."""
DEPTH_MAX: Final = 64
"""Objects and lists inside each other."""
NODES_MAX: Final = 10_000
"""Values in a document, aliases expanded."""
TEXT_CHARS_MAX: Final = 1 << 20
"""Characters in all texts and keys of a document, aliases expanded."""
KEY_CHARS_MAX: Final = 512
"""Characters in one key."""
_INTEGER_MIN: Final = -(1 << 63)
_INTEGER_MAX: Final = (1 << 63) - 1


class UnreadableError(Exception):
    """The text is no document. Lines and columns count from 1."""

    def __init__(
        self, message: str, position: Position | None = None, fix: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.position, self.fix = message, position, fix


class Node:
    """A value and where it begins. `value` is a scalar, a list of nodes, or entries by key."""

    __slots__ = ("position", "value")

    def __init__(self, value: Any, position: Position) -> None:
        self.value, self.position = value, position


class Entries(dict[str, tuple[Position, Node]]):
    """The members of an object: by key, the key's position and the value."""

    def put(self, key: Any, position: Position, node: Node) -> None:
        """Add a member. Raises UnreadableError for a key that is no text, or is there already."""
        if not isinstance(key, str):
            raise UnreadableError(
                f"the key {key!r:.40} is not a text", position, "write it in quotes"
            )
        if len(key) > KEY_CHARS_MAX:
            raise UnreadableError(f"a key is longer than {KEY_CHARS_MAX} characters", position)
        if key in self:
            line, column = self[key][0]
            raise UnreadableError(
                f"the key {key!r:.80} is given twice, first at line {line}, column {column}",
                position,
                "remove one of the two",
            )
        self[key] = (position, node)


def expand(root: Node) -> Any:
    """Plain data: dict, list, str, int, float, bool, None. Raises UnreadableError at a bound."""
    return _Expansion().value(root, 1)


def plain_copy(document: Mapping[str, Any]) -> Any:
    """A copy of data that was never text, within the same bounds. Raises UnreadableError."""
    return _Expansion().plain(document, 1)


class _Expansion:
    def __init__(self) -> None:
        self._nodes = self._chars = 0

    def _count(self, text: Any, depth: int, position: Position | None) -> None:
        self._nodes += 1
        if isinstance(text, str):
            self._chars += len(text)
        if self._nodes > NODES_MAX:
            raise UnreadableError(f"the document has more than {NODES_MAX} values", position)
        if self._chars > TEXT_CHARS_MAX:
            raise UnreadableError(
                f"the texts of the document are longer than {TEXT_CHARS_MAX} characters", position
            )
        if depth > DEPTH_MAX:
            raise UnreadableError(f"more than {DEPTH_MAX} levels inside each other", position)

    def value(self, node: Node, depth: int) -> Any:
        value = node.value
        self._count(value, depth, node.position)
        if isinstance(value, Entries):
            made = {}
            for key, (_, child) in value.items():
                self._chars += len(key)
                made[key] = self.value(child, depth + 1)
            return made
        if isinstance(value, list):
            return [self.value(child, depth + 1) for child in value]
        return value

    def plain(self, value: Any, depth: int) -> Any:
        self._count(value, depth, None)
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise UnreadableError(f"the key {key!r:.40} is not a text")
                self._chars += len(key)
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item, depth + 1) for item in value]
        return scalar(value, None)


def scalar(value: Any, position: Position | None) -> Any:
    """A scalar that every part can hold. Raises UnreadableError for any other."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise UnreadableError("half of a surrogate pair stands alone in a text", position)
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise UnreadableError("an integer does not fit into 64 bits", position, "quote it")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnreadableError("a number is not finite", position, "quote it")
        return value
    kinds = listed(["text", "number", "boolean", "null", "list", "object"])
    raise UnreadableError(f"a {type(value).__name__} cannot be in a flow, only {kinds}", position)


def integer(digits: str, base: int, position: Position) -> int:
    """The integer that is written there. Raises UnreadableError beyond 64 bits."""
    # Python itself refuses thousands of digits, with another error.
    if len(digits) > 80:
        raise UnreadableError("an integer does not fit into 64 bits", position, "quote it")
    number: int = scalar(int(digits, base), position)
    return number


def locate(root: Node, pointer: str) -> Position | None:
    """Where the value of a JSON pointer stands: its key, or the item, or what is nearest above."""
    node, position = root, root.position
    for token in pointer.split("/")[1:]:
        value = node.value
        if isinstance(value, Entries):
            found = value.get(token.replace("~1", "/").replace("~0", "~"))
            if found is None:
                break
            position, node = found
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            node = value[int(token)]
            position = node.position
        else:
            break
    return position
