"""Every system call of an append fails, with EIO and with ENOSPC, or the process dies in it.

Whatever fails: nothing that was acknowledged is lost, nothing half-written is served, the files
verify as they lie there, and the log opens and goes on.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.log.logs import open_log, read_all, report
from tests.log.writer import APPENDS, append_of

pytestmark = pytest.mark.faults

FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
# Those that write, sync or read a log's files. What is left out asks for memory, threads or time.
CALLS = [
    *("pwrite64", "fdatasync", "pread64", "fsync", "read", "write", "openat", "close", "ftruncate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    *("statx", "fstat", "newfstatat", "getdents64", "flock", "lseek", "eventfd2"),
]
CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync", "pread64", "fsync"]
FULL = os.environ.get("QFLOW_TEST_FULL") == "1"
TIMEOUT_S = 60


@dataclass(frozen=True)
class Run:
    """What the process said, how it ended, and the calls that strace saw, by thread."""

    acknowledged: list[int]
    closed: bool
    status: int
    error: str
    calls: Counter[str]


def run(strace: str, path: Path, inject: str | None) -> Run:
    """Run the writer with one fault; strace counts from when the writer is ready."""
    command = [sys.executable, "-m", "tests.log.writer", str(path)]
    trace = path.parent / "trace"
    writer = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    options = ["-f", "-o", str(trace), "-e", "trace=" + ",".join(CALLS)]
    options += ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen([strace, *options, "-p", str(writer.pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    assert b"attached" in tracer.stderr.readline()
    out, error = writer.communicate(b"go\n", timeout=TIMEOUT_S)
    tracer.communicate(timeout=TIMEOUT_S)
    lines = out.decode().split()
    acknowledged = [int(line) for line in lines if line.isdigit()]
    calls = count_calls(trace.read_text())
    return Run(acknowledged, "closed" in lines, writer.returncode, error.decode(), calls)


def count_calls(trace: str) -> Counter[str]:
    """The most calls of each name that one thread made."""
    by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE))
    most: Counter[str] = Counter()
    for (_, name), count in by_thread.items():
        most[name] = max(most[name], count)
    return most


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


def times(count: int) -> list[int]:
    """Each time that the call is made, or a few of them."""
    return list(range(1, count + 1)) if FULL else sorted({1, min(count, 3), count})


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
