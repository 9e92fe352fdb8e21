"""Every fact has a schema, nonsense is refused, and the guide lists what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from qflow import events
from qflow.errors import EventError
from qflow.events import CloudEvent, catalogue, validate
from tests.events.guide import GUIDE, with_listing

EXEC = """
    created documents_read step_completed step_failed step_skipped timer_fired event_received
    paused resumed aborted recovered continued suspended completed faulted scheduled
    unscheduled schedule_fired
"""
TYPES = [f"q.qflow.exec.{kind}.v1" for kind in EXEC.split()] + [
    "q.qflow.checkpoint.created.v1",
    "q.qflow.history.opened.v1",
    "q.qflow.history.closed.v1",
    "q.qflow.history.gap.v1",
    "q.qflow.history.clock.v1",
    "q.qflow.history.held.v1",
    "q.qflow.history.released.v1",
    "q.qflow.history.erased.v1",
    "q.qflow.history.pruned.v1",
    "q.qflow.keys.rotated.v1",
    "q.qflow.keys.exported.v1",
    "q.qflow.keys.imported.v1",
    "q.qflow.compliance.reported.v1",
    "q.qflow.state.saved.v1",
    "q.qflow.state.deleted.v1",
    "q.qflow.state.verified.v1",
    "q.qflow.state.refused.v1",
    "q.qflow.state.restored.v1",
    "q.qflow.state.pinned.v1",
    "q.qflow.state.endpoint_lost.v1",
    "q.qflow.state.endpoint_back.v1",
    "q.qflow.crdt.document.created.v1",
    "q.qflow.crdt.document.deleted.v1",
    "q.qflow.crdt.conflict.detected.v1",
    "q.qflow.crdt.equivocation.detected.v1",
    "q.qflow.crdt.change.refused.v1",
    "q.qflow.crdt.compacted.v1",
]
CID = "bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
COMMON: dict[str, Any] = {
    "execution": "01hf0000000000000000000000",
    "seq": 0,
    "flow": "examples/orders/1.0.0",
    "actor": "local",
    "node": "did:key:z6Mk",
    "payload": None,
    "meta": {},
}
# What each fact has beside the common part; see the engine's decisions.
MORE: dict[str, dict[str, Any]] = {
    "created": {"payload": CID, "meta": {"definition": CID, "base": None}},
    "step_completed": {"step": "/do/0/a", "attempt": 2, "payload": CID, "meta": {"frame": 1}},
    "step_failed": {"step": "/do/0/a", "attempt": 1, "payload": CID, "meta": {"frame": 1}},
    "step_skipped": {"step": "/do/0/a"},
    "timer_fired": {"step": "/do/0/a", "meta": {"frame": 1, "purpose": "wait"}},
    "documents_read": {"step": "/do/0/a", "payload": CID, "meta": {"frame": 1}},
    "event_received": {"payload": CID, "meta": {"frames": [1, 2]}},
    "aborted": {"meta": {"reason": "asked to"}},
    "recovered": {"meta": {"frames": []}},
    "suspended": {"meta": {"wake_at": 1_700_000_000_000, "listen": ["*"]}},
    "completed": {"payload": CID},
    "faulted": {"payload": CID},
    "scheduled": {"payload": CID},
    "q.qflow.checkpoint.created.v1": {
        "meta": {"state": CID, "size": 10, "frames": 1, "why": "asked", "label": "before it"}
    },
    "q.qflow.compliance.reported.v1": {
        "payload": CID,
        "meta": {
            "report": COMMON["execution"],
            "rules": "0" * 64,
            "size": 9,
            "findings": 2,
            "errors": 1,
        },
    },
    "q.qflow.history.held.v1": {
        "meta": {"id": COMMON["execution"], "reason": "case", "by": "ann", "at": 1, "flow": "*"}
    },
    "q.qflow.history.released.v1": {"meta": {"id": COMMON["execution"], "reason": "over"}},
    "q.qflow.history.erased.v1": {
        "meta": {"execution": COMMON["execution"], "key": 7, "reason": "asked"}
    },
    "q.qflow.keys.rotated.v1": {"meta": {"epoch": 1, "oldest": 0, "keys": 64}},
    "q.qflow.keys.exported.v1": {"meta": {"epochs": [0, 1], "protected": True}},
    "q.qflow.keys.imported.v1": {"meta": {"node": "did:key:z6Mk", "epochs": [0], "fresh": 1}},
    "q.qflow.history.pruned.v1": {
        "payload": CID,
        "meta": {"minimum": 9, "segment": 1, "chains": 2, "reason": "rules"},
    },
    "q.qflow.state.saved.v1": {
        "payload": CID,
        "meta": {"number": 0, "epoch": 0, "size": 9, "why": "facts", "state": CID, "label": "a"},
    },
    "q.qflow.state.deleted.v1": {"payload": CID, "meta": {"number": 0, "epoch": 0, "size": 9}},
    "q.qflow.state.verified.v1": {
        "payload": CID,
        "meta": {"number": 0, "epoch": 0, "size": 9, "versions": 1, "findings": 0},
    },
    "q.qflow.state.refused.v1": {"payload": CID, "meta": {"why": "its signature is not good"}},
    "q.qflow.state.restored.v1": {
        "meta": {
            "execution": COMMON["execution"],
            "version": CID,
            "number": 3,
            "epoch": 1,
            "seq": 9,
            "records": 10,
        }
    },
    "q.qflow.history.clock.v1": {
        "meta": {"wall": 1, "expected": 5001, "moved_ms": 5000, "kind": "backwards"}
    },
}


# Of what is no fact about an execution: all that it has.
DOCUMENT = {"document": COMMON["execution"], "name": "shop/cart", "node": "did:key:z6Mk"}
BARE: dict[str, dict[str, Any]] = {
    "q.qflow.history.gap.v1": {"count": 3},
    "q.qflow.state.pinned.v1": {"endpoint": "http://a", "pinned": 2, "released": 0},
    "q.qflow.state.endpoint_lost.v1": {"endpoint": "http://a", "problem": "none", "lied": False},
    "q.qflow.state.endpoint_back.v1": {"endpoint": "http://a", "lost_ms": 5000},
    "q.qflow.crdt.document.created.v1": DOCUMENT,
    "q.qflow.crdt.document.deleted.v1": DOCUMENT,
    "q.qflow.crdt.conflict.detected.v1": {
        **DOCUMENT,
        "conflict": "0" * 32,
        "path": "/a/b",
        "kind": "set",
        "operations": [CID],
        "count": 2,
        "untold": 0,
    },
    "q.qflow.crdt.equivocation.detected.v1": {
        **DOCUMENT,
        "replica": "did:key:z6Mk",
        "changes": [CID, CID],
    },
    "q.qflow.crdt.change.refused.v1": {**DOCUMENT, "change": CID, "why": "a stranger", "untold": 0},
    "q.qflow.crdt.compacted.v1": {
        **DOCUMENT,
        "operations": 9,
        "kept": 1,
        "blocks": 3,
        "bytes_before": 9,
        "bytes_after": 5,
        "took_ms": 1,
        "snapshot": None,
        "waits_for": ["did:key:z6Mk"],
    },
}


def data_of(name: str) -> dict[str, Any]:
    if name in BARE:
        return BARE[name]
    kind = name.removeprefix("q.qflow.exec.").removesuffix(".v1")
    return {**COMMON, **MORE.get(kind, MORE.get(name, {}))}


def event(name: str, data: Any) -> CloudEvent:
    return CloudEvent(id="1", source="did:key:z6Mk", type=name, data=data)


def test_each_fact_has_a_schema_and_each_schema_a_fact() -> None:
    assert sorted(catalogue()) == sorted(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_schema_is_one_and_says_what_it_is(name: str) -> None:
    schema = catalogue()[name]
    jsonschema_rs.meta.validate(schema)
    assert schema["$id"] == f"urn:qflow:event:{name}"
    assert schema["title"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", TYPES)
def test_good_data_is_accepted(name: str) -> None:
    validate(event(name, data_of(name)))


@pytest.mark.parametrize("name", TYPES)
def test_nonsense_is_refused(name: str) -> None:
    good = data_of(name)
    bad: list[Any] = [None, [], "x", {}, {**good, "more": 1}]
    bad += [{key: value for key, value in good.items() if key != gone} for gone in COMMON
            if gone in good]  # fmt: skip
    bad += [{**good, "count": 0}, {**good, "count": True}] if "count" in good else []
    if "seq" in good:
        bad += [{**good, "seq": value} for value in (-1, 1.5, "1", None, True)]
        bad += [{**good, "execution": value} for value in ("", "x" * 26, "O1" * 13, 5)]
        bad += [{**good, "payload": "not a cid"}, {**good, "meta": None}, {**good, "step": "do"}]
        bad += [{**good, "attempt": 0}, {**good, "actor": ""}]
    for data in bad:
        with pytest.raises(EventError, match=name.replace(".", r"\.")):
            validate(event(name, data))


def test_unknown_type_of_our_own_is_refused_and_others_pass() -> None:
    with pytest.raises(EventError, match="not in the catalogue"):
        validate(event("q.qflow.exec.invented.v1", {}))
    validate(event("com.example.order", {"anything": True}))


def test_guide_lists_the_catalogue() -> None:
    text = GUIDE.read_text("utf-8")
    assert text == with_listing(text), "run: python tests/events/guide.py"


def test_common_part_is_the_same_everywhere() -> None:
    parts = {
        json.dumps(schema["properties"][name], sort_keys=True)
        for schema in catalogue().values()
        if "seq" in schema["properties"]
        for name in ("execution", "seq", "flow", "actor", "node")
    }
    assert len(parts) == 5


def test_schemas_are_in_the_package() -> None:
    folder = Path(events.__file__).parent / "schemas"
    assert len(list(folder.glob("*.json"))) == len(TYPES)
