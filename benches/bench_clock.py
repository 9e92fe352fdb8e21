"""Vector clocks: compare and merge at 10, 100 and 1,000 replicas, beside dictionaries in Python."""

from __future__ import annotations

import time
from collections.abc import Callable

from benches.measure import machine, table
from qflow import _core
from qflow._core import VectorClock

ROUNDS = 15
CALLS = {10: 20_000, 100: 5_000, 1_000: 2_000}
# As many clocks as a call over many is given.
MANY = 1_000

Counts = dict[bytes, int]


def compare_counts(left: Counts, right: Counts) -> str:
    """What a program without vectors does: one pass over each, ending when both differ."""
    less = more = False
    for replica, seen in left.items():
        other = right.get(replica, 0)
        if seen < other:
            less = True
        elif seen > other:
            more = True
        if less and more:
            return "concurrent"
    less = less or not right.keys() <= left.keys()
    if more:
        return "concurrent" if less else "after"
    return "before" if less else "equal"


def merge_counts(left: Counts, right: Counts) -> None:
    for replica, seen in right.items():
        if seen > left.get(replica, 0):
            left[replica] = seen


def timed_ns(call: Callable[[], object], calls: int) -> float:
    begun = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - begun) / calls


def measure(replicas: int) -> dict[str, list[float]]:
    keys = [
        _core.derive_key("qflow bench replica", number.to_bytes(4)) for number in range(replicas)
    ]
    lower = {key: number + 1 for number, key in enumerate(keys)}
    # The last replica alone is ahead, so every entry has to be looked at.
    upper = lower | {keys[-1]: replicas + 1}
    before, after = VectorClock(lower), VectorClock(upper)
    many = [after.copy() for _ in range(MANY)]
    assert before.compare(after) == compare_counts(lower, upper) == "before"
    tasks: dict[str, tuple[Callable[[], object], int, int]] = {
        "compare": (lambda: before.compare(after), CALLS[replicas], 1),
        "compare, dictionaries": (lambda: compare_counts(lower, upper), CALLS[replicas] // 20, 1),
        "compare, each of many": (lambda: _core.compare_clocks(before, many), 20, MANY),
        "merge": (lambda: after.merge(before), CALLS[replicas], 1),
        "merge, dictionaries": (lambda: merge_counts(upper, lower), CALLS[replicas] // 20, 1),
        "merge, each of many": (lambda: _core.merge_clocks(many), 20, MANY),
        "increment": (lambda: before.increment(keys[0], 0), CALLS[replicas], 1),
    }
    figures: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, (call, calls, clocks) in tasks.items():
            figures[name].append(timed_ns(call, calls) / clocks)
    return figures


def main() -> None:
    print(machine())
    for replicas in CALLS:
        table(f"{replicas:,} replicas, ns", measure(replicas), digits=0)


if __name__ == "__main__":
    main()
