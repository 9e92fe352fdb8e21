"""Whatever becomes of `state.db`: a node goes on from its log, to the same end."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from qflow.config import Config
from qflow.errors import CorruptError
from qflow.events import CloudEvent
from qflow.node import Node
from tests.attacks.stored.files import PAGE, change_file, pages
from tests.nodes import until, verify

FLOW = """\
document: {dsl: '1.0.3', namespace: t, name: three, version: '1.0.0'}
do:
  - first: {set: {n: 1, text: "${ [range(3000)] | tostring }"}}
  - ask: {listen: {to: {all: [{with: {type: a}}, {with: {type: b}}, {with: {type: c}}]}}}
  - last: {set: {got: "${ [.[].n] | sort }"}}
"""
EVENTS = "abc"
Damage = Callable[[Path, Path, random.Random], None]


def node(home: Path) -> Node:
    return Node(Config(home=home))


async def emit(here: Node, type_: str) -> None:
    await here.emit(CloudEvent(id=type_, source="urn:t", type=type_, data={"n": ord(type_)}))


async def live(folder: Path) -> None:
    """An execution that two of three events have come to, with a checkpoint after each."""
    home = folder / "home"
    for number, event in enumerate(EVENTS[:-1]):
        async with node(home) as here:
            execution = here.list()[0].id if number else await here.start(FLOW)
            await until(lambda: here.list(status="waiting"))
            await emit(here, event)
            await here.checkpoint(execution, label=f"after {event}")
        shutil.copytree(home, folder / f"after {event}")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    anyio.run(live, folder)
    anyio.run(live, folder / "other")
    return folder


def untouched(file: Path, homes: Path, chance: random.Random) -> None:
    pass


def taken_away(file: Path, homes: Path, chance: random.Random) -> None:
    file.unlink()


def rolled_back(file: Path, homes: Path, chance: random.Random) -> None:
    shutil.copy(homes / "after a" / "state.db", file)


def of_another_node(file: Path, homes: Path, chance: random.Random) -> None:
    shutil.copy(homes / "other" / "after b" / "state.db", file)


def byte_changed(file: Path, homes: Path, chance: random.Random) -> None:
    change_file(file, chance)


def page_of_zeros(file: Path, homes: Path, chance: random.Random) -> None:
    found = pages(file)
    found[chance.randrange(len(found))] = bytes(PAGE)
    file.write_bytes(b"".join(found))


def cut(file: Path, homes: Path, chance: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: chance.randrange(len(data))])


def other_bytes(file: Path, homes: Path, chance: random.Random) -> None:
    file.write_bytes(chance.randbytes(9000))


ONCE = [untouched, taken_away, rolled_back, of_another_node, other_bytes]
MANY = [byte_changed, page_of_zeros, cut]


def damages(full: bool) -> list[tuple[Damage, int]]:
    times = 40 if full else 4
    return [*((one, 0) for one in ONCE), *((one, n) for one in MANY for n in range(times))]


async def end_of(home: Path) -> object:
    """Let a node go on to the end of the execution; the output."""
    async with node(home) as here:
        await until(lambda: here.list()[0].status != "running")
        if here.list(status="waiting"):
            await emit(here, EVENTS[-1])
        return (await here.wait(here.list()[0].id)).output


def move_away(home: Path, why: str) -> None:
    """Do what the error says; nothing of the history goes with it."""
    assert "move the file away" in why
    (home / "state.db").rename(home / "moved away")
    for beside in home.glob("state.db-*"):
        beside.unlink()


async def goes_on(home: Path, what: str) -> None:
    try:
        output = await end_of(home)
    except CorruptError as error:
        move_away(home, str(error))
        output = await end_of(home)
    assert output == {"got": [97, 98, 99]}, what
    verify(home)


@pytest.mark.anyio
@pytest.mark.holds("S8", "S14")
async def test_a_node_goes_on_from_its_log_to_the_same_end(
    homes: Path, tmp_path: Path, full: bool
) -> None:
    for damage, number in damages(full):
        what = f"{damage.__name__} {number}"
        home = Path(shutil.copytree(homes / "after b", tmp_path / what))
        damage(home / "state.db", homes, random.Random(what))
        await goes_on(home, what)
        shutil.rmtree(home)
