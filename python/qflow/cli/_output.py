"""What commands print: documents for programs, aligned text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._exit import printable

if TYPE_CHECKING:
    from rich.console import Console

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

    @cached_property
    def console(self) -> Console:
        """The terminal or pipe on stdout."""
        return _console(stderr=False)

    @cached_property
    def notes(self) -> Console:
        """The terminal or pipe on stderr."""
        return _console(stderr=True)

    def document(self, value: Any) -> None:
        """One JSON document on one line, at once."""
        from qflow.api import to_json

        sys.stdout.write(to_json(value).decode() + "\n")
        sys.stdout.flush()

    def value(self, value: Any) -> None:
        """Data as a person reads it: indented JSON."""
        from qflow.api import to_plain

        text = json.dumps(to_plain(value), indent=2, ensure_ascii=False)
        sys.stdout.write(printable(text) + "\n")
        sys.stdout.flush()

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


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


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


def plural(count: int, word: str) -> str:
    """`1 record`, `2 records`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
