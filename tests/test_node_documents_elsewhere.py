"""Documents of several nodes: what both write at once, and executions that go on elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qflow.node import Node
from tests.engine.flows import head_with
from tests.nodes import until, verify
from tests.places import Place, carry, places, trust

__all__ = ["places"]
pytestmark = pytest.mark.anyio

HEAD = head_with("{documents: {stock: stock}}") + "do:\n"


async def exchange(one: Node, other: Node, name: str) -> None:
    """Each has what the other has."""
    async with one.documents.opened(name) as here, other.documents.opened(name) as there:
        ours, theirs = here.delta(), there.delta()
        done = [await there.apply(ours), await here.apply(theirs)]
        assert not any(item.refused for item in done)


async def whole(here: Node, name: str) -> Any:
    return (await here.documents.get(name)).value


@pytest.mark.holds("C4", "C6")
async def test_what_forks_on_two_nodes_write_at_once_all_counts_and_conflicts_are_told(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    write = """\
- f:
    fork:
      branches:
      - x: {call: document, with: {document: stock, increment: {/sum: 1}, set: {/by: '${ .who }'}}}
      - y: {call: document, with: {document: stock, increment: {/sum: 10}, append: {/log: [1]}}}
- s: {set: {x: 1}}
"""
    async with a.node() as one, b.node() as two:
        await trust(one, two, tmp_path)
        await trust(two, one, tmp_path)
        for _ in range(3):
            await one.run(HEAD + write, {"who": "one"})
            await two.run(HEAD + write, {"who": "two"})
        await exchange(one, two, "stock")
        assert await whole(one, "stock") == await whole(two, "stock")
        assert (await whole(one, "stock"))["sum"] == 66
        assert (await whole(one, "stock"))["log"] == [1] * 6
        found = [item async for item in one.documents.conflicts("stock")]
        assert found == [item async for item in two.documents.conflicts("stock")]
        (conflict,) = found
        assert (conflict.path, conflict.kind) == ("/by", "set")
        assert {one.value for one in conflict.values} == {"one", "two"}
        assert {one.node for one in conflict.values} == {one._key.did, two._key.did}
        shown = await one.run(HEAD + "- r: {set: {by: '${ $documents.stock.by }'}}", None)
        assert shown == {"by": conflict.values[0].value}
        kept = await two.documents.get("stock", "/by", strategy="keep-all")
        assert kept.value == [item.value for item in conflict.values]
        # Who has seen both decides.
        await two.documents.change("stock", [("set", "/by", "both")])
        await exchange(one, two, "stock")
        assert [item async for item in one.documents.conflicts("stock")] == []


async def test_a_stranger_writes_in_nobodys_document(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    async with a.node() as one, b.node() as two:
        await two.documents.change("stock", [("set", "/a", 1)])
        async with two.documents.opened("stock") as theirs:
            pack = theirs.delta()
        async with one.documents.opened("stock", create=True) as ours:
            done = await ours.apply(pack)
            assert done.applied == 0
            assert len(done.refused) == 1
            assert ours.get() == {}


@pytest.mark.holds("E3", "S4")
async def test_an_execution_that_goes_on_elsewhere_has_seen_what_it_saw(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    a, b = places
    tasks = """\
- r: {set: {n: '${ $documents.stock.n }'}}
- h: {call: hold, with: {}, output: {as: $documents.stock.n}}
- s: {set: {before: '${ . }', now: '${ $documents.stock.n }'}}
"""
    from qflow.engine import load_flow

    async with a.node() as one, b.node() as two:
        await one.documents.change("stock", [("set", "/n", "there")])
        execution = await one.start(load_flow(HEAD + tasks))
        await until(lambda: a.steps() == ["/do/1/h"])
        await one.checkpoint(execution)
        await trust(one, two, tmp_path)
        await carry(one, two, execution, tmp_path)
        await two.documents.change("stock", [("set", "/n", "here")])
        await two.states.restore(execution, dry_run=False, actor="t")
        b.world.gate.set()
        # What was read before the move stands in the history; the last step reads anew.
        assert (await two.wait(execution)).output == {"before": "there", "now": "here"}
    verify(b.home)
