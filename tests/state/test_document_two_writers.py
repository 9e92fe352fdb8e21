"""A document that others write too: another process of the home, and a peer whose changes come out
of order."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow.errors import StaleError
from tests.state.documents import NAME, NEVER, Place

pytestmark = pytest.mark.anyio


@pytest.mark.holds("C4", "C11")
async def test_two_processes_of_one_home_go_on_from_each_other(tmp_path: Path) -> None:
    here, there = Place(tmp_path), Place(tmp_path)
    there.keys = here.keys
    async with here.opened(limits=NEVER) as ours, there.opened(limits=NEVER) as theirs:
        one, other = await ours.open(NAME), await theirs.open(NAME)
        await one.set("/a", 1)
        await other.set("/b", 2)
        await one.set("/c", 3)
        assert one.get() == {"a": 1, "b": 2, "c": 3}
        with pytest.raises(StaleError):
            await other.compact()
        await other.compact()
        assert other.get() == one.get()
        await one.set("/d", 4)
        assert one.get() == {"a": 1, "b": 2, "c": 3, "d": 4}


@pytest.mark.holds("C3", "C11", "C12")
async def test_a_change_that_waits_outlives_a_compaction_and_a_restart(tmp_path: Path) -> None:
    a, b = (Place(tmp_path / str(number), number, members=(1, 2)) for number in (1, 2))
    async with a.opened(limits=NEVER) as theirs, b.opened(limits=NEVER) as ours:
        far, near = await theirs.open(NAME), await ours.open(NAME)
        await far.set("/a", 1)
        clock, first = far.clock, far.delta()
        await far.set("/b", 2)
        second = far.delta(clock)
        for number in range(8):
            await near.set("/y", number)
        assert (await near.apply(second)).waiting == 1
        await near.compact()
        assert (await near.apply(second)).waiting == 1
        assert (await near.apply(first)).waiting == 0
        assert near.get() == {"a": 1, "b": 2, "y": 7}
    async with b.opened(limits=NEVER) as ours:
        assert (await ours.open(NAME)).get() == {"a": 1, "b": 2, "y": 7}
