"""Plays random histories in Qflow, Loro, pycrdt and Automerge, and counts what they agree on.

python -m tests.crdt.rivals [--histories 10000] [--only qflow loro ...]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from functools import partial

from tests.crdt.rivals import find
from tests.crdt.rivals.compare import LIBRARIES, Found, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    options = parser.parse_args()
    missing = find.missing()
    if missing:
        sys.exit(f"{', '.join(missing)} missing: make crdt-oracle")
    found: Found = Counter()
    begun = time.perf_counter()
    one_run = partial(run, libraries=tuple(options.only))
    # A fork would take the threads of the libraries along.
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), find.missing) as pool:
        for one in pool.imap_unordered(one_run, range(options.histories), 50):
            found += one
    took = time.perf_counter() - begun
    for row, count in sorted(found.items()):
        print(f"  {count:9,}  {row}")
    print(f"{options.histories:,} histories, none unexplained, {took:.0f} s")


if __name__ == "__main__":
    main()
