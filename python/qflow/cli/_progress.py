"""How far an execution has come, on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qflow.cli._exit import printable
from qflow.cli._output import duration
from qflow.cli._records import FINAL, fact_of, line_of, style_of, waits_of
from qflow.clock import SystemClock

if TYPE_CHECKING:
    from rich.text import Text

    from qflow.cli._output import Output


class Progress:
    """Counts of what the records say."""

    def __init__(self) -> None:
        self.execution = ""
        self.done = self.failed = self.skipped = 0
        self.waits, self.status, self.last = "", "running", ""
        self.started_ms = SystemClock().now_ms()
        self.final: dict[str, Any] | None = None

    def note(self, record: dict[str, Any]) -> None:
        """Count one record."""
        fact = fact_of(record)
        if fact == "created":
            self.started_ms = int(record["at"])
        self.done += fact == "step_completed"
        self.failed += fact == "step_failed"
        self.skipped += fact == "step_skipped"
        self.last = str(record.get("step") or self.last)
        self.waits, self.status = "", "running"
        if fact == "suspended":
            self.waits, self.status = waits_of(record.get("meta") or {}), "waiting"
        elif fact in FINAL or fact == "paused":
            self.status = fact
        if fact in FINAL:
            self.final = record

    def text(self) -> str:
        """One line: counts, what it does or waits for, time since this view began."""
        parts = [f"{self.done} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        state = f"{self.status} {self.waits}".rstrip()
        parts.append(state if self.status != "running" else f"running {self.last}".rstrip())
        parts.append(duration(SystemClock().now_ms() - self.started_ms))
        return "  ".join(parts)

    def __rich__(self) -> Text:
        from rich.text import Text

        text = Text(f"{self.execution}  ", style="dim", no_wrap=True, overflow="ellipsis")
        return text.append(printable(self.text(), lines=False), style="cyan")


@contextmanager
def view(out: Output, progress: Progress) -> Iterator[None]:
    """A line on stderr that keeps itself up to date; nothing in a pipe."""
    if not out.notes.is_terminal or out.json:
        yield
        return
    from rich.live import Live

    with Live(
        console=out.notes, get_renderable=lambda: progress, refresh_per_second=8, transient=True
    ):
        yield


async def watch(
    out: Output,
    progress: Progress,
    records: AsyncIterator[dict[str, Any]],
    *,
    each: bool,
) -> None:
    """Follow an execution to its end; with `each`, a line on stderr for every record."""
    with view(out, progress):
        async for record in records:
            progress.note(record)
            if each:
                _print(out, record)


def _print(out: Output, record: dict[str, Any]) -> None:
    if out.json:
        import sys

        from qflow.api import to_json

        sys.stderr.write(to_json(record).decode() + "\n")
    else:
        out.note(line_of(record, payloads=False), style_of(record))
