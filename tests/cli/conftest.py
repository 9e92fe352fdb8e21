"""A stand-in node behind a real socket, in a thread, for commands that run in this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from typer.testing import CliRunner, Result

from qflow.api import serve, socket_path
from qflow.cli import app
from tests.api.stand_in import FLOW, StandIn


class Behind:
    """The stand-in, reached from the test's thread."""

    def __init__(self, portal: BlockingPortal, node: StandIn) -> None:
        self._portal, self.node = portal, node

    def start(self, value: Any = None) -> str:
        from qflow.engine import load_flow

        execution: str = self._portal.call(self.node.start, load_flow(FLOW), value)
        return execution

    def add(self, execution: str, fact: str, **fields: Any) -> None:
        self._portal.call(lambda: self.node.add(execution, fact, **fields))

    def soon(self, function: Callable[[], Any]) -> None:
        self._portal.start_task_soon(function)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, which every command takes from the environment."""
    for name in ("QFLOW_CONFIG", "QFLOW_DEBUG", "XDG_DATA_HOME", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("QFLOW_HOME", str(folder))
    monkeypatch.setenv("TZ", "UTC")
    return folder


@pytest.fixture
def behind(home: Path) -> Iterator[Behind]:
    """A running stand-in node in that home."""
    with start_blocking_portal() as portal:
        node = portal.call(StandIn)
        with portal.wrap_async_context_manager(serve(node, socket_path(home))):
            yield Behind(portal, node)


@pytest.fixture
def qflow(home: Path) -> Callable[..., Result]:
    """Run a command in this process."""

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(app, [*arguments], **options)

    return run
