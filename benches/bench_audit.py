"""Qflow's log beside witness-log, pymerkle and a hash chain in SQLite, in turn, in one run.

    python -m benches.bench_audit [--records N] [--rounds R] [--path DIR] [--witnesses N]

Each log is a process of its own. Rounds alternate; while one works, the others wait for their next
request. Figures are minimum, median and maximum of the rounds. With witnesses, Qflow is there a
second time, cosigned over HTTP by so many witnesses in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benches import measure, rivals

GROUPS = (1, 10, 100, 1000)
PROOFS = 20
Figures = dict[str, list[float]]


class Process:
    """A rival in a process of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        folder.mkdir()
        command = [sys.executable, "-m", "benches.rivals", name, str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended while it was asked to {method}")
        return json.loads(answer)

    def verify(self) -> tuple[int, float, float]:
        """Records, seconds, and MiB at the most, in a process that never wrote."""
        command = [sys.executable, "-m", "benches.rivals", self.name, str(self.folder), "verify"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        size, took, peak = json.loads(done.stdout)
        return size, took, peak

    def close(self) -> None:
        if self._process.poll() is None:
            self.ask("close")
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def empty(logs: list[Process]) -> Figures:
    return {log.name: [] for log in logs}


def ratios(figures: Figures, more_is_better: bool = True) -> str:
    """Qflow against each, round by round; the median of those."""
    ours, said = figures["qflow"], []
    for name, theirs in figures.items():
        if name != "qflow":
            pairs = zip(ours, theirs, strict=True)
            each = [a / b if more_is_better else b / a for a, b in pairs]
            said.append(f"{measure.median(each):,.2f} of {name}")
    return "  qflow's speed, round by round: " + ", ".join(said)


def bench_appends(logs: list[Process], rounds: int, folder: Path) -> None:
    for group in GROUPS:
        figures, fsyncs = empty(logs), []
        for _ in range(rounds):
            fsyncs += measure.fsync_ms(folder)
            for log in logs:
                figures[log.name].append(log.ask("append", group, max(200 // group, 10)))
        fsync = measure.median(fsyncs) * 1000
        title = f"durable appends in groups of {group}: records/s (an fsync: {fsync:.0f} us)"
        measure.table(title, figures, digits=0)
        print(ratios(figures))


def bench_growth(logs: list[Process], count: int) -> None:
    figures = {log.name: [log.ask("grow", count)] for log in logs}
    measure.table(f"memory of the writer after {count:,} records more: MiB", figures, digits=1)
    measure.table("making what an outsider reads: s", {o.name: [o.ask("publish")] for o in logs})


def bench_verification(logs: list[Process], rounds: int) -> None:
    speed, memory = empty(logs), empty(logs)
    for _ in range(rounds):
        for log in logs:
            size, took, peak = log.verify()
            speed[log.name].append(size / took)
            memory[log.name].append(peak)
    measure.table("verification of all, from files: records/s", speed, digits=0)
    print(ratios(speed))
    measure.table("memory that verification took, at the most: MiB", memory, digits=1)


def bench_proofs(logs: list[Process], count: int) -> None:
    made, checked, sizes = empty(logs), empty(logs), empty(logs)
    indices = [count * n // PROOFS + n for n in range(PROOFS)]
    for log in logs:
        for make_s, check_s, size in log.ask("prove", indices):
            made[log.name].append(make_s * 1e6)
            checked[log.name].append(check_s * 1e6)
            sizes[log.name].append(size)
    measure.table("a proof that stands alone, to make: us", made, digits=0)
    print(ratios(made, more_is_better=False))
    measure.table("to check: us", checked, digits=0)
    print(ratios(checked, more_is_better=False))
    measure.table("its bytes", sizes, digits=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, default=None, help="a folder on the disk to measure")
    parser.add_argument("--witnesses", type=int, default=0, help="processes that cosign")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-audit-", dir=options.path))
    names, witnesses = list(rivals.NAMES), None
    if options.witnesses:
        from benches.rivals.witnessed import Witnesses

        witnesses = Witnesses(folder, options.witnesses)
        names.insert(1, rivals.WITNESSED)
    logs = [Process(name, folder / name) for name in names]
    try:
        for log in logs:
            print(f"{log.name}: {log.ask('promises')}")
        bench_appends(logs, options.rounds, folder)
        bench_growth(logs, options.records)
        bench_verification(logs, options.rounds)
        bench_proofs(logs, options.records)
    finally:
        for log in logs:
            log.close()
        if witnesses is not None:
            witnesses.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
