"""Every system call of a document's write fails, by EIO and by ENOSPC, or the process dies in it.

Whatever fails: no write that was acknowledged is lost, none is half there, memory is as the disk,
and the document opens and goes on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from tests.faults import CALLS_OF_A_HOME, FAULTS, Run, Trial
from tests.state.documenter import NAME, WRITES, opened, step

pytestmark = pytest.mark.faults

CALLS_OF_A_COMMIT = ["pwrite64", "fdatasync"]
TIMES_MAX = 60


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
    assert done.acknowledged == list(range(len(done.acknowledged))), (what, done)
    anyio.run(look, path, len(done.acknowledged), what)


TRIAL = Trial(
    "tests.state.documenter", "home", CALLS_OF_A_HOME, CALLS_OF_A_COMMIT, check, TIMES_MAX
)


@pytest.fixture(scope="module")
def calls(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    return TRIAL.whole(strace, tmp_path_factory.mktemp("whole"), range(WRITES))


@pytest.mark.holds("C11", "S17")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TRIAL.names)
def test_whatever_call_of_a_write_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, strace: str, calls: Counter[str], name: str, fault: str
) -> None:
    TRIAL.fail_each(strace, tmp_path, name, fault, calls[name])


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
