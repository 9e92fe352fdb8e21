"""A record of the log as the event that subscribers see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from qflow.events._envelope import CloudEvent
from qflow.model import id_text


def record_event(record: Mapping[str, Any], *, source: str) -> CloudEvent:
    """The event of a decoded record (`_core.decode_record`). `source` is the node's did:key.

    It names the payload by CID and does not hold it: an event goes further than the log. Its id is
    the place in the chain, so the same record is the same event wherever it is told.
    """
    execution = id_text(bytes(record["chain"]))
    payload = record.get("payload")
    data: dict[str, Any] = {
        "execution": execution,
        "seq": record["seq"],
        "flow": record["flow"],
        "actor": record["actor"],
        "node": record["node"],
        "payload": None if payload is None else str(payload),
        "meta": dict(record.get("meta") or {}),
    }
    data |= {name: record[name] for name in ("step", "attempt") if record.get(name) is not None}
    return CloudEvent(
        id=f"{execution}/{record['seq']}",
        source=source,
        type=record["type"],
        subject=execution,
        time=time_text(record["at"]),
        datacontenttype="application/json",
        data=data,
    )


def time_text(at_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
