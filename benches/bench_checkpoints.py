"""What a checkpoint costs from the frozen state to the disk, in groups too, and what a restore.

python -m benches.bench_checkpoints [--rounds N] [--path DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benches import measure
from qflow import _core
from qflow.state import Draft
from tests.state.executions import Execution, Home, Keys, node

STATE_BYTES = 64 << 10
SMALL_BYTES = 2 << 10
LARGE_BYTES = 10 << 20
FACTS = 5
"""Records between two checkpoints of one execution."""
COUNT, EXECUTIONS, GROUP = 1000, 10, 100
OVER_FSYNCS_MS = 1.0
EACH_S_MIN = 3000
RESTORE_MS_MAX = 50.0


def state_of(size: int, number: int) -> bytes:
    """A state of about this size; from one number to the next a few bytes of it change."""
    facts = [{"item": at, "content": f"{at * 7919:032x}"} for at in range(size // 53)]
    facts[number * 31 % len(facts)]["content"] = f"{number:032x}"
    return _core.encode(facts)


class Bench:
    """A home on the disk, and executions that go on in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys, self.writer = folder, Keys(), node()
        self.home = Home(folder / "state.db", self.keys, self.writer)
        self.home.states.stats()
        self.made = 0

    def execution(self) -> Execution:
        self.made += 1
        return Execution(self.made, self.writer, self.keys)

    def draft(self, execution: Execution, state: bytes, since: int) -> Draft:
        """The engine's part, which is not measured: facts, then the checkpoint's record."""
        execution.facts(FACTS)
        return execution.checkpoint(state, since=since)

    def latencies(self, rounds: int) -> tuple[list[float], list[float], list[float]]:
        """Milliseconds of a checkpoint of 64 KiB, of its sealing alone, and of fsyncs, in turn."""
        took, sealing, fsyncs = [], [], []
        execution, since = self.execution(), 0
        for number in range(rounds):
            fsyncs += measure.fsync_ms(self.folder)[:5]
            state = state_of(STATE_BYTES, number)
            draft = self.draft(execution, state, since)
            begun = time.perf_counter()
            execution.key.seal_state(state, subnet=execution.subnet, chain=execution.chain)
            sealed = time.perf_counter()
            self.home.states.commit(draft)
            took.append((time.perf_counter() - begun) * 1000)
            sealing.append((sealed - begun) * 1000)
            since = execution.seq
        return took, sealing, fsyncs

    def groups(self) -> float:
        """Checkpoints a second, of ten executions that are kept a hundred at a time."""
        executions = [self.execution() for _ in range(EXECUTIONS)]
        drafts, states = [], []
        for number in range(COUNT):
            execution = executions[number % EXECUTIONS]
            states.append((execution, state_of(SMALL_BYTES, number)))
            drafts.append(self.draft(*states[-1], execution.seq))
        begun = time.perf_counter()
        for at in range(0, COUNT, GROUP):
            for execution, state in states[at : at + GROUP]:
                execution.key.seal_state(state, subnet=execution.subnet, chain=execution.chain)
            for outcome in self.home.states.commit_many(drafts[at : at + GROUP]):
                if isinstance(outcome, Exception):
                    raise outcome
        return COUNT / (time.perf_counter() - begun)

    def restores(self, rounds: int) -> tuple[list[float], list[float]]:
        """Milliseconds to load 10 MiB, from the disk's cache and from the cache of blocks."""
        state = state_of(LARGE_BYTES, 1)
        saved = self.home.states.commit(self.draft(self.execution(), state, 0))
        cold: list[float] = []
        warm: list[float] = []
        for _ in range(rounds):
            states = self.home.reopen()
            for took in (cold, warm):
                begun = time.perf_counter()
                loaded = states.load(saved.cid)
                took.append((time.perf_counter() - begun) * 1000)
                if loaded != state:
                    raise AssertionError("what was restored is not what was saved")
        return cold, warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--path", help="a folder on the disk to measure; TMPDIR without it")
    options = parser.parse_args()
    rounds = options.rounds
    with tempfile.TemporaryDirectory(prefix="qflow-bench-", dir=options.path) as name:
        bench = Bench(Path(name))
        took, sealing, fsyncs = bench.latencies(rounds)
        rates = [bench.groups() for _ in range(5)]
        cold, warm = bench.restores(max(5, rounds // 10))
        bench.home.close()
    rows = {"checkpoint, durable": took, "of it sealing": sealing, "an fsync here": fsyncs}
    measure.table(f"a checkpoint of {STATE_BYTES >> 10} KiB: milliseconds", rows)
    bound = 2 * measure.median(fsyncs) + OVER_FSYNCS_MS
    found = measure.median(took)
    measure.judge(f"at most 2 fsyncs + 1 ms = {bound:.2f} ms", found <= bound, f"{found:.2f} ms")
    title = (
        f"{COUNT:,} of {EXECUTIONS} executions, {SMALL_BYTES >> 10} KiB, {GROUP} a group: a second"
    )
    measure.table(title, {"checkpoints": rates}, digits=0)
    rate = measure.median(rates)
    measure.judge(f"at least {EACH_S_MIN:,}/s", rate >= EACH_S_MIN, f"{rate:,.0f}/s")
    rows = {"file in memory": cold, "blocks in the cache": warm}
    measure.table(f"restore of {LARGE_BYTES >> 20} MiB: milliseconds", rows)
    worst = measure.median(cold)
    measure.judge(f"under {RESTORE_MS_MAX:.0f} ms", worst < RESTORE_MS_MAX, f"{worst:.1f} ms")


if __name__ == "__main__":
    main()
