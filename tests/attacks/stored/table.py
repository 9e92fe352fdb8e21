"""Runs all attacks on stored states with many seeds, and writes what came out into the guide.

python -m tests.attacks.stored.table [--seeds 20] [--write]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.stored import catalogue, honest
from tests.attacks.stored.attack import Attack, Check, Outcome, Use
from tests.attacks.table import parts, quiet

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "state-attacks.md"
COLUMNS = (Use.REFUSED, Use.OFFERED, Use.EQUAL, Use.OLDER, Use.WRONG)

Seen = list[list[Outcome]]
"""By attack, in the order of the catalogue."""


def of_seed(seed: int) -> Seen:
    with tempfile.TemporaryDirectory(prefix="stored-") as name:
        folder = Path(name)
        homes = honest.make(seed, folder)
        return [one.attempt(homes, folder / "attacked") for one in catalogue.ATTACKS]


def of_seeds(count: int) -> Iterator[Seen]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), quiet) as pool:
        yield from pool.imap_unordered(of_seed, range(count))


def run(count: int) -> Seen:
    """The outcomes of all seeds together. Says on stderr how far it is."""
    seen: Seen = [[] for _ in catalogue.ATTACKS]
    begun = time.perf_counter()
    for done, found in enumerate(of_seeds(count), 1):
        for outcomes, more in zip(seen, found, strict=True):
            outcomes += more
        tries, took = sum(map(len, seen)), time.perf_counter() - begun
        line = f"{done} of {count} seeds, {tries} attacks, {took:.0f} s"
        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    return seen


def row(attack: Attack, outcomes: list[Outcome]) -> str:
    tally = Counter(outcome.use for outcome in outcomes)
    counts = " | ".join(str(tally[use] or "") for use in COLUMNS)
    found = sum(outcome.check == Check.FOUND for outcome in outcomes)
    name = f"{attack.name} ({attack.note})" if attack.note else attack.name
    claims = " ".join(attack.claims)
    return f"| {name} | {attack.power} | {len(outcomes)} | {counts} | {found} | {claims} |"


def render(seen: Seen, seeds: int) -> str:
    """The table in Markdown, a part for each family."""
    tries = sum(map(len, seen))
    lines = [f"{len(seen)} attacks, {seeds} seeds each, {tries} forgeries.", ""]
    for family in dict.fromkeys(one.family for one in catalogue.ATTACKS):
        lines += [f"### {family[0].upper()}{family[1:]}", ""]
        lines += [f"| attack | by somebody who | tries | {' | '.join(COLUMNS)} | said | claims |",
                  "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
        pairs = zip(catalogue.ATTACKS, seen, strict=True)
        lines += [row(one, outcomes) for one, outcomes in pairs if one.family == family]
        lines.append("")
    return "\n".join(lines)


def wrong(seen: Seen) -> list[str]:
    """The attacks of which something else came than is claimed."""
    said = []
    for one, outcomes in zip(catalogue.ATTACKS, seen, strict=True):
        tally = Counter(one.wrong(outcome) for outcome in outcomes)
        del tally[""]
        said += [f"{one.family}: {one.name}: {what} ({n})" for what, n in tally.items()]
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="write the table into the guide")
    options = parser.parse_args()
    seen = run(options.seeds)
    table = render(seen, options.seeds)
    print(table)
    if options.write:
        before, _, after = parts(GUIDE.read_text(encoding="utf-8"))
        GUIDE.write_text(before + table + after, encoding="utf-8")
    for line in (failures := wrong(seen)):
        print(f"NOT as claimed: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
