"""Runs all attacks with many seeds, and writes what was found into docs/guides/attacks.md.

python -m tests.attacks.table [--seeds 100] [--write]
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

from tests.attacks import catalogue, honest
from tests.attacks.attack import NOT_FOUND, Attack, Outcome

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "attacks.md"
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
WHO = ("alone", "known", "witness")

Seen = dict[str, list[Outcome]]


def of_seed(seed: int) -> tuple[int, list[Outcome]]:
    """The outcomes of all attacks on the honest log of one seed."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        folder = Path(name)
        log = honest.make(seed, folder / "honest")
        return seed, [one.attempt(log, folder / "forged") for one in catalogue.ATTACKS]


def quiet() -> None:
    """What is logged about forgeries is no news here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def of_seeds(count: int) -> Iterator[tuple[int, list[Outcome]]]:
    # A fork would take the threads of logs along.
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), quiet) as pool:
        yield from pool.imap_unordered(of_seed, range(count))


def run(count: int) -> Seen:
    """All outcomes by attack. Says on stderr how far it is."""
    seen: Seen = {one.name: [] for one in catalogue.ATTACKS}
    begun = time.perf_counter()
    for done, (_, outcomes) in enumerate(of_seeds(count), 1):
        for attack, outcome in zip(catalogue.ATTACKS, outcomes, strict=True):
            seen[attack.name].append(outcome)
        took = time.perf_counter() - begun
        line = f"{done} of {count} seeds, {done * len(seen)} attacks, {took:.0f} s"
        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    return seen


def cell(verdicts: Iterable[str], count: int) -> str:
    """The verdicts of one auditor; how often, where it is not always the same."""
    tally = Counter(verdicts)
    return ", ".join(
        ("not found" if verdict == NOT_FOUND else verdict)
        + ("" if times == count else f" {times}/{count}")
        for verdict, times in tally.most_common()
    )


def row(attack: Attack, outcomes: list[Outcome]) -> str:
    cells = [cell((getattr(one, who) for one in outcomes), len(outcomes)) for who in WHO]
    name = f"{attack.name} ({attack.note})" if attack.note else attack.name
    return f"| {name} | {attack.power} | {' | '.join(cells)} | {' '.join(attack.claims)} |"


def render(seen: Seen) -> str:
    """The table in Markdown, a part for each family."""
    count = len(next(iter(seen.values())))
    lines = [f"{len(seen)} attacks, {count} seeds each, {len(seen) * count} forgeries.", ""]
    for family in dict.fromkeys(one.family for one in catalogue.ATTACKS):
        lines += [f"### {family[0].upper()}{family[1:]}", ""]
        lines += ["| attack | by somebody who | files and key | and a noted head | "
                  "and witnesses | claims |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
        lines += [row(one, seen[one.name]) for one in catalogue.ATTACKS if one.family == family]
        lines.append("")
    return "\n".join(lines)


def wrong(seen: Seen) -> list[str]:
    """The attacks whose verdict is not what is claimed."""
    said = []
    for one in catalogue.ATTACKS:
        tally = Counter(one.wrong(outcome) for outcome in seen[one.name])
        del tally[""]
        said += [f"{one.family}: {one.name}: {what} ({n})" for what, n in tally.items()]
    return said


def parts(guide: str) -> tuple[str, str, str]:
    """The guide before the table, the table, and after it."""
    before, begin, rest = guide.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{GUIDE} has no place for the table")
    return before + begin, table, end + after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="write the table into the guide")
    options = parser.parse_args()
    seen = run(options.seeds)
    table = render(seen)
    print(table)
    if options.write:
        before, _, after = parts(GUIDE.read_text(encoding="utf-8"))
        GUIDE.write_text(before + table + after, encoding="utf-8")
    for line in (failures := wrong(seen)):
        print(f"NOT as claimed: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
