"""What the bus hears of versions: events of the area `state`, in the form that facts have."""

from __future__ import annotations

from typing import Any, Final

from qflow import _core, model
from qflow.state._saved import Refused, Saved

SAVED: Final = "q.qflow.state.saved.v1"
DELETED: Final = "q.qflow.state.deleted.v1"
VERIFIED: Final = "q.qflow.state.verified.v1"
REFUSED: Final = "q.qflow.state.refused.v1"


def of_version(saved: Saved, **meta: Any) -> dict[str, Any]:
    """The data of an event about one version."""
    told = {"number": saved.number, "epoch": saved.epoch, "size": saved.size, **meta}
    return _data(saved.chain, saved.seq, saved.flow, saved.node, saved.cid, told)


def of_saved(saved: Saved) -> dict[str, Any]:
    """The data of the event that a version was kept."""
    more = {"why": saved.why, "state": str(_core.Cid(saved.state))}
    texts = {"label": saved.label, "description": saved.description}
    return of_version(saved, **more, **{n: text for n, text in texts.items() if text is not None})


def of_refused(refused: Refused, node: str) -> dict[str, Any]:
    """The data of the event that a version was not believed. `node` is who says so."""
    return _data(refused.chain, refused.seq, "", node, refused.cid, {"why": refused.why[:1000]})


def of_checked(newest: Saved, versions: int, findings: int) -> dict[str, Any]:
    """The data of the event that all versions of an execution were verified."""
    return of_version(newest, versions=versions, findings=findings)


def _data(
    chain: bytes, seq: int, flow: str, node: str, cid: bytes, meta: dict[str, Any]
) -> dict[str, Any]:
    return {
        "execution": model.id_text(chain),
        "seq": seq,
        "flow": flow,
        "actor": node,
        "node": node,
        "payload": str(_core.Cid(cid)),
        "meta": meta,
    }
