"""Exit codes, and errors as one line for a person or one document for a program."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import PurePath
from typing import Any, Final

from qflow import errors

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
WRONG_STATE: Final = 4
UNAVAILABLE: Final = 5
CORRUPTED: Final = 6
UNANCHORED: Final = 7
DIVERGED: Final = 8
INTERRUPTED: Final = 130

CODES: Final[dict[int, str]] = {
    OK: "done",
    FAILED: "the execution failed, the flow is invalid, the history is unverified or breaks rules",
    USAGE: "wrong usage or settings",
    NOT_FOUND: "not found",
    WRONG_STATE: "the execution cannot do that in its present status",
    UNAVAILABLE: "no node runs, or another process holds its files",
    CORRUPTED: "the files are damaged, or a durable write failed",
    UNANCHORED: "verified, but not by as many witnesses as the policy asks for",
    DIVERGED: "the history is not the one of the head that is known",
    INTERRUPTED: "interrupted",
}

_BY_CLASS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.ExecutionNotFoundError, NOT_FOUND),
    (errors.ExecutionStateError, WRONG_STATE),
    (errors.ErasedError, WRONG_STATE),
    (errors.UnavailableError, UNAVAILABLE),
    (errors.LockedError, UNAVAILABLE),
    (errors.BusyError, UNAVAILABLE),
    (errors.LogError, CORRUPTED),
    (errors.ReplayError, CORRUPTED),
    (errors.ConfigError, USAGE),
    (errors.EventError, USAGE),
    (errors.SigningKeyError, USAGE),
    (errors.QflowError, FAILED),
    (KeyboardInterrupt, INTERRUPTED),
)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS: Final = ("disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_READ_ONLY_WORDS: Final = (os.strerror(errno.EROFS), "readonly database", "is read-only: copy")
_COPY: Final = "stop the node and bring this file back from a copy; docs/guides/keys.md says how"
_FILES: Final[tuple[tuple[str, str], ...]] = (
    ("state.db", "qflow doctor checks it; docs/guides/checkpoints.md says how states come back"),
    ("subnet.keys", "qflow doctor says which key files fit; docs/guides/keys.md brings them back"),
    ("adopted.keys", _COPY),
    ("keys", _COPY),
)
"""What to do about a file of the home that is not what was written: by its name."""

_HINTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.ExecutionNotFoundError, "qflow list shows the executions of this home"),
    (errors.HeldError, "qflow audit holds lists them; qflow audit release ends one"),
    (errors.ExecutionStateError, "qflow show ID says where it stands"),
    (errors.LockedError, "a node runs there; qflow doctor names its process"),
    (errors.BusyError, "nothing was taken; try again"),
    (errors.PoisonedError, "check the disk, then start the node again; qflow doctor helps"),
    (errors.CorruptError, "qflow audit verify says what is damaged; restore it from a copy"),
    (errors.ReplayError, "qflow audit verify says whether the history is what was written"),
    (errors.ConfigError, "qflow config show says where each value comes from"),
    (errors.SigningKeyError, "qflow doctor says what is wrong with the key"),
)


class Refusal(errors.QflowError):
    """An error of the command line itself, with its exit code and what to do about it."""

    def __init__(self, message: str, code: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


def cause_of(error: BaseException) -> BaseException:
    """The first error inside groups that task groups made."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def code_of(error: BaseException) -> int:
    """The exit code of an error."""
    if isinstance(error, Refusal):
        return error.code
    if _is_full(error) and getattr(error, "errno", None) is None:
        # Of the node's own files; what a command writes elsewhere says nothing of those.
        return CORRUPTED
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), FAILED)


def hint_of(error: BaseException) -> str | None:
    """What to do about an error, where that is known."""
    if isinstance(error, Refusal):
        return error.hint
    if _is_full(error):
        again = "start the node again" if isinstance(error, errors.PoisonedError) else "try again"
        return f"the disk is full: free some space, then {again}"
    if _says(error, _READ_ONLY_WORDS):
        return "copy the home to read it: cp -a HOME COPY, then --home COPY"
    if isinstance(error, errors.CorruptError) and (hint := _hint_of_file(str(error))) is not None:
        return hint
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)


def _is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room: also one of a node, of which only the text comes."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return _says(error, _FULL_WORDS)


def _says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    failed = isinstance(error, OSError | errors.UnavailableError | errors.LogError)
    return failed and any(words in str(error) for words in phrases)


def _hint_of_file(message: str) -> str | None:
    """Errors of damage begin with the path of the file; across the socket only their text comes."""
    named = message.split(maxsplit=1)[:1]
    name = PurePath(named[0].rstrip(":")).name if named else ""
    return next((hint for known, hint in _FILES if name == known), None)


def report(error: BaseException, *, as_json: bool) -> int:
    """Print an error on stderr; its exit code."""
    error = cause_of(error)
    if os.environ.get("QFLOW_DEBUG") == "1":
        traceback.print_exception(error)
    message = _message_of(error)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if as_json:
        from qflow.api import to_json

        print(to_json({"error": _document(error, message)}).decode(), file=sys.stderr)
    else:
        print(f"error: {printable(message)}", file=sys.stderr)
        if (hint := hint_of(error)) is not None:
            print(f"hint: {printable(hint)}", file=sys.stderr)
    return code_of(error)


def _message_of(error: BaseException) -> str:
    if isinstance(error, errors.QflowError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _document(error: BaseException, message: str) -> dict[str, Any]:
    from qflow.api import to_plain

    made: dict[str, Any] = {"type": type(error).__name__, "message": message}
    if (hint := hint_of(error)) is not None:
        made["hint"] = hint
    if problems := getattr(error, "problems", None):
        made["problems"] = to_plain(problems)
    return made


def printable(text: str, *, lines: bool = True) -> str:
    """Text that cannot steer a terminal: control characters become visible escapes."""
    kept = "\n\t" if lines else ""
    return "".join(
        letter if letter in kept or not _is_control(letter) else _escaped(letter) for letter in text
    )


def _is_control(letter: str) -> bool:
    code = ord(letter)
    return code < 32 or 127 <= code < 160 or letter in "\u2028\u2029\u202e\u2066\u2067"


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
