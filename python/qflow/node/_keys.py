"""What a node does for its keyring: keys are made before they are needed, and chains are known."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from qflow.audit import History
from qflow.diagnostics import logger
from qflow.errors import UnavailableError
from qflow.trust import Keyring

_log = logger(__name__)


def know_chains(
    keyring: Keyring, history: History, is_erased: Callable[[bytes], bool], did: str
) -> None:
    """Let it ask the log which chains are erased, and which began here, at the node `did`."""

    def is_ours(chain: bytes) -> bool:
        first = history.records(chain, limit=1)
        return bool(first) and first[0].record["node"] == did

    keyring.is_erased, keyring.is_ours = is_erased, is_ours


async def supply(keyring: Keyring) -> None:
    """Make more keys, beside the event loop, whenever they get few. Until cancelled.

    When none can be made, a line says so, and executions are refused once the rest is used.
    """
    wanted = anyio.Event()

    def want() -> None:
        wanted.set()

    keyring.low = want
    while True:
        await wanted.wait()
        wanted = anyio.Event()
        try:
            await anyio.to_thread.run_sync(keyring.refill)
        except UnavailableError as error:
            _log.error("no more executions can be started soon", error=str(error))
