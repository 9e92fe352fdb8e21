"""Flows and data that the arguments name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._exit import USAGE, Refusal

if TYPE_CHECKING:
    from qflow.cli._session import Session
    from qflow.engine import Flow
    from qflow.steps import Functions

INPUT_BYTES_MAX: Final = 8 << 20
"""More is refused before it is read: an execution's input has 1 MiB at most."""


def read_flow(file: Path) -> Flow:
    """Load and validate a flow; `-` is stdin. Raises `FlowError` with file:line:column."""
    from qflow.engine import load_flow

    if str(file) == "-":
        return load_flow(_read(sys.stdin.buffer.read, "stdin"))
    if not file.exists():
        raise Refusal(f"{file}: no such file", USAGE)
    if file.is_dir():
        raise Refusal(f"{file} is a folder, not a flow", USAGE)
    if not file.is_file():
        # A pipe, as of `<(generate)`.
        with file.open("rb") as pipe:
            return load_flow(_read(pipe.read, str(file)))
    return load_flow(file)


def read_value(text: str | None, option: str) -> Any:
    """JSON from an option: as it stands, `@FILE`, or `-` for stdin. None stays None."""
    from qflow.api import parse_json

    if text is None:
        return None
    source: str | bytes = text
    if text == "-":
        source = _read(sys.stdin.buffer.read, "stdin")
    elif text.startswith("@"):
        try:
            with Path(text[1:]).open("rb") as file:
                source = _read(file.read, text[1:])
        except OSError as error:
            raise Refusal(f"{option}: {text[1:]}: {error.strerror}", USAGE) from error
    try:
        return parse_json(source)
    except ValueError as error:
        hint = None if source is not text else "a text needs its quotes: '\"text\"'"
        raise Refusal(f"{option} is not JSON: {error}", USAGE, hint) from error


def read_functions(files: Iterable[Path]) -> Functions:
    """What these files declare. The node adds what is installed and set. Raises `ConfigError`."""
    from qflow.steps import Functions

    functions = Functions()
    for file in files:
        functions.load_file(file)
    return functions


def all_functions(session: Session, files: Iterable[Path]) -> Functions:
    """What a node here could call: these files, those that are set, and installed packages."""
    functions = read_functions([*session.config.functions, *files])
    functions.load_entry_points()
    return functions


def _read(read: Any, name: str) -> bytes:
    content: bytes = read(INPUT_BYTES_MAX + 1)
    if len(content) > INPUT_BYTES_MAX:
        raise Refusal(f"{name} has more than {INPUT_BYTES_MAX} bytes", USAGE)
    return content
