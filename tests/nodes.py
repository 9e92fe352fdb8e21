"""What tests of whole nodes share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from qflow import audit


async def until(holds: Callable[[], Any]) -> None:
    """Let others run until it holds."""
    with anyio.fail_after(20):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def turns() -> None:
    """Let others run for a while: what they were to begin has begun."""
    for _ in range(200):
        await anyio.lowlevel.checkpoint()


def verify(home: Path) -> None:
    """The log of a node that has stopped is whole."""
    report = audit.verify(home / "log", home / "node.pub")
    assert report.ok, report
