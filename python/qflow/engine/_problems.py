"""What is wrong with a flow, and where: collected, and told in the order of the lines."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from qflow.errors import FlowError

PROBLEMS_MAX: Final = 20
"""More findings than this are not collected; the error says that there are more."""
_CANDIDATES_MAX: Final = 200
_WORD_CHARS_MAX: Final = 100
_TEXT_CHARS_MAX: Final = 300

Position = tuple[int, int]
Locate = Callable[[str], Position | None]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. Lines and columns count from 1; None when the flow was not given as text."""

    file: str
    line: int | None
    column: int | None
    path: str
    """JSON pointer (RFC 6901) into the document; "" is the document itself."""
    message: str
    fix: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        path = f" {self.path}:" if self.path else ""
        fix = f" ({self.fix})" if self.fix else ""
        # Names come from strangers: no line breaks of theirs, and nothing a terminal obeys.
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode()
            for letter in f"{place}:{path} {self.message}{fix}"
        )


class Findings:
    """Collects the problems of one document."""

    def __init__(self, file: str, locate: Locate) -> None:
        self._file, self._locate = file, locate
        self._found: dict[tuple[str, str], Problem] = {}
        self._more = False

    @property
    def full(self) -> bool:
        """Whether there is room for no more, so that looking on is pointless."""
        return self._more

    def add(self, path: str, message: str, fix: str | None = None) -> None:
        """Add a finding; the same one twice is kept once."""
        key = (path, message)
        if key in self._found:
            return
        if len(self._found) == PROBLEMS_MAX:
            self._more = True
            return
        line, column = self._locate(path) or (None, None)
        self._found[key] = Problem(
            file=self._file,
            line=line,
            column=column,
            path=shortened(path),
            message=shortened(message),
            fix=None if fix is None else shortened(fix),
        )

    def settle(self) -> None:
        """Raise FlowError if anything was found."""
        if self._found:
            found = sorted(self._found.values(), key=lambda p: (p.line or 0, p.column or 0))
            raise flow_error(self._file, found, more=self._more)


def flow_error(file: str, problems: list[Problem], *, more: bool = False) -> FlowError:
    """The error whose text shows every problem, one a line."""
    count = f"more than {PROBLEMS_MAX}" if more else str(len(problems))
    noun = "problem" if count == "1" else "problems"
    text = "\n".join(f"  {problem}" for problem in problems)
    return FlowError(f"{file}: the flow is refused, {count} {noun}\n{text}", problems)


def did_you_mean(word: Any, known: Iterable[str]) -> str | None:
    """A suggestion in words, or None when nothing is near."""
    if not isinstance(word, str) or len(word) > _WORD_CHARS_MAX:
        return None
    candidates = [name for name in known if len(name) <= _WORD_CHARS_MAX][:_CANDIDATES_MAX]
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def shortened(text: str) -> str:
    """The text, cut where it gets too long to be read."""
    return text if len(text) <= _TEXT_CHARS_MAX else text[: _TEXT_CHARS_MAX - 3] + "..."


def listed(words: Iterable[str]) -> str:
    """Names for a sentence: 'a', 'b', 'c'."""
    return ", ".join(repr(word) for word in words)
