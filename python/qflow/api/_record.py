"""A record of a chain as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qflow.model import Withheld


def record_document(index: int, record: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """seq, index, type, step, attempt, at (UTC ms), actor, meta, payload (CID text or None).

    `record` is decoded; `value`, its payload, is added unless it is UNSET. `index` is its place in
    the node's log. A payload that cannot be read is named instead, as `withheld`.
    """
    shown = {name: record.get(name) for name in ("seq", "type", "step", "attempt", "at", "actor")}
    shown |= {"index": index, "meta": dict(record.get("meta") or {})}
    payload = record.get("payload")
    shown["payload"] = None if payload is None else str(payload)
    if isinstance(value, Withheld):
        shown["withheld"] = value.value
    elif value is not msgspec.UNSET:
        shown["value"] = value
    return shown
