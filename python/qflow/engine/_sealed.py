"""A checkpoint in the making: the state as one text, sealed, and what its record says of it. Pure.

Sealing is deterministic. So the CID of the sealed state, which stands in the record, is made again
by every replay and compared as every record is: the chain says which state it is, wherever the
bytes lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.engine._snapshot import freeze
from qflow.engine._state import Fact, State

FACTS: Final = "facts"
"""So many facts came since the one before."""
TIME: Final = "time"
"""There were facts since the one before, and it was long ago."""
ASKED: Final = "asked"
"""Somebody asked for it."""
STEP: Final = "step"
"""The flow asks for it before a step."""
URGENT: Final = frozenset({ASKED, STEP})
"""Somebody waits for these: none of them is left out."""
_ASKED_FOR: Final = ("why", "label", "description")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Why a checkpoint is made, and how it is to be found again."""

    why: str
    label: str | None = None
    description: str | None = None

    def meta(self) -> dict[str, Any]:
        """What its record says of this."""
        given = {name: getattr(self, name) for name in _ASKED_FOR}
        return {name: value for name, value in given.items() if value is not None}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that is on record: what a store keeps of it."""

    execution: str
    seq: int
    """The number of its record, `q.qflow.checkpoint.created.v1`."""
    state: str
    """The CID of the sealed state's root."""
    definition: str
    """The CID of the flow's document."""
    status: str
    key: _core.SealingKey
    blocks: Sequence[tuple[bytes, bytes]]
    """The sealed state: (CID, data), the root last."""
    asked: Asked
    meta: Mapping[str, Any]
    """Of its record."""
    size_bytes: int
    """Of the blocks together."""

    def shown(self, version: str) -> dict[str, Any]:
        """As it is shown when its version is durable."""
        return {"execution": self.execution, "seq": self.seq, "version": version, **self.meta}

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for it."""
        return self.asked.why in URGENT


def seal(
    state: State, asked: Mapping[str, Any], key: _core.SealingKey, subnet: str, chain: bytes
) -> tuple[Fact, list[tuple[bytes, bytes]]]:
    """The fact of a checkpoint, and the blocks of the sealed state, the root last.

    `asked` has `why`, and may have `label` and `description`. Raises ValueError for a state beyond
    64 MiB.
    """
    text = _core.encode(freeze(state))
    root, blocks = key.seal_state(text, subnet=subnet, chain=chain)
    meta = {
        **{name: asked[name] for name in _ASKED_FOR if name in asked},
        "frames": len(state.frames),
        "size": len(text),
        "state": str(_core.Cid(root)),
    }
    return Fact(kind="checkpoint", meta=meta), blocks


def inline(state: State) -> Fact:
    """The fact as records before this form had it: the state itself was their payload."""
    frozen = freeze(state)
    meta = {"frames": len(state.frames), "size": len(_core.encode(frozen))}
    return Fact(kind="checkpoint", payload=frozen, meta=meta)
