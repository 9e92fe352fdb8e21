"""Exports on one core, beside pyarrow's own writers and Python's csv and json.

    python -m benches.bench_export [--log FOLDER] [--rounds R] [--core N]

Each export is a process of its own on one core: it reads the log, writes the file, hashes it, signs
the manifest and syncs both. The rivals write the same rows from batches that are in memory already,
prove nothing and sync nothing. Rounds alternate. Rows per second are of the time that the process
used the core; `wall` is of the clock, which waits for the disk too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benches import measure
from benches.history import ORIGIN, SEED, make

RECORDS: Final = 1_000_000
RIVAL_ROWS: Final = 200_000
MEMORY_MIB: Final = 300
TARGETS: Final = {
    "Arrow, batches taken": 3_000_000,
    "Arrow stream": 3_000_000,
    "Arrow file": 3_000_000,
    "Parquet": 2_500_000,
    "CSV": 1_000_000,
    "CSV, guarded": 1_000_000,
    "XML": 1_000_000,
    "JSON lines": 1_000_000,
}
ENDINGS: Final = {
    "Arrow stream": "arrows",
    "Arrow file": "arrow",
    "Parquet": "parquet",
    "CSV": "csv",
    "CSV, guarded": "csv",
    "XML": "xml",
    "JSON lines": "jsonl",
}


class Key:
    """The key of a log that `benches/history.py` made."""

    seed = SEED
    did = "did:key:bench"

    @property
    def vkey(self) -> str:
        from qflow import _core

        return _core.generate_vkey(ORIGIN, SEED)


def ours(name: str, log: Path, out: Path) -> int:
    from qflow.audit.export import LogFolder, export
    from qflow.clock import SystemClock

    folder = LogFolder(log)
    if name == "Arrow, batches taken":
        return sum(batch.num_rows for batch in folder.scan())
    path = out / f"ours.{ENDINGS[name]}"
    guarded = name == "CSV, guarded"
    done = export(folder, path, key=Key(), clock=SystemClock(), spreadsheet=guarded, force=True)
    return done.rows


def _pyarrow_csv(path: Path, batches: list[Any]) -> None:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # Its writer knows neither dictionaries nor bytes of a fixed length.
    plain = [pa.string() if pa.types.is_dictionary(t) else t for t in batches[0].schema.types]
    names = batches[0].schema.names
    plain[names.index("prev")] = pa.string()
    schema = pa.schema(list(zip(names, plain, strict=True)))
    with arrow_csv.CSVWriter(path, schema) as writer:
        for batch in batches:
            at = names.index("prev")
            hexed = pa.array([value.hex() for value in batch.column(at).to_pylist()])
            writer.write_batch(batch.set_column(at, "prev", hexed).cast(schema))


def _pyarrow_parquet(path: Path, batches: list[Any]) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _pyarrow_feather(path: Path, batches: list[Any]) -> None:
    import pyarrow as pa
    from pyarrow import feather

    feather.write_feather(pa.Table.from_batches(batches).unify_dictionaries(), path)


def _python_csv(path: Path, batches: list[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, batches[0].schema.names)
        writer.writeheader()
        for batch in batches:
            writer.writerows(batch.to_pylist())


def _python_json(path: Path, batches: list[Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            for row in batch.to_pylist():
                row["prev"], row["at"] = row["prev"].hex(), str(row["at"])
                row["meta"] = json.loads(row["meta"])
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


RIVALS: Final[dict[str, Callable[[Path, list[Any]], None]]] = {
    "pyarrow: parquet": _pyarrow_parquet,
    "pyarrow: feather": _pyarrow_feather,
    "pyarrow: csv": _pyarrow_csv,
    "Python: csv": _python_csv,
    "Python: json": _python_json,
}


def run(name: str, log: Path, out: Path) -> dict[str, float]:
    """One measurement, in this process."""
    from qflow.audit.export import LogFolder

    _warm()
    rows = []
    if name in RIVALS:
        rows = list(LogFolder(log).scan(end=min(RIVAL_ROWS, LogFolder(log).size)))
    cpu, wall = time.process_time(), time.perf_counter()
    if name in RIVALS:
        RIVALS[name](out / "rival", rows)
        count = sum(batch.num_rows for batch in rows)
    else:
        count = ours(name, log, out)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(path.stat().st_size for path in out.iterdir() if "manifest" not in path.name)
    return {"cpu": count / cpu, "wall": count / wall, "mib": peak, "bytes": size / count}


def _warm() -> None:
    """What takes long to import is no part of the rate."""
    for name in ("nacl.signing", "pyarrow.parquet", "qflow.audit.export"):
        import_module(name)


def rounds(log: Path, count: int, core: int) -> Iterator[tuple[str, dict[str, float]]]:
    for _ in range(count):
        for name in (*TARGETS, *RIVALS):
            with tempfile.TemporaryDirectory(prefix="qflow-bench-") as out:
                command = [sys.executable, "-m", "benches.bench_export", "--one", name]
                command += ["--log", str(log), "--out", out, "--core", str(core)]
                found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            yield name, json.loads(found.stdout)


def report(log: Path, count: int, core: int) -> None:
    found: dict[str, list[dict[str, float]]] = {}
    for name, figures in rounds(log, count, core):
        found.setdefault(name, []).append(figures)
    columns = (("cpu", "rows a second of one core", 0), ("wall", "rows a second of the clock", 0))
    for key, title, digits in (
        *columns,
        ("mib", "peak memory, MiB", 0),
        ("bytes", "bytes a row", 1),
    ):
        rows = {name: [one[key] for one in figures] for name, figures in found.items()}
        measure.table(title, rows, digits=digits)
    print()
    for name, target in TARGETS.items():
        rate = measure.median([one["cpu"] for one in found[name]])
        peak = max(one["mib"] for one in found[name])
        fits = rate >= target and peak < MEMORY_MIB
        measure.judge(
            f"{name}: {target:,} rows/s in {MEMORY_MIB} MiB", fits, f"{rate:,.0f} in {peak:.0f} MiB"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    parser.add_argument("--one")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.one:
        os.sched_setaffinity(0, {given.core})
        print(json.dumps(run(given.one, given.log, given.out)))
        return 0
    if given.log is not None:
        report(given.log, given.rounds, given.core)
        return 0
    with tempfile.TemporaryDirectory(prefix="qflow-bench-") as folder:
        made = Path(folder) / "log"
        make(made, RECORDS)
        report(made, given.rounds, given.core)
    return 0


if __name__ == "__main__":
    sys.exit(main())
