"""The log beside SQLite, interleaved in one run: appends by group size, then verification.

    python benches/bench_log.py [--records N] [--path DIR] [--rounds R]

Figures are records a second: minimum, median, maximum of the rounds. `--records 10000000` adds the
line of verification from a tenth of that on, and the memory that it took.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from qflow import _core

ORIGIN = "bench.example/log"
SEED = bytes(32)
GROUPS = (1, 10, 100, 1000)
FLYING_MAX = 256
RECORD_BYTES = 300


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def spread(figures: list[float], unit: str = "") -> str:
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{low:12,.0f} {middle:12,.0f} {high:12,.0f} {unit}"


def fsync_us(folder: Path, count: int = 50) -> list[float]:
    """What one 4 KiB write with fdatasync into an area that was written before costs."""
    file = folder / "fsync"
    with file.open("wb", buffering=0) as handle:
        handle.write(bytes(4096 * count))
        os.fsync(handle.fileno())
        block = b"x" * 4096

        def commit(at: int) -> None:
            os.pwrite(handle.fileno(), block, at * 4096)
            os.fdatasync(handle.fileno())

        took = [seconds(partial(commit, at)) * 1e6 for at in range(count)]
    file.unlink()
    return took


class Ours:
    """One durable append a group."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.log = _core.Log(str(folder), origin=ORIGIN, seed=SEED)

    def append(self, group: list[bytes]) -> None:
        self.log.append_durable(group)

    def close(self) -> None:
        self.log.close()


class Sqlite:
    """One transaction a group: WAL, synchronous=FULL."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.db = sqlite3.connect(folder / "log.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB)")

    def append(self, group: list[bytes]) -> None:
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO log (data) VALUES (?)", ((data,) for data in group))
        self.db.execute("COMMIT")

    def close(self) -> None:
        self.db.close()


def append_often(one: Ours | Sqlite, records: list[bytes], times: int) -> None:
    for _ in range(times):
        one.append(records)


def bench_appends(folder: Path, rounds: int) -> None:
    both: dict[str, Ours | Sqlite] = {
        "qflow": Ours(folder / "ours"),
        "sqlite": Sqlite(folder / "sqlite"),
    }
    print(f"appends of {RECORD_BYTES}-byte records, durable, one caller: records/s")
    for group in GROUPS:
        records = [os.urandom(RECORD_BYTES) for _ in range(group)]
        times = max(400 // group, 40)
        figures: dict[str, list[float]] = {name: [] for name in both}
        costs: list[float] = []
        for _ in range(rounds):
            costs += fsync_us(folder)
            for name, one in both.items():
                took = seconds(partial(append_often, one, records, times))
                figures[name].append(group * times / took)
        for name, found in figures.items():
            print(f"  group {group:5} {name:8} {spread(found)}")
        paired = [a / b for a, b in zip(figures["qflow"], figures["sqlite"], strict=True)]
        middle = statistics.median(costs)
        print(f"  group {group:5} ratio    {statistics.median(paired):.2f} (fsync {middle:.0f} us)")
    for one in both.values():
        one.close()


def append_queued(log: _core.Log, group: list[bytes], times: int) -> None:
    """Many appends in flight, as the engine has them: each is atomic, and durable when drained."""
    left, flying = times, 0
    while left or flying:
        while left and flying < FLYING_MAX:
            log.append(group)
            left, flying = left - 1, flying + 1
        select.select([log.fileno()], [], [])
        flying -= len(log.drain(FLYING_MAX))


def append_by_threads(ours: Ours, record: bytes, count: int, times: int) -> None:
    work = partial(append_often, ours, [record], times // count)
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bench_concurrent(folder: Path, rounds: int) -> None:
    print(f"durable appends, up to {FLYING_MAX} in flight: records/s")
    ours = Ours(folder / "concurrent")
    for group in GROUPS:
        records = [os.urandom(RECORD_BYTES) for _ in range(group)]
        times = 200_000 // group if group > 1 else 40_000
        took = [seconds(partial(append_queued, ours.log, records, times)) for _ in range(rounds)]
        print(f"  group {group:5} qflow    {spread([group * times / one for one in took])}")
    print("durable appends of one record by threads that wait: records/s")
    for count in (4, 16, 64):
        work = partial(append_by_threads, ours, os.urandom(RECORD_BYTES), count, 4096)
        figures = [4096 / seconds(work) for _ in range(rounds)]
        print(f"  {count:3} threads  qflow    {spread(figures)}")
    ours.close()


def chained(count: int) -> Iterator[list[bytes]]:
    """Real records in groups of 1,000: 1,000 chains, each of which gets one in each group."""
    pad = {"frame": "x" * 66}
    prevs = [bytes(32)] * 1000
    for seq in range(count // 1000):
        group = []
        for number in range(1000):
            made, _, prevs[number] = _core.encode_records(
                number.to_bytes(16, "big"), seq, prevs[number], "bench/flow/1.0.0",
                1_750_000_000_000 + seq, "local", "node", "local", 0,
                [("q.qflow.exec.step_completed.v1", "/do/0/step", 1, None, pad)],
            )  # fmt: skip
            group += made
        yield group


def bench_verify(folder: Path, records: int, rounds: int) -> None:
    """Memory is that of a process of its own, so that what made the log does not count."""
    print("verification of records in groups of 1,000: records/s")
    path = folder / "verify"
    path.mkdir()
    log = _core.Log(str(path), origin=ORIGIN, seed=SEED)
    marks = [records // 10 * n for n in (1, 5, 10)] if records >= 1_000_000 else [records]
    size = 0
    for group in chained(records):
        log.append_durable(group)
        size += len(group)
        if size in marks:
            log.publish()
            length = len(group[0])
            print(f"  {size:9,} of {length} bytes {verify_apart(path, log.vkey, size, rounds)}")
    log.close()
    opening = [seconds(lambda: reopen(path)) * 1e3 for _ in range(rounds)]
    print(f"  opening {size:,} records: {spread(opening, 'ms')}")


def reopen(path: Path) -> None:
    _core.Log(str(path), origin=ORIGIN, seed=SEED).close()


def verify_apart(path: Path, vkey: str, size: int, rounds: int) -> str:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        begun = resource.getrusage(resource.RUSAGE_SELF)
        figures = []
        for _ in range(rounds):
            found: dict[str, object] = {}
            took = seconds(lambda: found.update(_core.verify_log(str(path), vkey)))  # noqa: B023
            assert (found["size"], found["findings"]) == (size, []), found
            figures.append(size / took)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime
        peak = high_water_mib()
        text = f"{spread(figures)}; cpu {size * rounds / cpu:,.0f}/s, peak {peak:.0f} MiB"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def high_water_mib() -> float:
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, default=None, help="a folder on the disk to measure")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-log-", dir=options.path))
    try:
        print(f"fsync of 4 KiB: {spread(fsync_us(folder), 'us')}")
        bench_appends(folder, options.rounds)
        bench_concurrent(folder, options.rounds)
        bench_verify(folder, options.records, options.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
