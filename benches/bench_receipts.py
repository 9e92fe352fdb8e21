"""Receipts of a large log, made from its files and checked, beside proofs of pymerkle.

    python -m benches.bench_receipts [--log DIR --key FILE] [--records N] [--rounds R] [--count C]

Without --log a log of N records is made by `benches.history`. pymerkle has one tree in memory and
one in SQLite, of N / 10 entries: its trees of millions take minutes to fill. It signs nothing: who
checks its proof must have the root from elsewhere. Rounds alternate; a figure is the median of one
round's C records, drawn by a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pymerkle import InmemoryTree, SqliteTree, verify_inclusion

from benches import history, measure
from qflow import _core

RECORD = b"x" * 300
WITNESSES = 2
TIME_S = 1_764_000_000

Round = tuple[list[float], list[float], list[float]]
"""Milliseconds to make, to check, and bytes, of each record."""


class Ours:
    """The log in a folder: each receipt is made from the files, nothing is kept between two."""

    def __init__(self, folder: Path, vkey: str, witnessed: bool) -> None:
        self.path, self.vkey = str(folder), vkey
        note = (folder / "checkpoint").read_bytes()
        _, self.size, _ = _core.peek_checkpoint(note)
        self.policy: _core.Policy | None = None
        self.head: bytes | None = None
        if witnessed:
            self.head, self.policy = cosigned(note, vkey)

    def round(self, indices: Sequence[int]) -> Round:
        made, checked, sizes = [], [], []
        for index in indices:
            begun = time.perf_counter()
            data = _core.make_receipt(self.path, index, head=self.head)
            middle = time.perf_counter()
            seen = _core.check_receipt(data, self.vkey, self.policy)
            ended = time.perf_counter()
            assert seen["index"] == index
            assert (seen["verdict"] == "WITNESSED") == (self.policy is not None)
            made.append((middle - begun) * 1000)
            checked.append((ended - middle) * 1000)
            sizes.append(float(len(data)))
        return made, checked, sizes


def cosigned(note: bytes, vkey: str) -> tuple[bytes, _core.Policy]:
    """The head with the lines of witnesses, and a policy that asks for all of them."""
    lines = [f"log {vkey}"]
    for number in range(WITNESSES):
        seed = bytes([100 + number]) * 32
        name = f"witness{number}.example"
        note += _core.cosign(note, vkey, name, seed, TIME_S).encode()
        lines.append(f"witness w{number} {_core.generate_witness_vkey(name, seed)}")
    names = " ".join(f"w{number}" for number in range(WITNESSES))
    text = "\n".join([*lines, f"group all all {names}", "quorum all", ""])
    return note, _core.Policy(text)


class Theirs:
    """A pymerkle tree, open and filled: proof, record and root make what a receipt is."""

    def __init__(self, tree: InmemoryTree | SqliteTree, count: int) -> None:
        self.tree = tree
        tree.append_entries(RECORD + b"%d" % number for number in range(count))
        self.size, self.root = tree.get_size(), tree.get_root()

    def round(self, indices: Sequence[int]) -> Round:
        made, checked, sizes = [], [], []
        for index in indices:
            record = RECORD + b"%d" % index
            begun = time.perf_counter()
            proof = self.tree.prove_inclusion(index + 1)
            middle = time.perf_counter()
            leaf = self.tree.hash_buff(record)
            verify_inclusion(leaf, self.root, proof, index=index + 1)
            ended = time.perf_counter()
            made.append((middle - begun) * 1000)
            checked.append((ended - middle) * 1000)
            sizes.append(float(len(record) + len(json.dumps(proof.serialize()))))
        return made, checked, sizes


def timed(what: str, make: Callable[[], Theirs]) -> Theirs:
    begun = time.perf_counter()
    made = make()
    print(f"  {what}: {made.size:,} entries in {time.perf_counter() - begun:.1f} s", flush=True)
    return made


def run(folder: Path, vkey: str, scratch: Path, rounds: int, count: int) -> None:
    ours = Ours(folder, vkey, witnessed=False)
    print(f"  qflow: {ours.size:,} records")
    entries = ours.size // 10
    logs: dict[str, Ours | Theirs] = {
        "qflow": ours,
        f"qflow, {WITNESSES} witnesses": Ours(folder, vkey, witnessed=True),
        "pymerkle in memory": timed("in memory", lambda: Theirs(InmemoryTree(), entries)),
        "pymerkle in SQLite": timed(
            "in SQLite", lambda: Theirs(SqliteTree(str(scratch / "tree.db")), entries)
        ),
    }
    made: dict[str, list[float]] = {name: [] for name in logs}
    checked: dict[str, list[float]] = {name: [] for name in logs}
    sizes: dict[str, list[float]] = {name: [] for name in logs}
    chance = random.Random(7)
    for _ in range(rounds):
        for name, log in logs.items():
            taken = log.round([chance.randrange(log.size) for _ in range(count)])
            for all_of, figures in zip((made, checked, sizes), taken, strict=True):
                all_of[name].append(measure.median(figures))
    measure.table("make one, ms", made, digits=3)
    measure.table("check one, ms", checked, digits=3)
    measure.table("bytes of one", sizes, digits=0)
    worst = {name: max(figures) for name, figures in made.items()}
    print()
    for name in list(logs)[:2]:
        measure.judge(f"{name}: made in 2 ms", worst[name] < 2, f"{worst[name]:.3f} ms")
    slowest = max(checked["qflow"])
    measure.judge("checked in 0.2 ms", slowest < 0.2, f"{slowest:.3f} ms")
    largest = max(sizes["qflow"])
    measure.judge("a record of 300 bytes in 2 KiB", largest < 2048, f"{largest:,.0f} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = given.log or scratch / "log"
        key = given.key or folder.with_name(folder.name + ".vkey")
        vkey = key.read_text().strip() if given.log else history.make(folder, given.records)
        run(folder, vkey, scratch, given.rounds, given.count)


if __name__ == "__main__":
    main()
