"""SIGKILL at random moments under load, then resume: nothing lost, nothing committed twice.

    make kill-test N=200

One home lives through all kills. Each life starts executions from 16 callers until SIGKILL comes,
between 1 and 600 ms behind its first word; meanwhile it makes checkpoints, and a life begins from
those of the lives before. The last life finishes everything; then every chain is held against what
was acknowledged and what was called, and every checkpoint against its chain.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from qflow import audit
from qflow.config import Config
from qflow.node import Node

HERE = Path(__file__).resolve().parent
COMPLETED = "q.qflow.exec.step_completed.v1"
READY_S_MAX = 60.0


class Ground:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.acknowledged, self.calls = folder / "acknowledged", folder / "calls"
        self.begun = folder / "begun"
        for file in (self.acknowledged, self.calls, self.begun):
            file.touch()

    def live(self, finish: bool) -> subprocess.Popen[str]:
        words = [self.home, self.acknowledged, self.calls, self.begun, "yes" if finish else "no"]
        process = subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        # Lines before it tell of checkpoints that a kill came before, and of nothing else.
        if not any(line == "ready\n" for line in process.stdout):
            process.kill()
            raise SystemExit(f"the node did not come up:\n{process.stderr.read()}")
        return process

    def kill_after(self, delay_s: float) -> float:
        """One life; returns how long it took to be ready, in seconds."""
        began = time.monotonic()
        process = self.live(finish=False)
        ready_s = time.monotonic() - began
        try:
            process.wait(timeout=delay_s)
            assert process.stderr is not None
            raise SystemExit(f"the node died by itself:\n{process.stderr.read()}")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return ready_s

    def finish(self) -> None:
        process = self.live(finish=True)
        _, words = process.communicate(timeout=600)
        if process.returncode != 0:
            raise SystemExit(f"the last life ended with {process.returncode}:\n{words}")


async def account(ground: Ground) -> dict[str, Any]:
    """Hold the chains against what was acknowledged and called."""
    acknowledged = set(ground.acknowledged.read_text().split())
    calls = [line.split(" ") for line in ground.calls.read_text().splitlines()]
    found = {"executions": 0, "steps": 0, "twice": 0, "lost": 0, "unfinished": 0, "uncalled": 0}
    seen: set[str] = set()
    called = {(execution, step) for execution, step, _ in calls}
    async with Node(Config(home=ground.home)) as node:
        before = None
        while page := node.list(limit=500, before=before):
            before = page[-1].id
            for execution in page:
                seen.add(execution.id)
                found["executions"] += 1
                found["unfinished"] += execution.status != "completed"
                steps = Counter(
                    record["step"]
                    for record in node.history(execution.id, limit=100_000)
                    if record["type"] == COMPLETED and record["attempt"] is not None
                )
                found["steps"] += len(steps)
                found["twice"] += sum(count > 1 for count in steps.values())
                found["uncalled"] += sum(
                    (execution.id, step) not in called
                    for step in steps
                    if not step.endswith("/child")
                )
        checked = await anyio.to_thread.run_sync(node._stored.states.verify)
    found["versions"], found["bad_versions"] = checked.versions, len(checked.findings)
    begun = [line.split(" ")[1] for line in ground.begun.read_text().splitlines()]
    found["brought_back"] = len(begun)
    found["from_checkpoints"] = sum(seq != "0" for seq in begun)
    found["lost"] = len(acknowledged - seen)
    found["acknowledged"], found["calls"] = len(acknowledged), len(calls)
    found["repeated_calls"] = len(calls) - len({tuple(call) for call in calls})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; printed")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    chance = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qflow-kill-") as folder:
        ground = Ground(Path(folder))
        ready = []
        for count in range(options.times):
            ready.append(ground.kill_after(chance.uniform(0.001, 0.6)))
            if (count + 1) % 20 == 0:
                print(f"  {count + 1} kills, {time.monotonic() - began:.0f} s", flush=True)
        ground.finish()
        found = anyio.run(account, ground)
        key = (ground.home / "node.pub").read_text()
        report = audit.verify(ground.home / "log", key)
    ready.sort()
    print(f"kills {options.times}  seed {seed}  {time.monotonic() - began:.0f} s")
    print(f"  ready after a kill: min {ready[0]:.2f} s, median {ready[len(ready) // 2]:.2f} s, "
          f"max {ready[-1]:.2f} s")  # fmt: skip
    print("  " + ", ".join(f"{name} {value}" for name, value in found.items()))
    print(f"  log: {report.size} records, {'verified' if report.ok else report.findings}")
    never = ("twice", "lost", "unfinished", "uncalled", "bad_versions")
    bad = [name for name in never if found[name]]
    bad += [name for name in ("executions", "versions") if not found[name]]
    bad += ["from_checkpoints"] if options.times >= 20 and not found["from_checkpoints"] else []
    if bad or not report.ok:
        print(f"FAILED: {', '.join(bad) or 'the log'} (again with --seed {seed})")
        return 1
    print(f"committed twice 0, lost 0, chains verified: {options.times} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
