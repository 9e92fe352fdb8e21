"""Which versions are kept, and which follow, when an older one was restored in front of newer."""

from __future__ import annotations

import pytest

from qflow.state import Saved
from tests.state.executions import Execution, Home
from tests.state.test_removal import filled


def left_behind(home: Home, execution: Execution) -> tuple[list[Saved], list[Saved]]:
    """Six versions, of which the third was restored: what follows it, and what was left."""
    saved = filled(home, execution, 3)
    count, prev, at = len(execution.records), execution.prev, execution.at
    saved += filled(home, execution, 3)
    home.states.go_on_from(saved[2].cid)
    execution.prev = prev
    del execution.records[count:]
    execution.at = at + 100_000
    return saved[:3], saved[3:]


def commit(home: Home, execution: Execution) -> Saved:
    execution.facts(1, content="other")
    since = home.states.next_seq(execution.chain)
    return home.states.commit(execution.checkpoint(b"other" * 90, since=since))


@pytest.mark.holds("S4", "S8")
@pytest.mark.parametrize("keep", [1, 3])
def test_what_was_acknowledged_behind_a_restored_version_stays(
    home: Home, execution: Execution, keep: int
) -> None:
    """Though those that were left behind have higher numbers, of the same epoch."""
    line, _ = left_behind(home, execution)
    for _ in range(4):
        line.append(commit(home, execution))
        home.states.prune(execution.chain, keep)
        assert home.states.history(execution.chain) == line[::-1][:keep]
        assert home.states.newest(execution.chain) == line[-1]
        assert home.states.load(line[-1].cid)
    assert home.states.verify().findings == []


def test_when_the_head_is_deleted_the_one_before_it_is_followed(
    home: Home, execution: Execution
) -> None:
    line, left = left_behind(home, execution)
    line.append(commit(home, execution))
    # A gap in the line: numbers lead over it.
    home.states.delete(cid=line[1].cid)
    for at in (3, 2):
        home.states.delete(cid=line[at].cid)
        assert home.states.newest(execution.chain) == line[2 if at == 3 else 0]
    assert home.states.prune(execution.chain, 1).versions == len(left)
    assert home.states.history(execution.chain) == [line[0]]
