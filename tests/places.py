"""Homes of several nodes, and what is carried from one to the other."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from qflow.config import Config
from qflow.node import Node
from qflow.trust._key_file import read_key_file, write_key_file
from tests.nodes import until
from tests.test_node import World, flow

MANY = flow(
    "do: [{l: {for: {in: '${ [range(20)] }'}, do: [{n: {call: note}}]}}, {h: {call: hold}},"
    " {s: {set: {name: '${ $workflow.input.name }'}}}]",
    "many",
)


class Place:
    """A home with a world of its own."""

    def __init__(self, folder: Path) -> None:
        self.home, self.world = folder, World()
        self.config = Config(home=folder, checkpoint={"every_s": 0})

    def node(self) -> Node:
        return Node(self.config, functions=self.world.functions)

    def steps(self) -> list[str]:
        return [step for step, _ in self.world.calls]

    def lose_log(self, older: Path | None = None) -> None:
        """It is gone, or an older copy of it is put back; the index is made anew."""
        shutil.rmtree(self.home / "log")
        (self.home / "index.db").unlink()
        if older is not None:
            shutil.copytree(older, self.home / "log")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    return Place(tmp_path / "a"), Place(tmp_path / "b")


async def last(steps: AsyncGenerator[Any, None]) -> Any:
    found = None
    async with aclosing(steps):
        async for step in steps:
            found = step
    return found


async def trust(one: Node, other: Node, folder: Path) -> None:
    """The other node opens what the one has sealed, and believes what it signs."""
    file = folder / f"{one._key.did[-8:]}.keys"
    keys, subnet = one._keyring.subnet.exported(), one._config.subnet
    write_key_file(file, keys, one._key, subnet=subnet)
    await other.keys.bring(read_key_file(file, lambda: b""), actor="t")


async def carry(one: Node, other: Any, execution: str, folder: Path) -> None:
    """The newest checkpoint of one node lies in the store of the other."""
    file = folder / f"{one._key.did[-8:]}.car"
    await last(one.states.export([execution], str(file), with_key=True, replace=True))
    await last(other.states.import_(str(file)))


async def held(place: Place, here: Node) -> str:
    """An execution that waits in its last step but one."""
    execution = await here.start(MANY, {"name": "n"})
    await until(lambda: place.steps()[-1:] == ["/do/1/h"])
    return execution


async def sent(place: Place, one: Node, other: Node, folder: Path) -> tuple[str, dict[str, Any]]:
    """An execution that is held at one node, and the checkpoint of it that the other has."""
    execution = await held(place, one)
    made = await one.checkpoint(execution)
    await trust(one, other, folder)
    await carry(one, other, execution, folder)
    return execution, made


async def taken_over(
    place: Place, one: Node, other: Node, folder: Path
) -> tuple[str, dict[str, Any]]:
    """An execution that is held at one node, which has not heard yet that the other goes on with
    it; and the checkpoint from which that does. Each trusts the other."""
    execution, made = await sent(place, one, other, folder)
    await trust(other, one, folder)
    await other.states.restore(execution, dry_run=False, actor="t")
    return execution, made
