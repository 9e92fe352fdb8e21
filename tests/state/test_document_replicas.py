"""Documents of several nodes: what they tell each other, and what conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from qflow.errors import UnavailableError
from qflow.state import Document, Sibling, prefer
from tests.state.documents import Place, exchange, opened
from tests.state.executions import node

pytestmark = pytest.mark.anyio

THREE = (1, 2, 3)


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    return [Place(tmp_path / str(number), number, members=THREE) for number in THREE]


@pytest.mark.holds("C4", "C5")
async def test_replicas_with_the_same_operations_show_the_same(places: list[Place]) -> None:
    async with opened(places) as carts:
        for number, cart in enumerate(carts):
            await cart.set("/by", number)
            await cart.increment("/n", number + 1)
            await cart.append("/log", f"of {number}")
            await cart.set(f"/own/{number}", True)
        await exchange(carts)
        seen = carts[0].get()
        assert seen["n"] == 6
        assert len(seen["log"]) == 3
        assert len(seen["own"]) == 3
        assert all(cart.get() == seen for cart in carts)
        assert all(cart.clock == carts[0].clock for cart in carts)
        assert all(cart.conflicts() == carts[0].conflicts() for cart in carts)
        await carts[2].set("/by", "all")
        await exchange(carts)
        assert [cart.get("/by") for cart in carts] == ["all"] * 3
        assert all(cart.conflicts("/by") == [] for cart in carts)
    async with opened(places) as carts:
        assert all(cart.get() == carts[0].get() for cart in carts)


@pytest.mark.holds("C2", "C4")
async def test_any_order_and_again_gives_the_same(places: list[Place], tmp_path: Path) -> None:
    async with opened(places) as carts:
        await carts[0].set("/a", {"x": 1})
        await exchange(carts)
        await carts[0].set("/a/x", 2)
        await carts[1].delete("/a")
        await carts[2].increment("/a/x", 3)
        packs = [cart.delta() for cart in carts]
        await exchange(carts)
        seen, clock = carts[0].get(), carts[0].clock
    for at, order in enumerate(permutations(packs)):
        place = Place(tmp_path / f"reader-{at}", 9, members=THREE)
        async with opened([place]) as [cart]:
            for pack in order:
                await cart.apply(pack)
            assert (cart.get(), cart.clock) == (seen, clock)
            blocks = cart.stats()["log_blocks"]
            for pack in packs:
                again = await cart.apply(pack)
                assert (again.applied, again.refused) == (0, ())
            assert (cart.get(), cart.clock) == (seen, clock)
            assert cart.stats()["log_blocks"] == blocks, "what is known is not saved again"


@pytest.mark.holds("C4")
async def test_changes_wait_for_what_they_build_on_also_over_a_restart(
    places: list[Place],
) -> None:
    async with opened(places) as carts:
        await carts[0].set("/a", 1)
        first = carts[0].delta()
        before = carts[0].clock
        await carts[0].set("/b", 2)
        second = carts[0].delta(before)
        taken = await carts[1].apply(second)
        assert (taken.applied, taken.waiting) == (0, 1)
        assert carts[1].get() == {}
    async with opened(places) as carts:
        assert carts[1].stats()["waiting"] == 1
        taken = await carts[1].apply(first)
        assert (taken.applied, taken.waiting) == (2, 0)
        assert carts[1].get() == {"a": 1, "b": 2}
    async with opened(places) as carts:
        assert carts[1].get() == {"a": 1, "b": 2}


@pytest.mark.holds("C10")
async def test_a_foreign_change_is_refused_and_told(places: list[Place], tmp_path: Path) -> None:
    stranger = Place(tmp_path / "stranger", 9)
    async with opened([*places[:2], stranger]) as [one, two, other]:
        await other.set("/a", "foreign")
        await one.set("/b", "own")
        taken = await two.apply([other.delta(), one.delta()])
        assert taken.applied == 1
        assert len(taken.refused) == 1
        assert two.get() == {"b": "own"}
        (told,) = places[1].events("change.refused")
        assert told["why"]
        assert two.stats()["log_blocks"] == 1
    async with opened(places) as carts:
        assert carts[1].get() == {"b": "own"}


@pytest.mark.holds("C10")
async def test_a_changed_or_unsigned_change_is_refused(places: list[Place]) -> None:
    async with opened(places) as carts:
        await carts[0].set("/a", "own")
        pack = carts[0].delta()
        for at in range(len(pack)):
            bad = bytearray(pack)
            bad[at] ^= 1
            try:
                taken = await carts[1].apply(bytes(bad))
            except ValueError:
                continue
            # Bytes that do not matter to the packing may differ: what was signed may not.
            assert taken.applied == 0 or carts[1].delta() == pack, at
        assert carts[1].get() in ({}, {"a": "own"})
        await carts[1].apply(pack)
        assert carts[1].get() == {"a": "own"}


async def conflicting(carts: Sequence[Document], path: str, values: Sequence[Any]) -> None:
    for cart, value in zip(carts, values, strict=True):
        await cart.set(path, value)
    await exchange(carts)


@pytest.mark.holds("C6")
async def test_strategies_are_projections_of_the_same_siblings(places: list[Place]) -> None:
    async with opened(places) as carts:
        await conflicting(carts, "/n", [5, 9, 7])
        await conflicting(carts, "/tags", [["a", "b"], ["b"], ["c"]])
        await carts[0].set("/plain", 1)
        await exchange(carts)
        for cart in carts:
            siblings = cart.siblings("/n")
            assert sorted(one.value for one in siblings) == [5, 7, 9]
            assert cart.get("/n") == siblings[0].value
            assert cart.get("/n", strategy="last-write") == siblings[0].value
            assert cart.get("/n", strategy="max") == 9
            assert cart.get("/n", strategy="min") == 5
            assert sorted(cart.get("/n", strategy="keep-all")) == [5, 7, 9]
            assert cart.get("/n", strategy=prefer([node(2).public])) == 9
            assert cart.get("/n", strategy=prefer([])) == siblings[0].value
            assert cart.get("/n", strategy=len) == 3
            assert sorted(cart.get("/tags", strategy="union")) == ["a", "b", "c"]
            whole = cart.get("", strategy="max")
            assert (whole["n"], whole["plain"]) == (9, 1)
            assert cart.get("/plain", strategy="keep-all") == 1
        await carts[1].increment("/n", 100)
        await exchange(carts)
        assert carts[0].get("/n", strategy="max") == carts[1].get("/n", strategy="max")


@pytest.mark.holds("C7")
async def test_a_strategy_that_fails_fails_the_read(places: list[Place]) -> None:
    async with opened(places) as carts:
        await conflicting(carts, "/n", [5, 9, 7])

        def fail(_: Sequence[Sibling]) -> Any:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            carts[0].get("/n", strategy=fail)
        with pytest.raises(ValueError, match="no strategy"):
            carts[0].get("/n", strategy="newest")


@pytest.mark.holds("C7")
async def test_a_part_of_the_conflicts_is_no_answer(places: list[Place]) -> None:
    async with opened(places) as carts:
        for at in range(5):
            await conflicting(carts, f"/n/{at}", [1, 2, 3])
        assert len(carts[0].conflicts()) == 5
        assert len(carts[0].conflicts("/n/3")) == 1
        with pytest.raises(UnavailableError, match="more than 4"):
            carts[0].conflicts(limit=4)


@pytest.mark.holds("C6")
async def test_conflicts_are_told_once_with_the_same_id_everywhere(places: list[Place]) -> None:
    async with opened(places) as carts:
        await conflicting(carts, "/n", [5, 9, 7])
        await exchange(carts)
        ids = set()
        for place, cart in zip(places, carts, strict=True):
            (conflict,) = cart.conflicts()
            told = place.events("conflict.detected")
            last = told[-1]
            assert (last["conflict"], last["path"], last["kind"]) == (conflict.id, "/n", "set")
            assert last["count"] == 3
            assert len({one["conflict"] for one in told}) == len(told)
            ids.add(conflict.id)
        assert len(ids) == 1
        counts = [len(place.told) for place in places]
    async with opened(places) as carts:
        await exchange(carts)
        assert [len(place.events("conflict.detected")) for place in places] == [
            count - len(place.events("document.created"))
            for count, place in zip(counts, places, strict=True)
        ]


@pytest.mark.holds("C14")
async def test_an_equivocating_replica_is_told_and_the_evidence_is_kept(
    places: list[Place], tmp_path: Path
) -> None:
    liars = [Place(tmp_path / f"liar-{at}", 3, members=THREE) for at in range(2)]
    async with opened(places[:2]) as carts:
        async with opened(liars) as twins:
            await twins[0].set("/a", "one")
            await twins[1].set("/a", "two")
            first, second = (twin.delta() for twin in twins)
        await carts[0].apply([first, second])
        await carts[1].apply([second])
        await carts[1].apply([first])
        assert carts[0].get() == carts[1].get()
        assert carts[0].clock == carts[1].clock
        evidence = await carts[0].evidence()
        assert evidence == await carts[1].evidence()
        (one,) = evidence
        assert one.replica == node(3).public
        assert len(one.changes) == len(one.proofs) == 2
        for place in places[:2]:
            (told,) = place.events("equivocation.detected")
            assert told["replica"] == node(3).did
    async with opened(places[:2]) as carts:
        assert await carts[0].evidence() == evidence
        await carts[0].apply([first, second])
        assert len(places[0].events("equivocation.detected")) == 1
