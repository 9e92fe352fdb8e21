"""Executions that wait: what each costs in memory, and how long a node with them takes to start.

python -m benches.bench_waiting [--count N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benches import measure, waiting

ROOT = Path(__file__).resolve().parent.parent
EACH_KIB_MAX = 10.0
READY_S_MAX = 2.0


def child(*arguments: str) -> tuple[dict[str, Any], float]:
    """The answer of a process of its own, and the seconds until its first line."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "benches.waiting", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        took = time.perf_counter() - begun
        lines = [first, *process.stdout]
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer, took


def bench(kind: str, folder: Path, count: int, rounds: int) -> None:
    home, empty = str(folder / kind), str(folder / "empty")
    filled, _ = child("fill", home, kind, str(count))
    base = measure.median([child("open", empty)[0]["bytes"] for _ in range(rounds)])
    whole, inside, each = [], [], []
    for _ in range(rounds):
        found, took = child("open", home)
        assert found["waiting"] >= count, found
        whole.append(took)
        inside.append(found["ready_s"])
        each.append((found["bytes"] - base) / count / 1024)
    memory = {"started here": [filled["each_bytes"] / 1024], "after a restart": each}
    measure.table(f"{count:,} executions in `{kind}`: KiB each", memory)
    most = max(measure.median(figures) for figures in memory.values())
    measure.judge(f"under {EACH_KIB_MAX:.0f} KiB each", most < EACH_KIB_MAX, f"{most:.2f} KiB")
    measure.table(
        f"a node with them: seconds until it is ready (starting them took {filled['seconds']:.1f})",
        {"from the process's start": whole, "from entering Node": inside},
    )
    ready = measure.median(whole)
    measure.judge(f"ready in under {READY_S_MAX:.0f} s", ready < READY_S_MAX, f"{ready:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, default=None, help="a folder on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qflow-bench-", dir=options.path) as folder:
        for kind in waiting.FLOWS:
            bench(kind, Path(folder), options.count, options.rounds)


if __name__ == "__main__":
    main()
