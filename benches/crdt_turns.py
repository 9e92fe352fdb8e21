"""Rounds in which documents of several libraries take turns, and what is held against what."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from benches import measure
from benches.rivals import crdt

PATIENCE_S = 10.0
"""What took longer is not measured a second time."""
Figures = dict[str, list[float]]
Task = Callable[[], Mapping[str, float]]
"""One measurement of one library: its rows, usually one without a name, in seconds."""


class Watch:
    """Seconds between entering and leaving."""

    seconds = 0.0


@contextmanager
def watch() -> Iterator[Watch]:
    """Python's collector waits meanwhile: whose garbage it takes is no matter of the figure."""
    gc.collect()
    gc.disable()
    found = Watch()
    begun = time.perf_counter()
    try:
        yield found
    finally:
        found.seconds = time.perf_counter() - begun
        gc.enable()


def turns(tasks: Mapping[str, Task], rounds: int) -> Figures:
    """Every library once in each round, another one first each time; a library's name leads."""
    names, figures, slow = list(tasks), dict[str, list[float]](), set[str]()
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if name in slow:
                continue
            begun = time.perf_counter()
            for row, seconds in tasks[name]().items():
                figures.setdefault(f"{name}, {row}" if row else name, []).append(seconds)
            if time.perf_counter() - begun > PATIENCE_S:
                slow.add(name)
    order = {name: at for at, name in enumerate(names)}
    return dict(sorted(figures.items(), key=lambda row: order[row[0].split(",")[0]]))


def aside(task: Task, why: str) -> Task:
    """Its rows are shown, and compared with nothing."""
    return lambda: {f"{row} ({why})".lstrip(): seconds for row, seconds in task().items()}


def rates(figures: Figures, counts: Mapping[str, int]) -> Figures:
    """Millions a second, of the count of each library."""
    return {
        row: [counts[row.split(",")[0]] / seconds / 1e6 for seconds in found]
        for row, found in figures.items()
    }


def milliseconds(figures: Figures) -> Figures:
    return {row: [seconds * 1000 for seconds in found] for row, found in figures.items()}


def lead(figures: Figures, row: str, suffix: str = "", *, more_is_better: bool = False) -> float:
    """How many times as good as the best rival `row` is: the median over the rounds.

    Of the rivals, the rows that end in `suffix` count. One that was too slow for a second round
    counts with its first.
    """
    rivals = [
        found
        for name, found in figures.items()
        if name.split(",")[0] != crdt.SIGNED and name.partition(", ")[2] == suffix
    ]
    leads = []
    for number, own in enumerate(figures[row]):
        beside = [found[min(number, len(found) - 1)] for found in rivals]
        leads.append(own / max(beside) if more_is_better else min(beside) / own)
    return measure.median(leads)


def judge_lead(target: str, times: float, least: float) -> None:
    measure.judge(f"{target} at least {least:g} times as good", times >= least, f"{times:.2f}")


def judge_sizes(target: str, own: int, others: Iterable[int]) -> None:
    least = min(others)
    measure.judge(f"{target} at most {least:,}", own <= least, f"{own:,} bytes")


def sizes(title: str, rows: Mapping[str, Sequence[int]], columns: Sequence[str]) -> None:
    width = max(24, *(len(name) for name in rows))
    print(f"\n{title}")
    print(f"  {'':{width}} " + " ".join(f"{name:>14}" for name in columns))
    for name, found in rows.items():
        print(f"  {name:{width}} " + " ".join(f"{size:14,}" for size in found))
