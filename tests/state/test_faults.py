"""Every system call of a checkpoint fails, with EIO and with ENOSPC, or the process dies in it.

Whatever fails: no checkpoint that was acknowledged is lost, none is half there, all that are there
verify, and the home opens and goes on.
"""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from qflow import _core
from tests import faults
from tests.faults import FAULTS, FULL, Run, times
from tests.state.checkpointer import CHAIN, CHECKPOINTS, state_of, step
from tests.stored import Execution, Home

pytestmark = pytest.mark.faults

# Those that SQLite, and the file of keys, read, write and sync with.
CALLS = [
    *("pwrite64", "fdatasync", "fsync", "pread64", "write", "read", "openat", "close"),
    *("ftruncate", "fallocate", "rename", "renameat2", "link", "unlink", "mkdir", "mmap"),
    *("fcntl", "fstat", "newfstatat", "statx", "lseek", "flock", "chmod", "fchmod"),
]
CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync"]
TIMES_MAX = 60
"""Of one call, evenly: a page that is read or written is like the one before it."""


def run(strace: str, path: Path, inject: str | None) -> Run:
    return faults.run(strace, "tests.state.checkpointer", path, CALLS, inject)


def check(path: Path, done: Run, what: str) -> None:
    """The home as the next process finds it."""
    assert done.status in (0, 1, -signal.SIGKILL), (what, done)
    assert done.closed or done.status != 0, (what, done)
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


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    path = tmp_path_factory.mktemp("whole") / "home"
    done = run(strace, path, None)
    assert done.closed, done
    assert done.acknowledged == list(range(CHECKPOINTS))
    check(path, done, "nothing")
    return done.calls


@pytest.mark.holds("S17", "S8")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS if FULL else CALLS_OF_A_COMMIT)
def test_whatever_call_of_a_checkpoint_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, strace: str, calls: Counter[str], name: str, fault: str
) -> None:
    failed = 0
    for when in times(calls[name], TIMES_MAX) if calls[name] else []:
        what = f"{name}:{fault}:when={when}"
        path = tmp_path / f"home-{when}"
        done = run(strace, path, what)
        check(path, done, what)
        failed += done.status != 0
        shutil.rmtree(path)
    assert failed > 0 or name not in CALLS_OF_A_COMMIT
