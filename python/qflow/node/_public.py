"""What a node answers others over HTTP, and what it asks of its witnesses."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from qflow.audit import Log, Witness, Witnessing, doubts_about, load_policy, read_vkeys
from qflow.clock import Clock
from qflow.diagnostics import logger
from qflow.trust import NodeKey

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from qflow.config import Config

WITNESS_FILE: Final = "witness.db"

_log = logger("qflow.node")


class Public:
    """The listener and the questions to witnesses, as far as the settings want them.

    Opening raises ConfigError, UnavailableError when the address cannot be had, and CorruptError
    when what this node cosigned as a witness cannot be read.
    """

    def __init__(self, config: Config, key: NodeKey, clock: Clock, log: Log) -> None:
        self._config, self._key, self._clock, self._log = config, key, clock, log
        self._url: str | None = None
        self._witnessing: Witnessing | None = None

    async def open(self, stack: AsyncExitStack, group: TaskGroup) -> None:
        """Begin; it ends with the stack and the group."""
        settings = self._config.witness
        if settings.policy is not None:
            policy = load_policy(settings.policy)
            for doubt in doubts_about(policy, self._key.vkey):
                _log.warning("the policy of witnesses is doubtful", why=doubt)
            times = {"every_s": settings.every_s, "timeout_s": settings.timeout_s}
            self._witnessing = Witnessing(self._log, policy, self._clock, **times)
            group.start_soon(self._witnessing.run)
        if self._config.server.listen is not None:
            self._url = await self._listen(stack, self._config.server.listen)

    def status(self) -> dict[str, Any]:
        """For the node's status: only what is switched on."""
        found: dict[str, Any] = {}
        if self._url is not None:
            found["listens"] = self._url
        if self._witnessing is not None:
            found["witnesses"] = msgspec.to_builtins(self._witnessing.status())
        return found

    async def _listen(self, stack: AsyncExitStack, address: str) -> str:
        # Imported where it is used: most nodes listen to nobody.
        from qflow.api import HttpLimits, Listener, parse_address
        from qflow.api._public import public_app

        host, port = parse_address(address)
        witness = await anyio.to_thread.run_sync(open_witness, self._config, self._key, self._clock)
        stack.callback(witness.close)
        served = self._log.path if self._config.server.serve_log else None
        limits = HttpLimits(connections_max=self._config.server.connections_max)
        app = public_app(witness=witness, log=served)
        return (await stack.enter_async_context(Listener(app, host, port, limits))).url


def open_witness(config: Config, key: NodeKey, clock: Clock) -> Witness:
    """The witness of a home. Raises ConfigError, UnavailableError or CorruptError."""
    settings = config.witness
    more = () if settings.logs_file is None else read_vkeys(settings.logs_file)
    return Witness(Path(config.home) / WITNESS_FILE, key, clock, [*settings.logs, *more])
