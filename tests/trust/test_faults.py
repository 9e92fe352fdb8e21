"""Every system call of adopting and rotating fails, with EIO and ENOSPC, or the process dies in it.

Whatever fails: no key is lost, none that was adopted is forgotten, and the next process finishes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.faults import FAULTS, FULL, Run, Trial
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


def check(known: dict[int, bytes], path: Path, done: Run, what: str) -> None:
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
def trial(template: tuple[Path, dict[int, bytes]]) -> Trial:
    folder, known = template
    return Trial(
        "tests.trust.rotator",
        "home",
        CALLS,
        CALLS_OF_A_ROTATION,
        partial(check, known),
        prepare=partial(shutil.copytree, folder),
    )


@pytest.fixture(scope="module")
def calls(strace: str, trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a thread makes each call when nothing fails."""
    return trial.whole(strace, tmp_path_factory.mktemp("whole"), range(ADOPTED + ROTATIONS))


@pytest.mark.holds("S16")
@pytest.mark.holds("S17")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS if FULL else CALLS_OF_A_ROTATION)
def test_whatever_call_fails_no_key_is_lost(
    tmp_path: Path, strace: str, trial: Trial, calls: Counter[str], name: str, fault: str
) -> None:
    trial.fail_each(strace, tmp_path, name, fault, calls[name])
