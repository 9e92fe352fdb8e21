"""Every system call of a checkpoint fails, with EIO and with ENOSPC, or the process dies in it.

Whatever fails: no checkpoint that was acknowledged is lost, none is half there, all that are there
verify, and the home opens and goes on.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qflow import _core
from tests.faults import CALLS_OF_A_HOME, FAULTS, Run, Trial
from tests.state.checkpointer import CHAIN, CHECKPOINTS, state_of, step
from tests.stored import Execution, Home

pytestmark = pytest.mark.faults

CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync"]
TIMES_MAX = 60
"""Of one call, evenly: a page that is read or written is like the one before it."""


def check(path: Path, done: Run, what: str) -> None:
    """The home as the next process finds it."""
    acknowledged = done.acknowledged
    assert acknowledged == list(range(len(acknowledged))), (what, done)
    with Home(path) as home:
        chain = CHAIN.to_bytes(16, "big")
        versions = home.states.history(chain)[::-1]
        # One more may have reached the disk although it was never acknowledged.
        assert 0 <= len(versions) - len(acknowledged) <= 1, (what, done)
        assert [saved.number for saved in versions] == list(range(len(versions))), what
        for saved in versions:
            assert home.states.load(saved.cid) == _core.encode(state_of(saved.number)), what
        assert home.states.verify().findings == [], what
        assert home.states.garbage().blocks == 0, what
        again = Execution.resumed(home, versions[-1]) if versions else home.begin(CHAIN + 1)
        assert step(again, home) == len(versions), what
        assert home.states.verify().findings == [], what


TRIAL = Trial(
    "tests.state.checkpointer", "home", CALLS_OF_A_HOME, CALLS_OF_A_COMMIT, check, TIMES_MAX
)


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    return TRIAL.whole(strace, tmp_path_factory.mktemp("whole"), range(CHECKPOINTS))


@pytest.mark.holds("S17", "S8")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TRIAL.names)
def test_whatever_call_of_a_checkpoint_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, strace: str, calls: Counter[str], name: str, fault: str
) -> None:
    TRIAL.fail_each(strace, tmp_path, name, fault, calls[name])
