"""The guide's list of events, made of the schemas. `python tests/events/guide.py` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qflow.events import catalogue

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "events.md"
BEGIN = "<!-- made of python/qflow/events/schemas: begin -->\n"
END = "<!-- end -->\n"


def with_listing(text: str) -> str:
    """The guide with its list as the schemas have it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "".join(_listing()) + END + after


def _listing() -> Iterator[str]:
    yield "| type | what happened | payload | `meta` |\n| --- | --- | --- | --- |\n"
    for name, schema in catalogue().items():
        yield f"| `{name}` | {schema['title']} | {_payload(schema)} | {_meta(schema)} |\n"


def _payload(schema: dict[str, Any]) -> str:
    payload = schema["properties"].get("payload", {})
    said = str(payload.get("description", "")).removeprefix("CID of the ")
    return f"{said} (or null)" if said and "null" in payload["type"] else said


def _meta(schema: dict[str, Any]) -> str:
    meta = schema["properties"].get("meta", {})
    required = meta.get("required", [])
    names = [f"`{name}`{'' if name in required else '?'}" for name in meta.get("properties", {})]
    return ", ".join(names)


if __name__ == "__main__":
    GUIDE.write_text(with_listing(GUIDE.read_text("utf-8")), "utf-8")
