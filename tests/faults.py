"""System calls of a real process that fail, or in which it dies: by strace's injection.

The process says `ready` on its stdout, waits for a line, works, says a number for each thing that
it was told is durable, and at its end `closed`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
FULL = os.environ.get("QFLOW_TEST_FULL") == "1"
TIMEOUT_S = 60

# Those that SQLite, and the file of keys, read, write and sync with.
CALLS_OF_A_HOME = [
    *("pwrite64", "fdatasync", "fsync", "pread64", "write", "read", "openat", "close"),
    *("ftruncate", "fallocate", "rename", "renameat2", "link", "unlink", "mkdir", "mmap"),
    *("fcntl", "fstat", "newfstatat", "statx", "lseek", "flock", "chmod", "fchmod"),
]


@dataclass(frozen=True)
class Run:
    """What the process said, how it ended, and the calls that strace saw, by thread."""

    acknowledged: list[int]
    closed: bool
    status: int
    error: str
    calls: Counter[str]


def run(
    strace: str, module: str, path: Path, calls: Sequence[str], inject: str | None = None
) -> Run:
    """Run a module on a path with one fault; strace counts from when the process is ready."""
    command = [sys.executable, "-m", module, str(path)]
    trace = path.parent / "trace"
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    options = ["-f", "-o", str(trace), "-e", "trace=" + ",".join(calls)]
    options += ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen([strace, *options, "-p", str(worker.pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    assert b"attached" in tracer.stderr.readline()
    out, error = worker.communicate(b"go\n", timeout=TIMEOUT_S)
    tracer.communicate(timeout=TIMEOUT_S)
    lines = out.decode().split()
    acknowledged = [int(line) for line in lines if line.isdigit()]
    seen = count_calls(trace.read_text())
    return Run(acknowledged, "closed" in lines, worker.returncode, error.decode(), seen)


def count_calls(trace: str) -> Counter[str]:
    """The most calls of each name that one thread made."""
    by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE))
    most: Counter[str] = Counter()
    for (_, name), count in by_thread.items():
        most[name] = max(most[name], count)
    return most


def times(count: int, most: int = 1000) -> list[int]:
    """Each time that the call is made, at most so many of them; or a few."""
    if FULL:
        step = -(-count // most)
        return sorted({*range(1, count + 1, step), count})
    return sorted({1, min(count, 3), count})


@dataclass(frozen=True)
class Trial:
    """A module that is run again and again, with another call that fails each time.

    `check` looks at what the next process finds at the path. The calls of a commit are those that
    the work must not survive: a trial in which they fail and nothing comes of it shows nothing.
    """

    module: str
    path: str
    calls: Sequence[str]
    calls_of_a_commit: Sequence[str]
    check: Callable[[Path, Run, str], None]
    most: int = 1000
    prepare: Callable[[Path], object] = lambda path: None
    """Make what a run begins with."""

    @property
    def names(self) -> Sequence[str]:
        return self.calls if FULL else self.calls_of_a_commit

    def whole(self, strace: str, folder: Path, acknowledged: Iterable[int]) -> Counter[str]:
        """How often a thread makes each call when nothing fails."""
        path = folder / self.path
        self.prepare(path)
        done = run(strace, self.module, path, self.calls)
        assert done.closed, done
        assert done.acknowledged == list(acknowledged), done
        self.check(path, done, "nothing failed")
        return done.calls

    def fail_each(self, strace: str, folder: Path, name: str, fault: str, count: int) -> None:
        """The call fails each time that it is made, in a run of its own."""
        failed = 0
        for when in times(count, self.most) if count else []:
            what = f"{name}:{fault}:when={when}"
            path = folder / str(when) / self.path
            path.parent.mkdir()
            self.prepare(path)
            done = run(strace, self.module, path, self.calls, what)
            assert done.status in (0, 1, -signal.SIGKILL), (what, done)
            assert done.closed or done.status != 0, (what, done)
            self.check(path, done, what)
            failed += done.status != 0
            shutil.rmtree(path.parent)
        assert failed > 0 or name not in self.calls_of_a_commit
