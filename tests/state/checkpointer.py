"""A process that keeps checkpoints until it fails, and says which are durable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.stored import Execution, Home

CHAIN = 1
CHECKPOINTS = 6


def state_of(number: int) -> dict[str, object]:
    """One of several parts; what does not change from one to the next is the same parts."""
    return {"kept": [f"order {n}" for n in range(12_000)], "n": number, "z": "x" * 40_000}


def step(one: Execution, home: Home) -> int:
    """Go on, and keep a checkpoint; its number."""
    number = sum(1 for _ in one.records) // 3
    one.act(2, f"payload {number}")
    return one.kept_by(home, state_of(number)).number


def main(path: Path) -> None:
    os.write(1, b"ready\n")
    sys.stdin.readline()
    with Home(path) as home:
        one = home.begin(CHAIN)
        for _ in range(CHECKPOINTS):
            os.write(1, b"%d\n" % step(one, home))
    os.write(1, b"closed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
