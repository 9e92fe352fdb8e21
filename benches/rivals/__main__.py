"""One log in a process of its own, which works only when it is told to, so that rivals take turns.

`python -m benches.rivals NAME FOLDER` reads requests, a JSON list a line, and answers each with
one line of JSON. `python -m benches.rivals NAME FOLDER verify` verifies and tells what that took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benches import rivals
from benches.bench_log import chained, high_water_mib

RECORDS = 100_000_000
"""More than any run takes."""


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmRSS:") + 1]) / 1024


class Worker:
    """A log, and the records that go into it next."""

    def __init__(self, name: str, folder: Path) -> None:
        self.log = rivals.create(name, folder)
        self.records: Iterator[bytes] = (one for group in chained(RECORDS) for one in group)

    def promises(self) -> str:
        return self.log.promises

    def append(self, group: int, times: int) -> float:
        """Records a second. They are made before the clock runs."""
        groups = [[next(self.records) for _ in range(group)] for _ in range(times)]
        begun = time.perf_counter()
        for records in groups:
            self.log.append(records)
        return group * times / (time.perf_counter() - begun)

    def grow(self, count: int) -> float:
        """Append `count` records in groups of 1,000; gives what memory grew by, in MiB."""
        before = resident_mib()
        for _ in range(count // 1000):
            self.log.append([next(self.records) for _ in range(1000)])
        return resident_mib() - before

    def publish(self) -> float:
        begun = time.perf_counter()
        self.log.publish()
        return time.perf_counter() - begun

    def prove(self, indices: list[int]) -> list[list[float]]:
        """Seconds to make and to check each proof, and its bytes."""
        figures = []
        for index in indices:
            begun = time.perf_counter()
            proof = self.log.prove(index)
            made = time.perf_counter()
            size = self.log.check(proof)
            figures.append([made - begun, time.perf_counter() - made, size])
        return figures

    def close(self) -> None:
        self.log.close()


def verify(name: str, folder: Path) -> None:
    before, begun = resident_mib(), time.perf_counter()
    size = rivals.verify(name, folder)
    took = time.perf_counter() - begun
    print(json.dumps([size, took, high_water_mib() - before]))


def main(name: str, folder: Path) -> None:
    worker = Worker(name, folder)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        answer: Any = getattr(worker, method)(*arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[3:] == ["verify"]:
        verify(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1], Path(sys.argv[2]))
