"""What every command has: where the node's files are, and how to print."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qflow.cli._exit import UNAVAILABLE, Refusal
from qflow.cli._output import Output
from qflow.errors import UnavailableError

if TYPE_CHECKING:
    from qflow.api import Client
    from qflow.cli._offline import NoHistory, Offline
    from qflow.config import Config

_Result = TypeVar("_Result")


class Session:
    """One run of a command."""

    def __init__(self, *, home: Path | None, as_json: bool) -> None:
        self.option_home = home
        """`--home`, when it was given."""
        self.out = Output(as_json=as_json)

    @cached_property
    def config(self) -> Config:
        """The settings, with `--home` before every other source. Raises `ConfigError`."""
        from qflow import diagnostics
        from qflow.config import load_config

        values = {} if self.option_home is None else {"home": self.option_home}
        config = load_config(**values)
        diagnostics.prepare(partial(_configure_lines, config))
        return config

    @cached_property
    def home(self) -> Path:
        """The folder of the node's files.

        Found without the other settings where that is possible: reading those takes longer than
        asking a running node.
        """
        given = self.option_home or os.environ.get("QFLOW_HOME")
        if given and "QFLOW_CONFIG" not in os.environ:
            return Path(given).expanduser().absolute()
        return Path(self.config.home)

    def run(self, main: Callable[..., Awaitable[_Result]], *arguments: Any) -> _Result:
        """Run an async function to its end."""
        import anyio

        return anyio.run(main, *arguments)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """The node that runs in this home. Refused with a hint when there is none."""
        from qflow.api import Client

        try:
            client = await Client(self.home).__aenter__()
        except UnavailableError as error:
            raise Refusal(str(error), UNAVAILABLE, "start one with: qflow serve") from error
        yield client

    def either(self) -> AbstractAsyncContextManager[Client | Offline | NoHistory]:
        """The node that runs in this home, or its files when none does."""
        from qflow.cli._offline import open_files

        return self.running_or(open_files)

    @asynccontextmanager
    async def running_or(
        self, files: Callable[[Config], AbstractAsyncContextManager[_Result]]
    ) -> AsyncIterator[Client | _Result]:
        """The node that runs in this home, or what `files` makes of its settings when none does."""
        from qflow.api import Client

        try:
            client = await Client(self.home).__aenter__()
        except UnavailableError:
            async with files(self.config) as found:
                yield found
        else:
            yield client


def _configure_lines(config: Config) -> None:
    from qflow.cli._logging import configure
    from qflow.trust import hide_secrets

    configure(config, redact=[hide_secrets])
