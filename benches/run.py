"""Runs the measurements, each in a process of its own, and prints their tables.

make bench [ARGS="steps log waiting import audit"]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCHES = (
    "steps",
    "log",
    "waiting",
    "import",
    "audit",
    "receipts",
    "index",
    "export",
    "signatures",
    "catch_up",
    "sealing",
    "blocks",
    "checkpoints",
    "clock",
)

DOCUMENTS = ("crdt", "crdt_memory")
"""Their rivals are in an environment of their own: `make bench-crdt` runs them."""


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES + DOCUMENTS]
    if unknown:
        print(f"no measurement {', '.join(unknown)}; there are {', '.join(BENCHES + DOCUMENTS)}")
        return 2
    sys.path.insert(0, str(ROOT))
    from benches import measure

    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    print(measure.machine())
    failed = []
    for name in names or BENCHES:
        print(f"\n== {name}", flush=True)
        begun = time.perf_counter()
        command = [sys.executable, "-m", f"benches.bench_{name}"]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(name)
        print(f"-- {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    if failed:
        print(f"\nFAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
