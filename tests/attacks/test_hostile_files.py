"""Files that are no files: an auditor who looks at a stranger's folder is neither hung nor flooded.

The verifier runs in a process of its own, with a bound on its memory and its time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import honest

TIMEOUT_S = 20
MEMORY_BYTES = 2 << 30
VERIFY = """
import sys
from qflow.audit import verify
report = verify(sys.argv[1], sys.argv[2])
sys.exit(3 if report.findings else 0)
"""
# What `journal/0000000009` stands for: a segment that would be one too many.
PLACES = [
    *("checkpoint", "witnessed", "lock", "journal/0000000001", "journal/0000000009"),
    *("journal/0000000007.new", "pruned", "tile/0/000", "tile/entries/000", "tile/0/009"),
]


def pipe(file: Path) -> None:
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


def giant(file: Path) -> None:
    """A file of a tebibyte that takes no room."""
    file.touch()
    os.truncate(file, 1 << 40)


def folder(file: Path) -> None:
    file.mkdir()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> honest.Honest:
    return honest.make(1, tmp_path_factory.mktemp("honest"))


def bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


@pytest.mark.holds("H18")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("put", [pipe, endless, giant, folder])
def test_what_is_no_file_of_a_log_is_a_finding_in_bounded_time_and_memory(
    log: honest.Honest, tmp_path: Path, place: str, put: Callable[[Path], None]
) -> None:
    path = log.copy(log.closed, tmp_path)
    (path / place).unlink(missing_ok=True)
    put(path / place)
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(path), log.vkey],
        preexec_fn=bounded,
        timeout=TIMEOUT_S,
        capture_output=True,
        check=False,
    )
    # A folder without files in it says nothing.
    harmless = (put, place) == (folder, "tile/0/009")
    assert done.returncode == (0 if harmless else 3), done
