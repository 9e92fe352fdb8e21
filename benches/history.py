"""A log of any length that looks like a node's: executions side by side, of 20 flows and 50 actors.

`python benches/history.py FOLDER --records 10000000` makes FOLDER (a log) and FOLDER.vkey.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from qflow import _core
from qflow.errors import BusyError

ORIGIN, SEED = "qflow.node/bench", bytes(range(32))
GENESIS = bytes(32)
STARTED_AT = 1_700_000_000_000
NODE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
LIVE = 200
"""Executions that run at once."""
AT_ONCE = 5
"""Records that each adds to a commit: a commit has 1,000."""

Fact = tuple[str, str | None, int | None, tuple[object] | None, dict[str, object]]


def facts(number: int, length: int) -> list[Fact]:
    """What one execution does: begin, steps with now and then a failed one, end."""
    made: list[Fact] = [("q.qflow.exec.created.v1", None, None, ({"order": number},), {"key": 0})]
    for step in range(1, length - 1):
        kind = "step_failed" if (number + step) % 50 == 0 else "step_completed"
        path = f"/do/{step % 7}/charge-{step % 11}"
        meta: dict[str, object] = {"frame": step, "note": "x" * 24}
        made.append((f"q.qflow.exec.{kind}.v1", path, 1, None, meta))
    end = "faulted" if number % 97 == 0 else "completed"
    made.append((f"q.qflow.exec.{end}.v1", None, None, ({"total": number * 3},), {}))
    return made


class Chain:
    """One execution on its way into the log."""

    def __init__(self, number: int, length: int) -> None:
        self.id = number.to_bytes(16, "big")
        self.flow = f"shop/flow-{number % 20}/1.0.0"
        self.actor = f"user-{number * 7919 % 50}@example.org"
        self.left = facts(number, length)
        self.seq, self.prev = 0, GENESIS

    def next(self, count: int, at: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        now, self.left = self.left[:count], self.left[count:]
        records, blocks, self.prev = _core.encode_records(
            self.id, self.seq, self.prev, self.flow, at, self.actor, NODE, "default", 0, now
        )
        self.seq += len(records)
        return records, blocks


def commits(count: int, length: int) -> Iterator[tuple[list[bytes], list[tuple[bytes, bytes]]]]:
    """Whole commits until at least `count` records are made."""
    numbers, made, at = iter(range(1 << 40)), 0, STARTED_AT
    live = [Chain(next(numbers), length) for _ in range(LIVE)]
    while made < count:
        records: list[bytes] = []
        blocks: dict[bytes, bytes] = {}
        for place, chain in enumerate(live):
            added, beside = chain.next(AT_ONCE, at)
            records += added
            blocks.update(beside)
            if not chain.left:
                live[place] = Chain(next(numbers), length)
        made, at = made + len(records), at + 50
        yield records, list(blocks.items())


def make(folder: Path, count: int, length: int = 20) -> str:
    """Make the log, close it, and write its verifier key beside it; gives the key."""
    log = _core.Log(str(folder), origin=ORIGIN, seed=SEED)
    for records, blocks in commits(count, length):
        while True:
            try:
                log.append(records, blocks)
                break
            except BusyError:
                log.append_durable(records, blocks)
                break
        log.drain(1 << 20)
    vkey = log.vkey
    log.close()
    folder.with_name(folder.name + ".vkey").write_text(vkey + "\n", encoding="ascii")
    return vkey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=20, help="records of one execution")
    given = parser.parse_args()
    print(make(given.folder, given.records, given.length))


if __name__ == "__main__":
    main()
