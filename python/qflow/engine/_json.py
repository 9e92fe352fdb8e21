"""JSON (RFC 8259) with the place of each value; a key given twice is refused."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any, Final

from qflow.engine import _document
from qflow.engine._document import DEPTH_MAX, NODES_MAX, Entries, Node, UnreadableError
from qflow.engine._problems import Position

_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*+(?:
        (?P<mark>[{}\[\]:,])
      | (?P<text>"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+")
      | (?P<number>-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+)
      | (?P<word>true|false|null)
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_WORDS: Final = {"true": True, "false": False, "null": None}


def looks_like_json(text: str) -> bool:
    """Whether a text begins as a JSON object does, and is to be read as JSON and nothing else."""
    return re.match(r'[ \t\r\n]*+\{[ \t\r\n]*+["}]', text) is not None


def read(text: str) -> Node:
    """The value of a text. Raises UnreadableError, with the place."""
    return _Reader(text).document()


class _Reader:
    """Reads one value after the other, without recursion.

    `expect` is what may come next: a value, `first` (a value or the end of an empty list), `key`,
    `key1` (a key or the end of an empty object), `colon`, `more` (a comma or the end), `end`.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._open: list[Node] = []
        self._keys: list[tuple[str, Position]] = []
        self._root: Node | None = None
        self._nodes = 0
        self._expect = "value"

    def document(self) -> Node:
        at = 0
        while True:
            match = _TOKEN.match(self._text, at)
            if match is None:
                blank = re.compile(r"[ \t\r\n]*+").match(self._text, at)
                raise self._wrong("this", self._place(blank.end() if blank else at))
            kind = str(match.lastgroup)
            place = self._place(match.start(kind))
            if kind == "end":
                if self._root is None or self._expect != "end":
                    raise self._wrong("the end of the text", place)
                return self._root
            self._token(kind, match.group(kind), place)
            at = match.end()

    def _place(self, offset: int) -> Position:
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def _wrong(self, what: str, place: Position) -> UnreadableError:
        wanted = {
            "value": "a value",
            "first": "a value or ]",
            "key": "a key in double quotes",
            "key1": "a key in double quotes or }",
            "colon": "a colon",
            "more": "a comma or the closing bracket",
            "end": "the end of the text",
        }[self._expect]
        return UnreadableError(f"the text is not JSON: {what} is where {wanted} belongs", place)

    def _token(self, kind: str, text: str, place: Position) -> None:
        expect = self._expect
        if expect in ("value", "first") and (kind != "mark" or text in "{["):
            self._value(kind, text, place)
        elif expect in ("key", "key1") and kind == "text":
            self._keys.append((_document.scalar(json.loads(text), place), place))
            self._expect = "colon"
        elif expect == "colon" and text == ":":
            self._expect = "value"
        elif expect == "more" and text == ",":
            self._expect = "key" if isinstance(self._open[-1].value, Entries) else "value"
        elif (text == "}" and expect in ("more", "key1") and self._in(Entries)) or (
            text == "]" and expect in ("more", "first") and self._in(list)
        ):
            self._open.pop()
            self._expect = "more" if self._open else "end"
        else:
            raise self._wrong(repr(text[:20]), place)

    def _in(self, kind: type) -> bool:
        return type(self._open[-1].value) is kind

    def _value(self, kind: str, text: str, place: Position) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise UnreadableError(f"the document has more than {NODES_MAX} values", place)
        node = Node(self._made(kind, text, place), place)
        if self._open:
            into: Any = self._open[-1].value
            if isinstance(into, list):
                into.append(node)
            else:
                into.put(*self._keys.pop(), node)
        else:
            self._root = node
        if kind == "mark":
            self._open.append(node)
            if len(self._open) > DEPTH_MAX:
                raise UnreadableError(f"more than {DEPTH_MAX} levels inside each other", place)
            self._expect = "key1" if text == "{" else "first"
        else:
            self._expect = "more" if self._open else "end"

    def _made(self, kind: str, text: str, place: Position) -> Any:
        if kind == "mark":
            return Entries() if text == "{" else []
        if kind == "text":
            return _document.scalar(json.loads(text), place)
        if kind == "word":
            return _WORDS[text]
        if text.lstrip("-").isdecimal():
            return _document.integer(text, 10, place)
        return _document.scalar(float(text), place)
