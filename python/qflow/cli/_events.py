"""Sending events to the node, and watching those that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qflow.cli._exit import NOT_FOUND
from qflow.cli._input import read_value

if TYPE_CHECKING:
    from qflow.cli._session import Session
    from qflow.events import CloudEvent


def emit(
    session: Session, *, type_: str, source: str, data: str | None, subject: str | None
) -> int | None:
    """Send one event; the ids that took it on stdout."""
    from qflow.events import CloudEvent

    event: dict[str, Any] = {"specversion": "1.0", "type": type_, "source": source, "id": _id()}
    if (content := read_value(data, "--data")) is not None:
        event |= {"data": content, "datacontenttype": "application/json"}
    if subject is not None:
        event["subject"] = subject
    made = CloudEvent.from_mapping(event)

    async def send() -> list[str]:
        async with session.running() as client:
            return list(await client.emit(made))

    taken = session.run(send)
    if session.out.json:
        session.out.document({"event": made.id, "executions": taken})
    else:
        for execution in taken:
            session.out.line(execution)
        if not taken:
            session.out.note(f"no execution listens for {type_}")
    return None if taken else NOT_FOUND


def _id() -> str:
    from qflow import model
    from qflow.clock import SystemClock

    return model.id_text(model.new_id(SystemClock().now_ms()))


def events(session: Session, *, follow: bool, pattern: str) -> int | None:
    """Print events as they happen; one, or until interrupted."""
    from qflow.api import to_plain

    async def main() -> None:
        async with session.running() as client, client.subscribe(pattern) as stream:
            session.out.note(f"waiting for events of type {pattern}")
            async for event in stream:
                _print(session, event, to_plain(event.to_mapping()))
                if not follow:
                    break

    session.run(main)
    return None


def _print(session: Session, event: CloudEvent, document: dict[str, Any]) -> None:
    import json

    if session.out.json:
        session.out.document(document)
        return
    words = [str(document.get("time", "")), event.type, event.subject or event.source]
    if (data := document.get("data")) is not None:
        words.append(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    session.out.line("  ".join(word for word in words if word))
