"""Runs all attacks on documents with many seeds, and writes what came out into the guide.

python -m tests.crdt.attack_table [--seeds 20] [--write]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crdt.attacks import Attack, Outcome
from tests.crdt.catalogue import ATTACKS

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "crdt-attacks.md"
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"


def row(attack: Attack, outcomes: Sequence[Outcome]) -> str:
    tally = Counter(outcomes)
    counts = " | ".join(str(tally[outcome] or "") for outcome in Outcome)
    return f"| {attack.name} | {attack.power} | {len(outcomes)} | {counts} | {attack.claims} |"


def render(seen: dict[Attack, list[Outcome]], seeds: int) -> str:
    tries = sum(map(len, seen.values()))
    lines = [f"{len(seen)} attacks, {seeds} seeds each, {tries} forgeries.", ""]
    columns = " | ".join(outcome.value for outcome in Outcome)
    for family in dict.fromkeys(attack.family for attack in seen):
        lines += [f"### {family}", "", f"| attack | by | tries | {columns} | claims |"]
        lines.append("| --- " * (4 + len(Outcome)) + "|")
        lines += [row(one, outcomes) for one, outcomes in seen.items() if one.family == family]
        lines.append("")
    return "\n".join(lines)


def wrong(seen: dict[Attack, list[Outcome]]) -> Iterator[str]:
    for attack, outcomes in seen.items():
        if others := set(outcomes) - attack.expected:
            yield f"{attack.name}: {', '.join(one.value for one in others)}"
        if not outcomes:
            yield f"{attack.name}: no forgery was made"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="write the table into the guide")
    options = parser.parse_args()
    seeds = range(options.seeds)
    seen = {attack: [use for seed in seeds for use in attack.attempt(seed)] for attack in ATTACKS}
    table = render(seen, options.seeds)
    print(table)
    if options.write:
        text = GUIDE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        GUIDE.write_text(before + BEGIN + table + END + after, encoding="utf-8")
    for line in (failures := list(wrong(seen))):
        print(f"NOT as claimed: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
