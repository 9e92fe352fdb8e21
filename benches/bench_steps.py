"""Durable steps beside DBOS: a flow of three steps that do nothing, one caller and sixteen.

    python -m benches.bench_steps [--rounds N] [--seconds S]

Each system runs in a process of its own; rounds alternate, and a process is stopped (SIGSTOP) while
it is not its turn, so that nothing of one system runs in a round of another.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from benches import measure, postgres

ROOT = Path(__file__).resolve().parent.parent
STEPS = 3
CALLERS = 16
OURS = "Qflow"
RIVALS = {"dbos": "async", "dbos-threads": "threads"}
LATENCY_SHARE_MAX = 0.5
RATE_TIMES_MIN = 5.0
RATE_MIN = 2000.0
FSYNC_MS_MAX = 1.0


class System:
    """One system, stopped except in its own rounds."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self._process = name, process
        self.ms: list[list[float]] = []
        """The time of each flow, by round."""
        self.rates: list[float] = []
        """Steps per second of each round."""

    def hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        return line

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def round(self, callers: int, seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps({"callers": callers, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.hear())
        self.stop()
        return answer


@contextmanager
def system(name: str, kind: str, folder: Path, *more: str) -> Iterator[System]:
    folder.mkdir()
    command = [sys.executable, "-m", "benches.worker", kind, str(folder), *more]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            made = System(name, process)
            assert made.hear() == "ready\n"
            made.stop()
            yield made
        finally:
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def judged(systems: list[System], fsync: list[float]) -> None:
    """Targets are held against the median of the rounds' ratios: those of one round are of the
    same moment of the machine."""
    ours, *rivals = systems
    measure.table(
        f"one caller: milliseconds for a flow of {STEPS} steps",
        {each.name: [ms for found in each.ms for ms in found] for each in systems},
    )
    for rival in rivals:
        rounds = zip(ours.ms, rival.ms, strict=True)
        share = measure.median([measure.median(a) / measure.median(b) for a, b in rounds])
        measure.judge(
            f"median at most half of {rival.name}",
            share <= LATENCY_SHARE_MAX,
            f"{share:.2f} of it",
        )
    measure.table(
        f"{CALLERS} callers: steps per second",
        {each.name: each.rates for each in systems},
        digits=0,
    )
    for rival in rivals:
        both = zip(ours.rates, rival.rates, strict=True)
        times = measure.median([mine / its for mine, its in both])
        measure.judge(
            f"at least {RATE_TIMES_MIN:.0f} times {rival.name}",
            times >= RATE_TIMES_MIN,
            f"{times:.1f} times",
        )
    measure.table("fsync: milliseconds for 4 KiB, between the rounds", {"fdatasync": fsync})
    rate, cost = measure.median(ours.rates), measure.median(fsync)
    measure.judge(
        f"at least {RATE_MIN:,.0f} steps/s when an fsync takes at most {FSYNC_MS_MAX:.0f} ms",
        rate >= RATE_MIN if cost <= FSYNC_MS_MAX else None,
        f"{rate:,.0f} at {cost:.2f} ms",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each round")
    parser.add_argument("--path", type=Path, default=None, help="a folder on the disk to measure")
    options = parser.parse_args()
    fsync: list[float] = []
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="qflow-bench-", dir=options.path)
        folder = Path(stack.enter_context(made))
        url = stack.enter_context(postgres.cluster(options.path))
        databases: dict[str, tuple[str, ...]] = {"SQLite": ()}
        if url is not None:
            databases["PostgreSQL"] = (url,)
        else:
            print(f"no {postgres.BINARIES}/*/bin/initdb: DBOS with PostgreSQL is not measured")
        systems = [stack.enter_context(system(OURS, "qflow", folder / "qflow"))]
        for database, (kind, way) in product(databases, RIVALS.items()):
            name = f"DBOS {way}, {database}"
            made_in = folder / f"{kind}-{database}"
            rival = system(name, kind, made_in, *databases[database])
            systems.append(stack.enter_context(rival))
        for _ in range(options.rounds):
            for each in systems:
                each.ms.append(each.round(1, options.seconds)["ms"])
            fsync += measure.fsync_ms(folder)
            for each in systems:
                found = each.round(CALLERS, options.seconds)
                each.rates.append(found["flows"] * STEPS / found["seconds"])
    judged(systems, fsync)


if __name__ == "__main__":
    main()
