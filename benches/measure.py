"""What all measurements share: figures side by side, targets, and the cost of an fsync here."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

FSYNCS = 30


def median(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def table(title: str, rows: Mapping[str, Sequence[float]], *, digits: int = 2) -> None:
    """Minimum, median and maximum of each row, and how many figures it has."""
    width = max(24, *(len(name) for name in rows))
    print(f"\n{title}")
    print(f"  {'':{width}} {'min':>11} {'median':>11} {'max':>11} {'count':>7}")
    for name, figures in rows.items():
        low, middle, high = min(figures), median(figures), max(figures)
        cells = " ".join(f"{value:11,.{digits}f}" for value in (low, middle, high))
        print(f"  {name:{width}} {cells} {len(figures):7}")


def judge(target: str, holds: bool | None, found: str) -> None:
    """One target. None: its condition is not met on this machine, so it says nothing."""
    word = {True: "PASS", False: "MISS", None: "----"}[holds]
    print(f"  {word}  {target}: {found}", flush=True)


def fsync_ms(folder: Path) -> list[float]:
    """What one 4 KiB write with fdatasync costs, into an area that was written before."""
    path = folder / "fsync"
    block = b"x" * 4096
    took = []
    with path.open("wb", buffering=0) as file:
        file.write(bytes(len(block) * FSYNCS))
        os.fsync(file.fileno())
        for number in range(FSYNCS):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), block, number * len(block))
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    path.unlink()
    return took


def machine() -> str:
    load = os.getloadavg()[0]
    version = platform.python_version()
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {version}, {platform.release()}"
