"""Deleting releases every pin, and takes what nothing else names."""

from __future__ import annotations

import pytest

from qflow import _core
from qflow.errors import BlockNotFoundError
from qflow.state import Saved
from tests.state.executions import Execution, Home, Keys, node


def filled(home: Home, execution: Execution, count: int) -> list[Saved]:
    saved = []
    for number in range(count):
        execution.facts(6)
        since = home.states.next_seq(execution.chain)
        draft = execution.checkpoint(b"state %d" % number * 5000, since=since)
        saved.append(home.states.commit(draft))
    return saved


def count(home: Home, table: str) -> int:
    statement = f"SELECT count(*) FROM {table}"
    return int(home.database.read(lambda db: db.execute(statement).fetchone())[0])


@pytest.mark.holds("S12")
def test_deleting_releases_every_pin_here_and_elsewhere(home: Home, keys: Keys) -> None:
    one, two = Execution(1, node(), keys), Execution(2, node(), keys)
    mine, theirs = filled(home, one, 4), filled(home, two, 2)
    before = count(home, "block")
    removed = home.states.delete(chain=one.chain)
    assert removed.versions == 4
    assert home.pins.unwanted == [saved.cid for saved in mine[::-1]]
    assert count(home, "pin") == 2
    assert before - count(home, "block") == removed.blocks > 20
    assert home.states.garbage().blocks == 0
    assert home.states.history(one.chain) == []
    assert home.states.newest(one.chain) is None
    with pytest.raises(BlockNotFoundError):
        home.states.load(mine[0].cid)
    assert home.states.newest_good(two.chain, whole=True).version == theirs[1]
    assert home.states.delete(chain=one.chain).versions == 0
    assert home.states.verify().findings == []


@pytest.mark.holds("S12")
def test_after_deleting_every_version_no_block_is_left(home: Home, execution: Execution) -> None:
    saved = filled(home, execution, 5)
    for one in saved[::2] + saved[1::2]:
        home.states.delete(cid=one.cid)
        assert home.states.verify().findings == []
    assert count(home, "block") == count(home, "pin") == 0
    assert sorted(home.pins.unwanted) == sorted(one.cid for one in saved)


def test_what_was_deleted_is_not_served_from_memory(home: Home, execution: Execution) -> None:
    saved = filled(home, execution, 2)
    for one in saved:
        home.states.check(one.cid)
    home.states.delete(chain=execution.chain)
    assert home.states.stats()["cached_blocks"] == 0


@pytest.mark.holds("S12")
@pytest.mark.parametrize("keep", [1, 2, 3, 5, 9])
def test_pruning_keeps_the_newest_and_says_where_the_chain_begins(
    home: Home, execution: Execution, keep: int
) -> None:
    saved = filled(home, execution, 5)
    removed = home.states.prune(execution.chain, keep)
    kept = saved[-keep:]
    assert removed.versions == 5 - len(kept)
    assert home.states.history(execution.chain) == kept[::-1]
    checked = home.states.verify()
    assert checked.findings == []
    assert checked.begins == ([(execution.chain, 5 - keep)] if keep < 5 else [])
    assert checked.records == len(execution.records), "the whole history is beneath the newest"
    assert home.states.check(kept[0].cid) == kept[0]
    assert home.states.garbage().blocks == 0


@pytest.mark.holds("S12")
@pytest.mark.parametrize("labelled", [(0,), (1, 2), (4,), (0, 1, 2, 3, 4)])
def test_pruning_leaves_what_has_a_label_and_does_not_count_it(
    home: Home, execution: Execution, labelled: tuple[int, ...]
) -> None:
    saved = []
    for number in range(5):
        execution.facts(6)
        since = home.states.next_seq(execution.chain)
        meta = {"label": f"l{number}"} if number in labelled else None
        saved.append(home.states.commit(execution.checkpoint(b"state", since=since, meta=meta)))
    home.states.prune(execution.chain, 1)
    unlabelled = [number for number in range(5) if number not in labelled]
    kept = sorted({*labelled, *unlabelled[-1:]}, reverse=True)
    assert home.states.history(execution.chain) == [saved[number] for number in kept]
    assert home.states.verify().findings == []
    home.states.prune(execution.chain, 1, labelled=True)
    assert home.states.history(execution.chain) == saved[-1:]


def test_many_chains_are_pruned_together(home: Home, keys: Keys) -> None:
    executions = [Execution(number, node(), keys) for number in (1, 2, 3)]
    saved = [filled(home, one, number) for number, one in enumerate(executions, 1)]
    chains = [one.chain for one in executions]
    assert home.states.prune_many(chains, 1).versions == 3
    assert [home.states.history(chain) for chain in chains] == [[one[-1]] for one in saved]
    assert home.states.prune_many(chains, 1).versions == 0
    assert home.states.verify().findings == []


def test_after_pruning_and_deleting_the_chain_goes_on(home: Home, execution: Execution) -> None:
    saved = filled(home, execution, 3)
    home.states.prune(execution.chain, 1)
    (more,) = filled(home, execution, 1)
    assert (more.number, more.previous) == (3, saved[2].cid)
    home.states.delete(cid=more.cid)
    assert home.states.newest(execution.chain) == saved[2]
    assert home.states.next_seq(execution.chain) == saved[2].seq + 1
    home.states.delete(chain=execution.chain)
    assert home.states.next_seq(execution.chain) == 0
    execution.facts(1)
    again = home.states.commit(execution.checkpoint(b"again", since=0))
    assert (again.number, again.previous) == (0, None)
    assert home.states.check(again.cid) == again


def test_deleting_and_pruning_ask_for_something_that_makes_sense(
    home: Home, execution: Execution
) -> None:
    (saved,) = filled(home, execution, 1)
    with pytest.raises(TypeError):
        home.states.delete()
    with pytest.raises(TypeError):
        home.states.delete(chain=execution.chain, cid=saved.cid)
    with pytest.raises(ValueError, match="keep"):
        home.states.prune(execution.chain, 0)
    assert home.states.delete(cid=bytes(36)).versions == 0


def test_what_nothing_names_is_reported_and_collected(home: Home, execution: Execution) -> None:
    saved = filled(home, execution, 2)
    stray = [(bytes(_core.cid_of(b"%d" % at, "raw")), b"%d" % at) for at in range(2500)]
    home.database.write(lambda db: home.blocks.put_blocks(db, stray))
    found = home.states.garbage()
    assert (found.blocks, found.size_bytes) == (2500, sum(len(data) for _, data in stray))
    home.states.delete(cid=saved[0].cid)
    assert home.states.garbage() == found, "an import that goes on is left alone"
    assert home.states.collect() == found
    assert home.states.garbage().blocks == 0
    assert home.states.verify().findings == []
    assert home.states.check(saved[1].cid) == saved[1]


@pytest.mark.holds("S12")
def test_what_a_damaged_segment_held_is_reported_and_collected(
    home: Home, execution: Execution
) -> None:
    (saved,) = filled(home, execution, 1)
    segment = home.states.version(saved.cid).history
    spoil = (
        "UPDATE block_data SET data = zeroblob(length(data))"
        " WHERE place = (SELECT place FROM block WHERE cid = ?)"
    )
    home.database.write(lambda db: db.execute(spoil, (segment,)).rowcount)
    home.states.delete(chain=execution.chain)
    assert count(home, "pin") == 0
    assert count(home, "block") > 0
    found = home.states.garbage()
    assert found.blocks == count(home, "block")
    assert home.states.collect() == found
    assert count(home, "block") == count(home, "block_data") == 0
    assert home.states.garbage().blocks == 0


def test_pruning_spares_what_somebody_waits_for(home: Home, execution: Execution) -> None:
    saved = filled(home, execution, 4)
    removed = home.states.prune_many([execution.chain], 1, spare={saved[1].cid})
    assert removed.versions == 2
    assert home.states.history(execution.chain) == [saved[3], saved[1]]
    assert home.states.prune_many([execution.chain], 1).versions == 1
    assert home.states.history(execution.chain) == [saved[3]]
