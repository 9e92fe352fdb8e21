"""What a document takes in memory and on the wire, in a process of its own for each figure.

python -m benches.bench_crdt_memory [--sizes N ...] [--only qflow loro ...]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benches import measure
from benches.bench_crdt import elements, increments, own_keys, written
from benches.rivals import crdt

SIZES = (10_000, 100_000, 1_000_000)
REPLICAS = 10
LOADS = {"map": own_keys, "counter": increments, "list": elements}
PARTS = {"map": "m", "counter": "n", "list": "l"}


def resident() -> int:
    """Bytes, after everything that is free went back to the machine."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make(name: str, load: str, count: int, path: Path) -> None:
    """The updates of ten replicas, one behind the other, each with its length before it."""
    updates = written(crdt.library(name), REPLICAS, LOADS[load](count // REPLICAS))
    path.write_bytes(b"".join(len(update).to_bytes(8, "big") + update for update in updates))


def updates_in(path: Path) -> list[bytes]:
    found = []
    with path.open("rb") as file:
        while head := file.read(8):
            found.append(file.read(int.from_bytes(head, "big")))
    return found


def hold(name: str, load: str, path: Path) -> None:
    """Print what memory grows by when a replica imports all, and again when it is read."""
    library = crdt.library(name)
    # A small one first: code, tables and threads that any document needs are no part of it.
    small = library.create(1)
    LOADS[load](10)(small, 1)
    library.create(2).take_batch([small.written()])
    del small
    before = resident()
    document = library.create(1 << 20)
    updates = updates_in(path)
    document.take_batch(updates)
    del updates
    held = resident() - before
    document.read(PARTS[load])
    print(held, resident() - before)


def figures(name: str, load: str, count: int) -> list[float] | None:
    """Bytes an operation: held, and held after everything was read once."""
    library = crdt.library(name)
    if load == "counter" and count > library.INCREMENTS_MAX:
        return None
    with tempfile.TemporaryDirectory(prefix="qflow-bench-") as folder:
        path = Path(folder) / "updates"
        program = [sys.executable, "-m", "benches.bench_crdt_memory", "--one"]
        subprocess.run([*program, "make", name, load, str(count), str(path)], check=True)
        command = [*program, "hold", name, load, str(count), str(path)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(word) / count for word in told.split()]


def judge(row: str, found: dict[str, list[float]]) -> None:
    own = found.get(crdt.SIGNED)
    rivals = {name: each[0] for name, each in found.items() if name != crdt.SIGNED}
    if row.startswith("counter"):
        rivals = {name: each for name, each in rivals.items() if crdt.library(name).COUNTS}
    if own is None or not rivals:
        return
    name = min(rivals, key=lambda rival: rivals[rival])
    least = rivals[name]
    measure.judge(f"{row} below {name} with {least:.1f}", own[0] < least, f"{own[0]:.1f} bytes")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--only", nargs="+", choices=crdt.NAMES, default=list(crdt.NAMES))
    options = parser.parse_args(arguments)
    print(measure.machine())
    print(f"memory of {REPLICAS} replicas' operations in an eleventh: bytes an operation")
    print(f"  {'':28} {'imported':>10} {'and read':>10}")
    for load in options.loads:
        for count in options.sizes:
            found: dict[str, list[float]] = {}
            for name in options.only:
                each = figures(name, load, count)
                if each is None:
                    print(f"  {load} {count:>9,} {name:12} takes minutes")
                    continue
                found[name] = each
                print(f"  {load:7} {count:>9,} {name:10} {each[0]:10.1f} {each[1]:10.1f}")
            judge(f"{load} {count:,}", found)


def one(step: str, name: str, load: str, count: str, path: str) -> None:
    if step == "make":
        make(name, load, int(count), Path(path))
    else:
        hold(name, load, Path(path))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main(sys.argv[1:])
