"""Every system call of a document's write fails, by EIO and by ENOSPC, or the process dies in it.

Whatever fails: no write that was acknowledged is lost, none is half there, memory is as the disk,
and the document opens and goes on.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from tests import faults
from tests.faults import FAULTS, FULL, Run, times
from tests.state.documenter import NAME, WRITES, opened, step

pytestmark = pytest.mark.faults

CALLS = [
    *("pwrite64", "fdatasync", "fsync", "pread64", "write", "read", "openat", "close"),
    *("ftruncate", "fallocate", "rename", "renameat2", "link", "unlink", "mkdir", "mmap"),
    *("fcntl", "fstat", "newfstatat", "statx", "lseek", "flock", "chmod", "fchmod"),
]
CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync"]
TIMES_MAX = 60


def run(strace: str, path: Path, inject: str | None) -> Run:
    return faults.run(strace, "tests.state.documenter", path, CALLS, inject)


async def look(path: Path, acknowledged: int, what: str) -> None:
    """The document as the next process finds it."""
    async with opened(path) as documents:
        assert await documents.verify() == [], what
        cart = await documents.open(NAME)
        count = cart.get("/n", 0)
        # One more may have reached the disk although it was never acknowledged.
        assert 0 <= count - acknowledged <= 1, (what, count, acknowledged)
        wanted = {str(number): f"{number} " + "x" * 3000 for number in range(count)}
        assert cart.get("/of", {}) == wanted, what
        for number in range(count):
            await cart.increment("/n", op=f"write-{number}")
        assert cart.get("/n", 0) == count, what
        assert await step(cart) == count, what
        assert await cart.evidence() == [], what
        assert await documents.verify() == [], what


def check(path: Path, done: Run, what: str) -> None:
    assert done.status in (0, 1, -signal.SIGKILL), (what, done)
    assert done.closed or done.status != 0, (what, done)
    assert done.acknowledged == list(range(len(done.acknowledged))), (what, done)
    anyio.run(look, path, len(done.acknowledged), what)


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    path = tmp_path_factory.mktemp("whole") / "home"
    done = run(strace, path, None)
    assert done.closed, done
    assert done.acknowledged == list(range(WRITES))
    check(path, done, "nothing")
    return done.calls


@pytest.mark.holds("C11", "S17")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS if FULL else CALLS_OF_A_COMMIT)
def test_whatever_call_of_a_write_fails_nothing_acknowledged_is_lost(
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


@pytest.mark.holds("C11")
def test_killed_between_saving_and_showing_the_write_is_there(tmp_path: Path) -> None:
    path = tmp_path / "home"
    command = [sys.executable, "-m", "tests.state.documenter", str(path), "die"]
    done = subprocess.run(command, input=b"go\n", capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done
    assert done.stdout == b"ready\n"

    async def find() -> None:
        async with opened(path) as documents:
            cart = await documents.open(NAME)
            assert cart.get("/n") == 1

    anyio.run(find)
    anyio.run(look, path, 1, "killed")
