"""What is to become a version: the checkpoint of one execution, decided, encoded and sealed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from qflow import _core

Block = tuple[bytes, bytes]
"""The CID and the data of a block."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint, ready to be kept. Everything else stands in its last record.

    That record is `q.qflow.checkpoint.created.v1`, durable in the log: its chain, number, hash,
    epoch, time, node, flow and `meta` (state, why, size, frames, label, description) become those
    of the version.
    """

    key: _core.SealingKey | None
    """The execution's data key; None where there is none, and then nothing is kept."""
    records: Sequence[tuple[bytes, Block | None]]
    """Records of the chain as they lie in the log, each with the block of its payload (None: it
    has none), in order, up to the checkpoint's own. They begin at or before what
    `States.next_seq` answered; those that the newest version has already are left out."""
    blocks: Sequence[Block]
    """What `SealingKey.seal_state` gave: parts, the root last. Its CID is the record's
    `meta.state`."""
    document: bytes
    """The flow's document as the log has it, in plain: it is sealed here, once for a chain."""
    status: str = "running"
    """Where the execution stands: running, waiting, paused."""
