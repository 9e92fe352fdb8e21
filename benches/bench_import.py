"""What a first contact costs: imports, the command line, an installation of the wheel.

python -m benches.bench_import [--rounds N] [--installs N]
"""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benches import measure

ROOT = Path(__file__).resolve().parent.parent
IMPORT_MS_MAX = 150.0
INSTALL_S_MAX = 10.0
INSTALLED_MIB_MAX = 60.0
MODULES = ("qflow", "qflow.node", "qflow.cli")
TIMED = "import time; t = time.perf_counter(); import {0}; print((time.perf_counter() - t) * 1000)"


def environment() -> dict[str, str]:
    """Ours, without what only the rivals need."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def output(*command: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def seconds(*command: str) -> float:
    begun = time.perf_counter()
    output(*command)
    return time.perf_counter() - begun


def bench_imports(rounds: int) -> None:
    programs = {f"import {name}": (sys.executable, "-c", TIMED.format(name)) for name in MODULES}
    rows: dict[str, list[float]] = {name: [] for name in programs}
    rows |= {"python -c pass": [], "qflow --help": []}
    for _ in range(rounds + 1):
        for name, command in programs.items():
            rows[name].append(float(output(*command)))
        rows["python -c pass"].append(seconds(sys.executable, "-c", "pass") * 1000)
        rows["qflow --help"].append(seconds(sys.executable, "-m", "qflow", "--help") * 1000)
    # The first round compiled what had changed.
    measure.table(
        "milliseconds: imports inside a new process, programs as a whole",
        {name: figures[1:] for name, figures in rows.items()},
        digits=0,
    )
    took = measure.median(rows["import qflow"][1:])
    target = f"`import qflow` under {IMPORT_MS_MAX:.0f} ms"
    measure.judge(target, took < IMPORT_MS_MAX, f"{took:.0f} ms")


def wheel() -> Path:
    """The wheel of this checkout, built now: nothing to do when it was built already."""
    output("make", "--no-print-directory", "wheel")
    found = (ROOT / "dist").glob("*.whl")
    return max(found, key=lambda path: path.stat().st_mtime)


def disk_mib(folder: Path, without: set[str]) -> tuple[float, float]:
    """What was added to a folder: blocks counted whole as `du` does, and the bytes in the files."""
    new = [path for path in folder.iterdir() if path.name not in without]
    found = [path.lstat() for top in new for path in (top, *top.rglob("*"))]
    blocks = sum(item.st_blocks * 512 for item in found)
    contents = sum(item.st_size for item in found if stat.S_ISREG(item.st_mode))
    return blocks / (1 << 20), contents / (1 << 20)


def bench_install(installs: int) -> None:
    built = wheel()
    took: list[float] = []
    sizes: list[tuple[float, float]] = []
    for number in range(installs + 1):
        with tempfile.TemporaryDirectory(prefix="qflow-bench-") as folder:
            output(sys.executable, "-m", "venv", folder)
            (site,) = Path(folder).glob("lib/python*/site-packages")
            before = {path.name for path in site.iterdir()}
            python = str(Path(folder) / "bin" / "python")
            once = seconds(python, "-m", "pip", "install", "--quiet", str(built))
            if number:  # The first one filled pip's cache.
                took.append(once)
                sizes.append(disk_mib(site, before))
            output(str(Path(folder) / "bin" / "qflow"), "version")
    size = built.stat().st_size / (1 << 20)
    measure.table(
        f"pip install of the wheel ({size:.1f} MiB) and what it needs, in an empty environment",
        {
            "seconds, cache warm": took,
            "MiB on the disk": [blocks for blocks, _ in sizes],
            "MiB in the files": [contents for _, contents in sizes],
        },
        digits=1,
    )
    slow, large = measure.median(took), measure.median([blocks for blocks, _ in sizes])
    measure.judge(f"under {INSTALL_S_MAX:.0f} s", slow < INSTALL_S_MAX, f"{slow:.2f} s")
    target = f"under {INSTALLED_MIB_MAX:.0f} MiB without pyarrow"
    measure.judge(target, large < INSTALLED_MIB_MAX, f"{large:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--installs", type=int, default=3)
    options = parser.parse_args()
    bench_imports(options.rounds)
    bench_install(options.installs)


if __name__ == "__main__":
    main()
