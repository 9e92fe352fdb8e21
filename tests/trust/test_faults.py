"""Every system call of adopting and rotating fails, with EIO and ENOSPC, or the process dies in it.

Whatever fails: no key is lost, none that was adopted is forgotten, and the next process finishes.
"""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests import faults
from tests.faults import FAULTS, FULL, Run, times
from tests.trust.rings import Party, chain_of, mark
from tests.trust.rotator import ADOPTED, ROTATIONS

pytestmark = pytest.mark.faults

CALLS = [
    *("pwrite64", "fsync", "pread64", "write", "read", "openat", "close", "link", "linkat"),
    *("rename", "renameat2", "unlink", "lseek", "ftruncate", "dup"),
]
CALLS_OF_A_ROTATION = ["pwrite64", "fsync", "rename"]
OWN = 5


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, bytes]]:
    folder = tmp_path_factory.mktemp("template")
    us, them = Party(folder / "us"), Party(folder / "them", "them")
    us.trust(them)
    known = {key.number: mark(key) for key in (us.ring.take() for _ in range(OWN))}
    us.ring.close()
    return folder, known


def run(strace: str, path: Path, inject: str | None) -> Run:
    return faults.run(strace, "tests.trust.rotator", path, CALLS, inject)


def check(path: Path, known: dict[int, bytes], done: Run, what: str) -> None:
    assert done.status in (0, 1, -signal.SIGKILL), (what, done)
    assert done.closed or done.status != 0, (what, done)
    assert done.acknowledged == list(range(len(done.acknowledged))), (what, done)
    us, them = Party(path / "us"), Party(path / "them", "them")
    us.ring.hold()
    for number, found in known.items():
        assert mark(us.ring.key(number)) == found, what
    rotated = max(0, len(done.acknowledged) - ADOPTED)
    # One more may have reached the disk although it was never acknowledged.
    assert 0 <= us.ring.subnet.epoch - rotated <= 1, (what, done)
    adopted = us.ring.count_adopted()
    assert adopted >= min(len(done.acknowledged), ADOPTED), (what, done)
    for number in range(adopted):
        key = them.begin(chain_of(number))
        us.trust(them)
        us.adopt(them.envelope(chain_of(100 + number), key.number))
    us.ring.rotate(forget=True)
    for number, found in known.items():
        assert mark(us.ring.key(number)) == found, what
    # What dies while it makes an empty file may leave that; nothing with a key in it is left.
    left = [file for file in us.home.iterdir() if file.name.startswith(".")]
    assert all(file.read_bytes()[76:] == bytes(len(file.read_bytes()[76:])) for file in left), what


@pytest.fixture(scope="module")
def calls(
    strace: str, template: tuple[Path, dict[int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    path = tmp_path_factory.mktemp("whole") / "home"
    shutil.copytree(template[0], path)
    whole = run(strace, path, None)
    assert whole.closed, whole
    assert whole.acknowledged == list(range(ADOPTED + ROTATIONS))
    return whole.calls


@pytest.mark.holds("S16")
@pytest.mark.holds("S17")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS if FULL else CALLS_OF_A_ROTATION)
def test_whatever_call_fails_no_key_is_lost(
    tmp_path: Path,
    strace: str,
    template: tuple[Path, dict[int, bytes]],
    calls: Counter[str],
    name: str,
    fault: str,
) -> None:
    failed = 0
    for when in times(calls[name]) if calls[name] else []:
        what = f"{name}:{fault}:when={when}"
        path = tmp_path / str(when)
        shutil.copytree(template[0], path)
        done = run(strace, path, what)
        failed += not done.closed
        check(path, template[1], done, what)
        shutil.rmtree(path)
    if FULL:
        print(f"{name}, {fault}: {calls[name]} calls, {failed} ended it")  # noqa: T201 - the count
