"""What a recovery fetches, and from whom: whole versions only, and only what is beneath them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from qflow import _core
from qflow.api._states import Brought
from qflow.errors import BlockNotFoundError
from qflow.node._state_files import importing
from qflow.node._state_recovery import Recovery
from qflow.node._state_views import Views
from qflow.state import Saved
from qflow.storage import Kubo, write_car
from qflow.storage._kubo import TakeBlocks
from tests.stored import Block, Home

pytestmark = pytest.mark.anyio

VIEWS = cast(Views, SimpleNamespace(checkpoint=lambda saved: saved))
JUNK: Block = (bytes(_core.cid_of(b"junk", "raw")), b"junk")


class Endpoint:
    """A Kubo that pins some roots, has some blocks, and exports `more` besides."""

    def __init__(
        self, roots: Sequence[bytes], has: Mapping[bytes, bytes], more: Sequence[Block] = ()
    ) -> None:
        self.url = "http://kubo"
        self.roots, self.has, self.more = roots, has, more
        self.asked: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def pins(self) -> AsyncIterator[tuple[bytes, str]]:
        for root in self.roots:
            yield root, ""

    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        return [await self.get(cid) for cid in cids]

    async def get(self, cid: bytes) -> bytes:
        self.asked.append(cid)
        if cid not in self.has:
            raise BlockNotFoundError("the endpoint has no such block")
        return self.has[cid]

    async def export_car(self, cid: bytes, take: TakeBlocks) -> None:
        due = [cid]
        while due and (cid := due.pop()) in self.has:
            await take([(cid, self.has[cid])])
            due += reversed(_core.block_links(cid, self.has[cid]))
        await take([*self.more])


async def recovered(home: Home, *endpoints: Endpoint) -> Brought:
    recovery = Recovery(
        home.states,
        home.blocks,
        VIEWS,
        subnet=home.subnet,
        signers=home.signers,
        adopt=lambda _: False,
        open_kubo=lambda url: cast(Kubo, endpoints[int(url)]),
    )
    result: Any = None
    async for step in recovery.run([str(at) for at in range(len(endpoints))], []):
        result = step.result
    return cast(Brought, result)


class World:
    """A home with three versions of an execution, their blocks, and another home of its node."""

    def __init__(self, folder: Path) -> None:
        self.home, self.other = folder / "home", folder / "other"
        with Home(self.home) as here:
            one = here.begin(5)
            self.saved: list[Saved] = []
            for turn in range(3):
                one.act(4, "x" * 50)
                self.saved.append(one.kept_by(here, {"turn": turn, "big": "y" * 100_000}))
            self.roots = [saved.cid for saved in self.saved]
            self.blocks = dict(here.reach(*reversed(self.roots)))
            versions = [here.states.version(root) for root in self.roots]
            self.segments = [version.history or b"" for version in versions]
        self.chain = one.chain
        shutil.copytree(self.home, self.other, ignore=shutil.ignore_patterns("state.db*"))

    def damage(self, *cids: bytes) -> None:
        """Change blocks on the disk; nobody has read them since."""
        with closing(sqlite3.connect(self.home / "state.db")) as db, db:
            for cid in cids:
                db.execute(
                    "UPDATE block_data SET data = zeroblob(length(data))"
                    " WHERE place = (SELECT place FROM block WHERE cid = ?)",
                    (cid,),
                )

    def only(self, holds: Callable[[bytes], bool]) -> dict[bytes, bytes]:
        return {cid: data for cid, data in self.blocks.items() if holds(cid)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.holds("S2", "S14")
async def test_what_one_endpoint_breaks_off_the_next_one_gives(world: World) -> None:
    """Kubo just ends the stream where it has no more."""
    broken = Endpoint(world.roots, world.only(lambda cid: cid in world.roots))
    whole = Endpoint(world.roots, world.blocks)
    with Home(world.other) as there:
        done = await recovered(there, broken, whole)
        assert (len(done.taken), done.refused) == (3, ())
        assert there.states.verify().findings == []
        assert [endpoint.pinned for endpoint in done.endpoints] == [3, 0]


@pytest.mark.holds("S2")
async def test_what_no_endpoint_has_is_refused_and_the_older_one_taken(world: World) -> None:
    newest = world.segments[2]
    lacks = Endpoint(world.roots, world.only(lambda cid: cid != newest))
    with Home(world.other) as there:
        done = await recovered(there, lacks, lacks)
        assert [saved.number for saved in cast(Any, done.taken)] == [0, 1]
        assert [item.number for item in done.refused] == [2]
        assert "no such block" in done.refused[0].why


async def test_what_is_not_beneath_a_version_is_not_stored(world: World) -> None:
    lying = Endpoint(world.roots, world.blocks, [JUNK])
    with Home(world.other) as there:
        done = await recovered(there, lying)
        assert not await there.blocks.has(JUNK[0])
        assert "which is not beneath the version" in str(done.refused)
        done = await recovered(there, lying, Endpoint(world.roots, world.blocks))
        assert there.states.newest_good(world.chain, whole=True).version.number == 2


@pytest.mark.holds("S14")
@pytest.mark.parametrize("noticed", [False, True])
async def test_a_block_that_rotted_beneath_kept_versions_is_fetched(
    world: World, noticed: bool
) -> None:
    raws = (cid for cid in world.blocks if cid[1] == 0x55)
    hurt = {world.segments[0], world.segments[1], next(raws)}
    world.damage(*hurt)
    endpoint = Endpoint(world.roots, world.blocks)
    with Home(world.home) as here:
        if noticed:
            assert here.states.verify().findings != []
        done = await recovered(here, endpoint)
        assert (done.known, done.taken, done.blocks) == (3, (), len(hurt))
        assert set(endpoint.asked) == {*world.roots, *hurt}
        assert here.states.verify().findings == []
        assert here.blocks.database.write(here.blocks.recount) == 0


@pytest.mark.holds("S14")
async def test_a_kept_version_that_cannot_be_mended_is_named(world: World) -> None:
    world.damage(world.segments[0])
    lacks = Endpoint(world.roots, world.only(lambda cid: cid != world.segments[0]))
    with Home(world.home) as here:
        done = await recovered(here, lacks)
        assert {item.number for item in done.refused} == {0, 1, 2}


@pytest.mark.holds("S14")
def test_an_import_stores_over_a_block_that_rotted(world: World, tmp_path: Path) -> None:
    car = tmp_path / "a.car"
    car.write_bytes(b"".join(write_car([world.roots[2]], world.blocks.items())))
    world.damage(world.segments[0])
    with Home(world.home) as here:
        taking = partial(importing, here.states, here.blocks, VIEWS, car)
        done = end_of(taking(adopt=lambda _: False))
        assert (done.known, done.taken) == (3, ())
        assert here.states.verify().findings == []


def end_of(steps: Iterator[Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
