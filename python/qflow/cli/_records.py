"""Records of an execution as lines that a person reads."""

from __future__ import annotations

import json
from typing import Any, Final

from qflow.cli._output import later, time_of_day

EXEC: Final = "q.qflow.exec."
FINAL: Final = frozenset({"completed", "faulted", "aborted"})
_STYLES: Final = {
    "completed": "green",
    "step_failed": "yellow",
    "faulted": "red",
    "aborted": "magenta",
    "paused": "yellow",
    "recovered": "cyan",
}


def fact_of(record: dict[str, Any]) -> str:
    """`step_completed` for `q.qflow.exec.step_completed.v1`."""
    return str(record["type"]).removeprefix(EXEC).removeprefix("q.qflow.").removesuffix(".v1")


def style_of(record: dict[str, Any]) -> str | None:
    """The colour of a record's line."""
    return _STYLES.get(fact_of(record))


def line_of(record: dict[str, Any], *, payloads: bool) -> str:
    """Time, number, fact, step, and what matters of its content."""
    fact = fact_of(record).replace("_", " ")
    words = [time_of_day(record["at"]), f"{record['seq']:>5}", f"{fact:<15}"]
    if step := record.get("step"):
        words.append(str(step))
    attempt = record.get("attempt")
    if attempt is not None and attempt > 1:
        words.append(f"(attempt {attempt})")
    if detail := _detail(record):
        words.append(detail)
    if payloads and "withheld" in record:
        words.append(f"({record['withheld']})")
    elif payloads and record.get("payload") is not None:
        words.append(json.dumps(record.get("value"), ensure_ascii=False, separators=(",", ":")))
    return "  ".join(words).rstrip()


def _detail(record: dict[str, Any]) -> str:
    """What a line says besides its fact: why, for what, how long."""
    fact, meta, value = fact_of(record), record.get("meta") or {}, record.get("value")
    if fact in ("step_failed", "faulted") and isinstance(value, dict):
        return title_of(value)
    if fact in ("paused", "resumed", "aborted"):
        reason = f": {meta['reason']}" if meta.get("reason") else ""
        return f"by {record.get('actor')}{reason}"
    if fact == "event_received" and isinstance(value, dict):
        return f"{value.get('type')} from {value.get('source')}"
    if fact == "documents_read" and isinstance(value, dict):
        return ", ".join(str(item.get("document")) for item in value.values())
    if fact == "suspended":
        return waits_of(meta)
    if fact == "timer_fired":
        return str(meta.get("purpose", ""))
    return ""


def waits_of(meta: dict[str, Any]) -> str:
    """What an execution waits for: `until 03:04:05.000`, `for com.example.approved`."""
    parts = []
    if (types := meta.get("listen")) or (types := meta.get("listens")):
        parts.append("for " + ", ".join(map(str, types)))
    if (wake_at := meta.get("wake_at")) is not None:
        parts.append(f"until {later(wake_at)}")
    return ", or ".join(parts)


def title_of(problem: dict[str, Any]) -> str:
    """A problem in one line: title, detail and status, as far as it has them."""
    title = str(problem.get("title") or problem.get("type") or "a problem")
    detail = problem.get("detail")
    return f"{title}: {detail}" if detail else title
