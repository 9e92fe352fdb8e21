"""Builds the core once with each seeded fault, in a copy, and says which the tests find.

python -m tests.crdt.mutants.run [NAME...]

A fault must be found by the machine, by the hostile cases, or by the core's own tests. All must be.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.crdt.mutants.catalogue import CRDT, MUTANTS, ROOT, Mutant

CACHE = Path(os.environ.get("QFLOW_CACHE") or Path.home() / ".cache" / "qflow") / "mutants-crdt"
COPY = CACHE / "copy"
COPIED = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust", "python", "tests/__init__.py")
TESTS = "tests/crdt"
BUILD = ("cargo", "build", "--quiet", "-p", "qflow-python", "--features", "pyo3/extension-module")
CHECKS = {
    "the machine": (sys.executable, "-m", "tests.crdt.machine", "--steps", "3000", "--plain"),
    "hostile cases": (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                      "-c", "/dev/null", "--rootdir", ".", f"{TESTS}/test_byzantine.py"),
    "cargo test": ("cargo", "test", "--quiet", "-p", "qflow-core", "--lib", "crdt"),
}  # fmt: skip


def environment() -> dict[str, str]:
    python = os.pathsep.join((str(COPY / "python"), str(COPY)))
    return {**os.environ, "CARGO_TARGET_DIR": str(CACHE / "target"), "PYTHONPATH": python}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=COPY, env=environment(), capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as hung:
        return subprocess.CompletedProcess(command, 124, "", f"did not end: {hung}")


def copy() -> None:
    """Bring the copy up to date. Times of modification stay, so that only what changed is built."""
    for name in (*COPIED, TESTS):
        source, target = ROOT / name, COPY / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            continue
        shutil.rmtree(target, ignore_errors=True)
        unwanted = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(source, target, ignore=unwanted, dirs_exist_ok=True)
    # Cargo goes by times alone: the last fault of another run would be taken for what is here.
    (COPY / CRDT).parent.joinpath("lib.rs").touch()


def build() -> str:
    """What the compiler said against it; nothing if the module is built."""
    done = run(*BUILD)
    if done.returncode != 0:
        return done.stderr
    module = COPY / "python" / "qflow" / "_core.abi3.so"
    shutil.copyfile(CACHE / "target" / "debug" / "lib_core.so", module)
    return ""


def failing(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The checks that fail, each with the last line it said."""
    for name in names:
        done = run(*CHECKS[name])
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().splitlines()
            yield name, said[-1] if said else ""


def attempt(mutant: Mutant, checks: Iterable[str]) -> tuple[str, str]:
    file = COPY / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(mutant.applied(text), encoding="utf-8")
    try:
        if said := build():
            return "BROKEN", said.splitlines()[0]
        return next(failing(checks), ("", ""))
    finally:
        file.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args().names
    copy()
    if said := build():
        print(f"without a fault: {said}", file=sys.stderr)
        return 2
    # A check that fails without a fault would find each of them.
    useless = dict(failing(CHECKS))
    for name, said in useless.items():
        print(f"without a fault: {name} fails: {said}", file=sys.stderr)
    checks = [name for name in CHECKS if name not in useless]
    bad = len(useless)
    for mutant in MUTANTS:
        if chosen and mutant.name not in chosen:
            continue
        began = time.perf_counter()
        by, said = attempt(mutant, checks)
        bad += not by or by == "BROKEN"
        took = time.perf_counter() - began
        print(f"{mutant.name:42} {by or 'SURVIVED':14} {took:5.0f} s  {said[:90]}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
