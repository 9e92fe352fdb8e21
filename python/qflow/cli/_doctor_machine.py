"""The doctor's checks of the machine and of what is installed."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from qflow.cli._finding import FAIL, GOOD, WARN, Finding
from qflow.cli._home import DISTRIBUTION, installed
from qflow.cli._input import all_functions
from qflow.cli._output import moment, plural, size
from qflow.clock import SystemClock

if TYPE_CHECKING:
    from qflow.cli._session import Session

FREE_BYTES_MIN: Final = 256 << 20
"""Less, and the log may not be able to lay out its next file."""
FREE_BYTES_GOOD: Final = 2 << 30
FSYNC_SAMPLES: Final = 32
FSYNC_SLOW_MS: Final = 20.0
FSYNC_FALSE_MS: Final = 0.015
"""Nothing that keeps data answers faster: it is memory, or a disk that does not wait."""
NOT_BEFORE_MS: Final = 1_735_689_600_000
"""2025-01-01: a clock that is earlier has never been set."""
CLOCK_AHEAD_MS_MAX: Final = 5 * 60_000


def versions(_session: Session, _: list[Path]) -> Finding:
    """Python and every dependency are there."""
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        required = []
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in required if "extra ==" not in line]
    missing = [name for name in names if installed(name) == "not installed"]
    python = ".".join(map(str, sys.version_info[:3]))
    if missing:
        fix = f"pip install {' '.join(missing)}"
        return Finding("versions", FAIL, f"missing: {', '.join(missing)}", fix)
    found = f"qflow {installed(DISTRIBUTION)}, Python {python}"
    return Finding("versions", GOOD, f"{found}, {len(names)} dependencies")


def disk(session: Session, _: list[Path]) -> Finding:
    """There is room for the log to grow."""
    usage = shutil.disk_usage(_existing(session.home))
    found = f"{size(usage.free)} of {size(usage.total)} free"
    if usage.free < FREE_BYTES_MIN:
        return Finding("disk", FAIL, found, f"free at least {size(FREE_BYTES_MIN)}")
    if usage.free < FREE_BYTES_GOOD:
        return Finding("disk", WARN, found, "free some space before the log needs it")
    return Finding("disk", GOOD, found)


def fsync(session: Session, _: list[Path]) -> Finding:
    """What one durable commit costs on this disk, measured."""
    with tempfile.TemporaryFile(dir=_existing(session.home)) as file:
        os.posix_fallocate(file.fileno(), 0, FSYNC_SAMPLES * 4096)
        os.fsync(file.fileno())
        spent = [_one_fsync(file.fileno(), number) for number in range(FSYNC_SAMPLES)]
    typical = median(spent)
    found = f"median {typical:.2f} ms, worst {max(spent):.2f} ms of {FSYNC_SAMPLES}"
    if typical > FSYNC_SLOW_MS:
        return Finding("fsync", WARN, found, "each step waits for one: a faster disk helps most")
    if typical < FSYNC_FALSE_MS:
        fix = "nothing real is so fast: data may be lost when the power fails"
        return Finding("fsync", WARN, found, fix)
    return Finding("fsync", GOOD, found)


def _one_fsync(descriptor: int, number: int) -> float:
    began = perf_counter_ns()
    os.pwrite(descriptor, b"\xa5" * 4096, number * 4096)
    os.fdatasync(descriptor)
    return (perf_counter_ns() - began) / 1e6


def clock(session: Session, _: list[Path]) -> Finding:
    """The clock was set, and has not gone back behind the newest record."""
    now = SystemClock().now_ms()
    if now < NOT_BEFORE_MS:
        return Finding("clock", FAIL, f"it says {moment(now)}", "set the clock")
    newest = _newest_ms(session)
    if newest is not None and newest > now + CLOCK_AHEAD_MS_MAX:
        found = f"it says {moment(now)}, the newest execution {moment(newest)}"
        return Finding("clock", WARN, found, "set the clock; time in chains never goes back")
    return Finding("clock", GOOD, moment(now))


def _newest_ms(session: Session) -> int | None:
    from qflow.audit import Index

    path = session.home / "index.db"
    if not path.exists():
        return None
    index = Index(path, read_only=True)
    try:
        newest = index.executions(limit=1)
    finally:
        index.close()
    return newest[0].updated_at if newest else None


def functions(session: Session, files: list[Path]) -> Finding:
    """Everything that flows may call can be loaded."""
    return Finding(
        "functions", GOOD, plural(len(all_functions(session, files).names()), "function")
    )


def loss(_session: Session, _: list[Path]) -> Finding:
    """Which loss this installation survives."""
    found = "one node commits alone: it survives the loss of its process, not of its disk"
    return Finding("loss", GOOD, found)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
