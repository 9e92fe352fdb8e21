"""Every system call of an append fails, with EIO and with ENOSPC, or the process dies in it.

Whatever fails: nothing that was acknowledged is lost, nothing half-written is served, the files
verify as they lie there, and the log opens and goes on.
"""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests import faults
from tests.faults import FAULTS, FULL, Run, times
from tests.log.logs import open_log, read_all, report
from tests.log.writer import APPENDS, append_of

pytestmark = pytest.mark.faults

# Those that write, sync or read a log's files. What is left out asks for memory, threads or time.
CALLS = [
    *("pwrite64", "fdatasync", "pread64", "fsync", "read", "write", "openat", "close", "ftruncate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    *("statx", "fstat", "newfstatat", "getdents64", "flock", "lseek", "eventfd2"),
]
CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync", "pread64", "fsync"]


def run(strace: str, path: Path, inject: str | None) -> Run:
    return faults.run(strace, "tests.log.writer", path, CALLS, inject)


def check(path: Path, done: Run, what: str) -> None:
    """The files as they lie there, and as the next process finds them."""
    assert done.status in (0, 1, -signal.SIGKILL), (what, done)
    assert done.closed or done.status != 0, (what, done)
    if (path / "checkpoint").exists():
        found = report(path)
        # The records are no chains; everything else is as it must be.
        assert [one for one in found["findings"] if "record" not in one["where"]] == [], what
        assert found["size"] >= len(done.acknowledged) * 3, what
    log = open_log(path)
    records = read_all(log)
    assert len(records) == log.size
    appends = [record for number in range(APPENDS) for record in append_of(number)]
    assert records == appends[: len(records)], what
    assert len(records) % 3 == 0, what
    assert done.acknowledged == list(range(0, len(done.acknowledged) * 3, 3)), what
    # One append more may have reached the disk although it was never acknowledged.
    assert 0 <= len(records) // 3 - len(done.acknowledged) <= 1, (what, done)
    assert log.append_durable([b"goes on"]) == len(records)
    log.close()
    found = report(path)
    assert [one for one in found["findings"] if "record" not in one["where"]] == [], what
    assert (found["size"], found["published"]) == (len(records) + 1, len(records) + 1), what


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    whole = run(strace, tmp_path_factory.mktemp("whole") / "log", None)
    assert whole.closed, whole
    assert whole.acknowledged == list(range(0, APPENDS * 3, 3))
    return whole.calls


@pytest.mark.holds("H22")
@pytest.mark.holds("S17")
@pytest.mark.holds("H8")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS if FULL else CALLS_OF_A_COMMIT)
def test_whatever_call_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, strace: str, calls: Counter[str], name: str, fault: str
) -> None:
    failed = 0
    for when in times(calls[name]) if calls[name] else []:
        what = f"{name}:{fault}:when={when}"
        path = tmp_path / f"log-{when}"
        done = run(strace, path, what)
        check(path, done, what)
        failed += done.status != 0
        shutil.rmtree(path)
    assert failed > 0 or name not in CALLS_OF_A_COMMIT
