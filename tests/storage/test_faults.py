"""Every system call of a commit fails, with EIO and with ENOSPC, or the process dies in it.

Whatever fails: what was acknowledged is there, nothing half-written is, and the store goes on.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from qflow.errors import BlockNotFoundError
from qflow.storage import Database, SqliteBlocks
from tests.faults import FAULTS, Run, Trial
from tests.storage.writer import ROUNDS, blocks_of, keep

CALLS = [
    *("pwrite64", "fdatasync", "pread64", "fsync", "openat", "close", "ftruncate", "fcntl"),
    *("write", "read", "newfstatat", "fstat", "lseek", "unlink", "mmap", "fchmod", "geteuid"),
]
CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync"]


def check(path: Path, done: Run, what: str) -> None:
    """The store as the next process finds it."""
    assert done.closed == (done.status == 0), (what, done)
    assert done.acknowledged == list(range(len(done.acknowledged))), (what, done)
    with Database(path) as database:
        assert database.check() == [], what
        store = SqliteBlocks(database)
        query = "SELECT cid, name FROM pin"
        pins = {int(name): cid for cid, name in database.read(lambda db: db.execute(query))}
        newest = max(pins, default=-1)
        # One more may have reached the disk although it was never acknowledged.
        assert 0 <= newest + 1 - len(done.acknowledged) <= 1, (what, pins, done)
        assert pins.keys() == set(range(max(0, newest - 2), newest + 1)), what
        for number, root in pins.items():
            wanted = blocks_of(number)
            assert root == wanted[-1][0], what
            assert store.load([cid for cid, _ in wanted]) == [data for _, data in wanted], what
        for number in set(range(ROUNDS)) - pins.keys():
            with pytest.raises(BlockNotFoundError):
                store.load([blocks_of(number)[-1][0]])
        assert database.write(store.recount) == 0, what
        database.write(lambda db: keep(store, db, number=newest + 1))


TRIAL = Trial("tests.storage.writer", "state.db", CALLS, CALLS_OF_A_COMMIT, check)


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    return TRIAL.whole(strace, tmp_path_factory.mktemp("whole"), range(ROUNDS))


@pytest.mark.faults
@pytest.mark.holds("S17")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TRIAL.names)
def test_whatever_call_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, strace: str, calls: Counter[str], name: str, fault: str
) -> None:
    TRIAL.fail_each(strace, tmp_path, name, fault, calls[name])


@pytest.mark.faults
@pytest.mark.holds("S1")
def test_a_commit_is_one_sync_and_is_answered_after_it(tmp_path: Path, strace: str) -> None:
    script = (
        "import os, sys; from functools import partial; from qflow.storage import *\n"
        "from tests.storage.writer import *\n"
        "from qflow.storage import _file\n"
        "_file.WAL_FIRST_BYTES, _file.WAL_STEP_BYTES = 0, _file.WAL_BYTES\n"
        "store = SqliteBlocks(Database(sys.argv[1]))\n"
        "def done(result, error):\n"
        "    os.write(1, b'answer')\n"
        "    answered.release()\n"
        "answered = Semaphore(0)\n"
        "for number in range(12):\n"
        "    store.database.submit(partial(keep, store, number=number), done)\n"
        "    answered.acquire()\n"
        # Else it is made longer whenever the writer finds nobody waiting.
        "    while not number and os.stat(sys.argv[1] + '-wal').st_size < _file.WAL_BYTES:\n"
        "        pass\n"
    )
    trace = tmp_path / "trace"
    options = ["-f", "-o", str(trace), "-e", "trace=fdatasync,fsync,write"]
    python = [sys.executable, "-c", script, str(tmp_path / "state.db")]
    subprocess.run([strace, *options, *python], check=True, stdout=subprocess.DEVNULL)
    # Where a call begins: strace may have another line for its end.
    begun = r"^\d+ +(fdatasync\(|fsync\(|write\(1, \"answer\")"
    calls = re.findall(begun, trace.read_text(), re.MULTILINE)
    syncs = "".join("a" if "answer" in call else "s" for call in calls).split("a")
    # The first ones make tables, and the WAL longer.
    assert syncs[3:12] == ["s"] * 9, syncs
