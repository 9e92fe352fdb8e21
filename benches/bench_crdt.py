"""Documents beside Loro, pycrdt and Automerge: writes, merges, sizes, loading, many replicas.

python -m benches.bench_crdt [--rounds N] [--parts write merge ...] [--only qflow loro ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from benches import measure
from benches.crdt_turns import (
    Figures,
    Task,
    aside,
    judge_lead,
    judge_sizes,
    lead,
    milliseconds,
    rates,
    sizes,
    turns,
    watch,
)
from benches.rivals import crdt

OPERATIONS = 100_000
RATE_M_MIN, LEAD_MIN = 1.5, 2.0
REPLICAS, EACH = 10, 10_000
CLIENTS = 1540
"""20 times the root of 6,000, as the third group of dmonad's crdt-benchmarks has it."""
GROUPS, PARTS, LEAVES = 100, 100, 10
MANY = 1000
MANY_OPERATIONS = (10_000, 100_000, 1_000_000)
GROWTH_MAX = 2.0
MAIN, ROOT = "keys of a map", "at the root"
CHECKS, APPLYING = "of it checks", "of it applying"
PACE = 100
"""The first and the last so many of the updates are compared."""

Libraries = Mapping[str, crdt.Library]
Writing = Callable[[crdt.Document, int], None]
"""What a replica of this number writes."""


def written(library: crdt.Library, replicas: int, write: Writing) -> list[bytes]:
    """One update of each replica, of which none saw another."""
    updates = []
    for replica in range(1, replicas + 1):
        document = library.create(replica)
        write(document, replica)
        updates.append(document.written())
    return updates


def own_keys(count: int) -> Writing:
    def write(document: crdt.Document, replica: int) -> None:
        keys = [f"r{replica}k{number}" for number in range(count)]
        document.set_keys(document.addresses(keys), range(count))

    return write


def same_keys(count: int) -> Writing:
    def write(document: crdt.Document, replica: int) -> None:
        keys = [f"k{number}" for number in range(count)]
        document.set_keys(document.addresses(keys), range(replica, replica + count))

    return write


def scattered(count: int) -> Writing:
    """Keys and numbers without a pattern."""

    def write(document: crdt.Document, replica: int) -> None:
        digests = [sha256(b"%d %d" % (replica, number)).digest() for number in range(count)]
        keys = document.addresses([digest[:8].hex() for digest in digests])
        document.set_keys(keys, [int.from_bytes(digest[8:14], "big") for digest in digests])

    return write


def increments(count: int) -> Writing:
    return lambda document, _: document.increment(count)


def elements(count: int) -> Writing:
    return lambda document, replica: document.append(range(replica, replica + count))


def bench_writes(libraries: Libraries, rounds: int) -> None:
    """One replica, one transaction."""
    if "pycrdt" in libraries:
        libraries = {**libraries, crdt.INSIDE: crdt.library(crdt.INSIDE)}
    keys = [f"key{number}" for number in range(OPERATIONS)]
    numbers = list(range(OPERATIONS))

    def one(library: crdt.Library, write: Callable[[crdt.Document, Any, int], None]) -> Any:
        def task() -> dict[str, float]:
            document = library.create(1)
            count = min(OPERATIONS, library.INCREMENTS_MAX)
            addresses = document.addresses(keys)
            with watch() as found:
                write(document, addresses, count)
            return {"": found.seconds}

        return task

    whole = dict.fromkeys(libraries, OPERATIONS)
    counted = {name: min(OPERATIONS, found.INCREMENTS_MAX) for name, found in libraries.items()}
    loads: list[tuple[str, Mapping[str, int], Callable[[crdt.Document, Any, int], None]]] = [
        (MAIN, whole, lambda doc, keys, _: doc.set_keys(keys, numbers)),
        (
            "one key of a map",
            counted,
            lambda doc, keys, count: doc.set_keys([keys[0]] * count, numbers[:count]),
        ),
        ("nested maps", whole, lambda doc, *_: doc.set_nested(GROUPS, PARTS, LEAVES)),
        ("increments", counted, lambda doc, _, count: doc.increment(count)),
        ("list appends", whole, lambda doc, *_: doc.append(numbers)),
    ]
    for title, counts, write in loads:
        tasks = {name: one(library, write) for name, library in libraries.items()}
        if title == MAIN and crdt.SIGNED in tasks:
            tasks[crdt.SIGNED] = partial(at_the_root, keys, numbers, tasks[crdt.SIGNED])
        if title == "increments":
            tasks = counters_apart(libraries, tasks)
        found = rates(turns(tasks, rounds), counts)
        measure.table(f"write, {OPERATIONS:,} {title} in one transaction: millions a second", found)
        judge_writes(title, counts, found)


def at_the_root(keys: Sequence[str], numbers: Sequence[int], beneath: Task) -> dict[str, float]:
    """Beside the keys of `m` as many of the document itself, which is a map too."""
    document = crdt.library(crdt.SIGNED).create(1)
    paths = ["/" + key for key in keys]
    with watch() as found:
        document.set_keys(paths, numbers)
    return {**beneath(), ROOT: found.seconds}


def judge_writes(title: str, counts: Mapping[str, int], found: Figures) -> None:
    fewer = [f"{name} {count:,}" for name, count in counts.items() if count < OPERATIONS]
    if fewer:
        print("  of fewer operations: " + ", ".join(fewer))
    if crdt.SIGNED not in found:
        return
    rate = measure.median(found[crdt.SIGNED])
    if title == MAIN:
        target = f"at least {RATE_M_MIN} million a second"
        measure.judge(target, rate >= RATE_M_MIN, f"{rate:.2f}")
        own = f"{crdt.SIGNED}, {ROOT}"
        rate = measure.median(found[own])
        measure.judge(f"{ROOT}, {target}", rate >= RATE_M_MIN, f"{rate:.2f}")
        if len(found) > 2:
            inside = [row for row in found if row != crdt.INSIDE]
            times = lead({row: found[row] for row in inside}, own, more_is_better=True)
            judge_lead(f"{title}, {ROOT}", times, LEAD_MIN)
    rows = {row: figures for row, figures in found.items() if row != crdt.INSIDE}
    if len(rows) > 1:
        judge_lead(title, lead(rows, crdt.SIGNED, more_is_better=True), LEAD_MIN)
    if crdt.INSIDE in found:
        times = lead(found, crdt.SIGNED, more_is_better=True)
        print(f"        beside {crdt.INSIDE} too: {times:.2f} times")


def counters_apart(libraries: Libraries, tasks: Mapping[str, Task]) -> dict[str, Task]:
    return {
        name: task if libraries[name].COUNTS else aside(task, "only totals")
        for name, task in tasks.items()
    }


def importing(library: crdt.Library, updates: Sequence[bytes], parts: str) -> Any:
    """Into an empty replica: all at once, then everything read. Qflow's checks stand apart too."""

    def task() -> dict[str, float]:
        document = library.create(1 << 20)
        rows = batch(library, document, updates, "")
        with watch() as found:
            document.read(parts)
        rows["and reading"] = rows[""] + found.seconds
        return rows

    return task


def batch(library: Any, document: Any, updates: Sequence[bytes], row: str) -> dict[str, float]:
    """Seconds of an import at once. Where updates are checked, that and the rest stand apart."""
    if library.NAME != crdt.SIGNED:
        with watch() as found:
            document.take_batch(updates)
        return {row: found.seconds}
    with watch() as checking:
        checked = library.checked(updates)
    with watch() as applying:
        document.apply(checked)
    return {
        row: checking.seconds + applying.seconds,
        CHECKS: checking.seconds,
        APPLYING: applying.seconds,
    }


def judge_merge(title: str, figures: Figures, least: float) -> None:
    if crdt.SIGNED not in figures or len({row.split(",")[0] for row in figures}) < 2:
        return
    applying = lead(figures, f"{crdt.SIGNED}, {APPLYING}")
    judge_lead(f"{title}, applied", applying, least)
    judge_lead(f"{title}, signatures checked", lead(figures, crdt.SIGNED), least)
    times = lead(figures, f"{crdt.SIGNED}, and reading", "and reading")
    judge_lead(f"{title}, checked and read", times, least)


def bench_merges(libraries: Libraries, rounds: int) -> None:
    loads: list[tuple[str, Callable[[int], Writing], str]] = [
        ("keys of their own", own_keys, "m"),
        ("the same keys", same_keys, "m"),
        ("increments", increments, "n"),
        ("list appends", elements, "l"),
    ]
    for title, load, parts in loads:
        each = {
            name: min(EACH, library.INCREMENTS_MAX // 20) if load is increments else EACH
            for name, library in libraries.items()
        }
        made = {
            name: written(library, REPLICAS, load(each[name]))
            for name, library in libraries.items()
        }
        tasks = {name: importing(libraries[name], updates, parts) for name, updates in made.items()}
        if load is increments:
            tasks = counters_apart(libraries, tasks)
        for name in [name for name in tasks if each[name] < EACH]:
            tasks[name] = aside(tasks[name], f"{each[name]:,} each")
        found = milliseconds(turns(tasks, rounds))
        head = f"merge, {REPLICAS} replicas x {EACH:,} {title}, none saw another: milliseconds"
        measure.table(head, found)
        judge_merge(title, found, LEAD_MIN)


def bench_clients(libraries: Libraries, rounds: int) -> None:
    """B3.1 to B3.4 of dmonad's crdt-benchmarks."""
    loads: list[tuple[str, Writing, str]] = [
        ("B3.1 set a number", lambda doc, n: doc.set_keys(doc.addresses(["v"]), [n]), "m"),
        (
            "B3.2 set an object",
            lambda doc, n: doc.set_object("v", {"name": str(n), "address": "here"}),
            "m",
        ),
        (
            "B3.3 set a string",
            lambda doc, n: doc.set_keys(doc.addresses(["v"]), [str(n) * CLIENTS]),
            "m",
        ),
        ("B3.4 put into a list", lambda doc, n: doc.append([str(n)]), "l"),
    ]
    for title, write, parts in loads:
        made = {name: written(library, CLIENTS, write) for name, library in libraries.items()}
        tasks = {name: clients(libraries[name], updates, parts) for name, updates in made.items()}
        found = milliseconds(turns(tasks, rounds))
        measure.table(f"{title}, {CLIENTS:,} clients at once: milliseconds", found)
        rows = {}
        for name, library in libraries.items():
            document = library.create(1 << 20)
            document.take_batch(made[name])
            encoded = [len(document.written()), len(document.snapshot())]
            rows[name] = [sum(map(len, made[name])), *encoded]
        sizes(f"{title}: bytes", rows, ["all updates", "history", "snapshot"])
        if crdt.SIGNED in libraries and len(libraries) > 1:
            for row in ("one by one", "batch", "load and read", "load history and read"):
                judge_lead(f"{title}, {row}", lead(found, f"{crdt.SIGNED}, {row}", row), 1.0)
            applying = lead(found, f"{crdt.SIGNED}, {APPLYING}", "batch")
            judge_lead(f"{title}, batch, applied", applying, 1.0)
            if "loro" in rows:
                judge_sizes(f"{title}, history", rows[crdt.SIGNED][1], [rows["loro"][1]])


def clients(library: crdt.Library, updates: Sequence[bytes], parts: str) -> Any:
    """One by one, in a batch, and what came of it written out and loaded."""

    def task() -> dict[str, float]:
        rows = {}
        document = library.create(1 << 20)
        with watch() as found:
            for update in updates:
                document.take(update)
        rows["one by one"] = found.seconds
        document = library.create(1 << 20)
        rows |= batch(library, document, updates, "batch")
        return rows | loading(library, document, parts)

    return task


def loading(library: crdt.Library, document: crdt.Document, parts: str) -> dict[str, float]:
    snapshot, history = document.snapshot(), document.written()
    with watch() as found:
        library.load(snapshot, 7).read(parts)
    rows = {"load and read": found.seconds}
    with watch() as found:
        again = library.create(7)
        again.take(history)
        again.read(parts)
    return rows | {"load history and read": found.seconds}


def bench_pace(libraries: Libraries, rounds: int) -> None:
    """Whether an update costs more the more came before it."""

    def pace(library: crdt.Library, updates: Sequence[bytes]) -> Any:
        def task() -> dict[str, float]:
            document = library.create(1 << 20)
            took = []
            for at in range(0, CLIENTS, PACE):
                with watch() as found:
                    for update in updates[at : at + PACE]:
                        document.take(update)
                took.append(found.seconds)
            return {f"first {PACE}": took[0], f"last {PACE}": took[-2]}

        return task

    def write(document: crdt.Document, replica: int) -> None:
        document.set_keys(document.addresses([f"k{replica}"]), [replica])

    made = {name: written(library, CLIENTS, write) for name, library in libraries.items()}
    tasks = {name: pace(libraries[name], updates) for name, updates in made.items()}
    found = milliseconds(turns(tasks, rounds))
    measure.table(f"import of {CLIENTS:,} updates one by one, of as many replicas: ms", found)
    for name in libraries:
        first, last = found[f"{name}, first {PACE}"], found[f"{name}, last {PACE}"]
        grew = measure.median([late / early for early, late in zip(first, last, strict=True)])
        if name == crdt.SIGNED:
            measure.judge("the last at most 1.5 times the first", grew <= 1.5, f"{grew:.2f}")
        else:
            print(f"        {name}: the last are {grew:.2f} times the first")


def bench_loads(libraries: Libraries, rounds: int) -> None:
    """Sizes of 100,000 operations, and loading them."""
    loads: list[tuple[str, Callable[[int], Writing], str]] = [
        ("keys of a map", own_keys, "m"),
        ("keys without a pattern", scattered, "m"),
        ("increments", increments, "n"),
        ("list appends", elements, "l"),
    ]
    for title, load, parts in loads:
        some = {
            name: library
            for name, library in libraries.items()
            if load is not increments or library.INCREMENTS_MAX >= OPERATIONS
        }
        documents = {}
        for name, library in some.items():
            documents[name] = library.create(1)
            load(OPERATIONS)(documents[name], 1)
        rows = {
            name: [len(document.written()), len(document.snapshot())]
            for name, document in documents.items()
        }
        sizes(f"{OPERATIONS:,} {title}: bytes", rows, ["history", "snapshot"])
        if crdt.SIGNED in rows and "loro" in rows:
            judge_sizes(f"{title}, history", rows[crdt.SIGNED][0], [rows["loro"][0]])
        tasks: dict[str, Task] = {
            name: partial(loading, library, documents[name], parts)
            for name, library in some.items()
        }
        if load is increments:
            tasks = counters_apart(some, tasks)
        found = milliseconds(turns(tasks, rounds))
        measure.table(f"load of {OPERATIONS:,} {title}, and all read: milliseconds", found)
        if crdt.SIGNED in some and len(some) > 1:
            for row in ("load and read", "load history and read"):
                judge_lead(f"{title}, {row}", lead(found, f"{crdt.SIGNED}, {row}", row), 1.0)


def bench_replicas(libraries: Libraries, rounds: int) -> None:
    """A thousand replicas, and how the cost of one operation grows with their number."""
    medians: dict[str, list[float]] = {}
    for count in MANY_OPERATIONS:
        load = own_keys(count // MANY)
        made = {name: written(library, MANY, load) for name, library in libraries.items()}
        tasks = {name: importing(libraries[name], updates, "m") for name, updates in made.items()}
        figures = turns(tasks, rounds)
        each = {row: [s / count * 1e6 for s in found] for row, found in figures.items()}
        measure.table(f"merge of {MANY:,} replicas, {count:,} map sets: us each", each, digits=3)
        for row, found in each.items():
            medians.setdefault(row, []).append(measure.median(found))
    for row, found in medians.items():
        grew = found[-1] / found[0]
        if row in {crdt.SIGNED, f"{crdt.SIGNED}, {APPLYING}"}:
            target = f"{row}: from {MANY_OPERATIONS[0]:,} to {MANY_OPERATIONS[-1]:,} under twofold"
            measure.judge(target, grew < GROWTH_MAX, f"{grew:.2f}")
        else:
            print(f"        {row}: {grew:.2f} times as much each")


PARTS_OF_IT: dict[str, Callable[[Libraries, int], None]] = {
    "write": bench_writes,
    "merge": bench_merges,
    "clients": bench_clients,
    "pace": bench_pace,
    "load": bench_loads,
    "replicas": bench_replicas,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS_OF_IT, default=list(PARTS_OF_IT))
    parser.add_argument("--only", nargs="+", choices=crdt.NAMES, default=list(crdt.NAMES))
    options = parser.parse_args()
    libraries = {name: crdt.library(name) for name in options.only}
    print(measure.machine())
    for name, library in libraries.items():
        print(f"  {name} {library.version()}: {library.TYPES}")
    for part in options.parts:
        PARTS_OF_IT[part](libraries, options.rounds)


if __name__ == "__main__":
    main()
