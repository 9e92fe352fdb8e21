"""What commands print: documents for programs, aligned text for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from qflow.cli._exit import printable

if TYPE_CHECKING:
    from rich.console import Console

DAY_MS: Final = 86_400_000
STYLES: Final = {
    "running": "cyan",
    "waiting": "blue",
    "paused": "yellow",
    "completed": "green",
    "faulted": "red",
    "aborted": "magenta",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}


class Output:
    """Results go to stdout, everything else to stderr; no colour and no wrapping in a pipe."""

    def __init__(self, *, as_json: bool) -> None:
        self.json = as_json
        closed = sys.stdout is None
        self.stdout: TextIO = Path(os.devnull).open("w") if closed else sys.stdout  # noqa: SIM115
        """Results go here, whatever functions of flows print to `sys.stdout` meanwhile."""

    @cached_property
    def console(self) -> Console:
        """The terminal or pipe on stdout."""
        return _console(self.stdout, stderr=False)

    @cached_property
    def notes(self) -> Console:
        """The terminal or pipe on stderr."""
        return _console(None, stderr=True)

    def document(self, value: Any) -> None:
        """One JSON document on one line, at once."""
        from qflow.api import to_json

        self.stdout.write(to_json(value).decode() + "\n")
        self.stdout.flush()

    def value(self, value: Any) -> None:
        """Data as a person reads it: indented JSON."""
        from qflow.api import to_plain

        text = json.dumps(to_plain(value), indent=2, ensure_ascii=False)
        self.stdout.write(printable(text) + "\n")
        self.stdout.flush()

    def line(self, text: str, style: str | None = None) -> None:
        """One line on stdout."""
        _print(self.console, text, style)

    def note(self, text: str, style: str | None = None) -> None:
        """One line on stderr."""
        _print(self.notes, text, style)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns. The last one is cut at the edge of a terminal, never in a pipe."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        cells = [[printable(cell, lines=False) for cell in row] for row in rows]
        widths = [
            max(cell_len(row[column]) for row in [headers, *cells])
            for column in range(len(headers))
        ]
        for number, row in enumerate([headers, *cells]):
            text = Text()
            for column, cell in enumerate(row):
                last = column == len(row) - 1
                style = "bold" if number == 0 else STYLES.get(cell.lower(), "")
                text.append(cell if last else set_cell_size(cell, widths[column] + 2), style)
            text.rstrip()
            if self.console.is_terminal:
                self.console.print(text, no_wrap=True, overflow="ellipsis")
            else:
                self.console.print(text, soft_wrap=True)

    def fields(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Aligned names and values, one a line."""
        width = max((len(name) for name, _ in pairs), default=0) + 2
        for name, value in pairs:
            self.line(f"{name:<{width}}{value}", STYLES.get(value) if name == "status" else None)


def _console(file: TextIO | None, *, stderr: bool) -> Console:
    from rich.console import Console

    class Pipe(Console):
        """Whoever reads us may have enough: that is for the command to see, not an exit code."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Pipe(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)


def _print(console: Console, text: str, style: str | None) -> None:
    console.print(printable(text), style=style, soft_wrap=True)
    console.file.flush()


def moment(at_ms: int | None) -> str:
    """A time as the clock on the wall shows it: `2026-01-02 03:04:05`."""
    if at_ms is None:
        return "-"
    return _local(at_ms).strftime("%Y-%m-%d %H:%M:%S")


def day(at_ms: int, now_ms: int) -> str:
    """A time for a narrow column: `01-02 03:04` in this year, else `2025-01-02`."""
    at = _local(at_ms)
    return at.strftime("%m-%d %H:%M" if at.year == _local(now_ms).year else "%Y-%m-%d")


def time_of_day(at_ms: int) -> str:
    """`03:04:05.678`, local time."""
    return f"{_local(at_ms):%H:%M:%S}.{at_ms % 1000:03d}"


def later(at_ms: int) -> str:
    """A moment to come: `03:04:05.678` within a day, otherwise with its date."""
    from qflow.clock import SystemClock

    away_ms = abs(at_ms - SystemClock().now_ms())
    return time_of_day(at_ms) if away_ms < DAY_MS else moment(at_ms)


def _local(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone()


def duration(length_ms: int) -> str:
    """`120ms`, `4.2s`, `3m 12s`, `5h 03m`, `2d 04h`."""
    if length_ms < 1000:
        return f"{max(0, length_ms)}ms"
    if length_ms < 60_000:
        return f"{length_ms / 1000:.1f}s"
    seconds = length_ms // 1000
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600:02d}h"


def size(count_bytes: float) -> str:
    """`512 B`, `3.4 KiB`, `1.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_bytes < 1024:
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} TiB"


def plural(count: int, word: str, words: str = "") -> str:
    """`1 record`, `2 records`; `words` where an s is not enough."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {words or word + 's'}"
