"""Recording what a person decides while no node runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qflow import _core, model
from qflow.api import actor_of
from qflow.audit import History, Index, Log
from qflow.clock import SystemClock
from qflow.engine import Flow, Identity, Live
from qflow.engine._replay import replay
from qflow.engine._state import FINAL, Event
from qflow.errors import ExecutionStateError
from qflow.node._archive import Archive
from qflow.node._stored import open_stored
from qflow.trust import Keyring, load_or_create_key

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.state import States


async def record(
    config: Config,
    index: Index,
    keys: Keyring,
    execution: str,
    kind: str,
    reason: str | None,
) -> None:
    """Decide on one event of an execution and append it. Durable on return.

    Takes the lock of the log. Raises ExecutionStateError, or LockedError when a node runs.
    """
    key = load_or_create_key(config.home)
    async with Log(
        str(config.home / "log"),
        key,
        queue_bytes_max=config.log.queue_bytes_max,
        segment_bytes=config.log.segment_bytes,
    ) as log:
        index.catch_up(log)
        known = index.execution(execution)
        if known.status in FINAL:
            raise ExecutionStateError(f"execution {known.id} is over; it cannot be {kind}")
        stored = open_stored(config, key, keys)
        try:
            live = _restored(known, index, log, keys, stored.states, key.did)
        finally:
            stored.close()
        event = Event(
            kind=kind,
            at=max(SystemClock().now_ms(), live.state.now),
            meta={} if reason is None else {"reason": reason},
        )
        identity = Identity(node=key.did, subnet=config.subnet)
        # What the decision asks for is not done here: a node that starts asks for it again.
        records, blocks, _ = live.decide(event, identity, actor_of(os.getuid()))
        if not records:
            raise ExecutionStateError(
                f"execution {known.id} is {known.status}; it cannot be {kind}"
            )
        await log.append(records, blocks)


def _restored(
    known: model.Execution, index: Index, log: Log, keys: Keyring, states: States, node: str
) -> Live:
    history = History(index, log, keys)
    archive = Archive(index, history, log, keys, states, node=node)
    flow = Flow(_core.decode(history.block(_core.Cid(known.definition))))
    restored = replay(flow, known.id, archive.entries(known.id), archive.key(known.id))
    return Live.of(flow, known.definition, restored)
