"""Every system call of an append fails, with EIO and with ENOSPC, or the process dies in it.

Whatever fails: nothing that was acknowledged is lost, nothing half-written is served, the files
verify as they lie there, and the log opens and goes on.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.faults import FAULTS, Run, Trial
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


def check(path: Path, done: Run, what: str) -> None:
    """The files as they lie there, and as the next process finds them."""
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


TRIAL = Trial("tests.log.writer", "log", CALLS, CALLS_OF_A_COMMIT, check)


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    return TRIAL.whole(strace, tmp_path_factory.mktemp("whole"), range(0, APPENDS * 3, 3))


@pytest.mark.holds("H22")
@pytest.mark.holds("S17")
@pytest.mark.holds("H8")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TRIAL.names)
def test_whatever_call_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, strace: str, calls: Counter[str], name: str, fault: str
) -> None:
    TRIAL.fail_each(strace, tmp_path, name, fault, calls[name])
