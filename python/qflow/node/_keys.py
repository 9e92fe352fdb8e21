"""Keys for new executions, made before they are needed."""

from __future__ import annotations

import anyio

from qflow.diagnostics import logger
from qflow.errors import UnavailableError
from qflow.trust import Keyring

_log = logger(__name__)


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
