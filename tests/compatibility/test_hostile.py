"""Hostile flows end to end: those that load end in a clear error, the rest is named by its line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qflow import audit
from qflow.model import ERRORS
from tests.engine import hostile

ROOT = Path(__file__).resolve().parent.parent.parent
CPU_S_MAX = 1.0
MEMORY_BYTES_MAX = 100 << 20
FAULT_BYTES_MAX = 2000
LOADED_MIN = 8
YAML_BYTES_MAX = 256 << 10


def bytes_of(item: hostile.Hostile) -> bytes:
    return item.text if isinstance(item.text, bytes) else item.text.encode()


STREAMS = {
    number for number, item in enumerate(hostile.corpus()) if b"repeat(.) }" in bytes_of(item)
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "python"), str(ROOT)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QFLOW_")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": paths, "QFLOW_SECRET_KEY": "needed by the calls of the flows"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "home"


@pytest.fixture(scope="module")
def lines(home: Path) -> list[dict[str, Any]]:
    """What came of each, in a process of its own: one that dies is seen, and its memory is its."""
    done = run("tests.compatibility.hostile_runs", str(home))
    assert done.returncode == 0, f"{done.stdout[-300:]}\n{done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.holds("E4")
def test_endless_expressions_end_in_a_clear_error(lines: list[dict[str, Any]]) -> None:
    assert len(lines) >= LOADED_MIN
    for line in lines:
        if line["status"] == "waiting":
            # An endless stream that begins with a value: the flow took it, and went on.
            assert line["number"] in STREAMS, line
            continue
        assert line["status"] == "faulted", line
        problem = line["problem"]
        assert problem["type"] == ERRORS + "expression", line
        assert problem["instance"].endswith("/take"), line
        assert problem["detail"], line
        assert len(json.dumps(problem)) < FAULT_BYTES_MAX, line


@pytest.mark.holds("E4")
def test_each_of_them_is_done_within_a_second(lines: list[dict[str, Any]]) -> None:
    slowest = max(lines, key=lambda line: float(line["cpu_s"]))
    assert slowest["cpu_s"] < CPU_S_MAX, slowest


@pytest.mark.holds("E4")
def test_each_of_them_takes_less_than_a_hundred_mebibytes(lines: list[dict[str, Any]]) -> None:
    largest = max(lines, key=lambda line: int(line["grown_bytes"]))
    assert largest["grown_bytes"] < MEMORY_BYTES_MAX, largest


def test_the_history_of_their_node_verifies(lines: list[dict[str, Any]], home: Path) -> None:
    assert lines
    report = audit.verify(home / "log", home / "node.pub")
    assert report.ok, report


def sample(folder: Path) -> list[Path]:
    """The first of each kind that is refused for what is in it, not unread for its size."""
    files: dict[str, Path] = {}
    for item in hostile.corpus():
        data = bytes_of(item)
        if item.must_fail and len(data) < YAML_BYTES_MAX and item.kind not in files:
            path = files[item.kind] = folder / f"{item.kind}.yaml"
            path.write_bytes(data)
    return list(files.values())


@pytest.mark.holds("E1")
def test_validate_names_the_file_and_the_line(tmp_path: Path) -> None:
    files = sample(tmp_path)
    assert len(files) == 5
    done = run("qflow", "--home", str(tmp_path / "home"), "validate", *map(str, files))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    for file in files:
        (line, *_) = [line for line in done.stdout.splitlines() if line.startswith(f"{file}:")]
        assert re.match(re.escape(str(file)) + r":\d+:\d+: \S", line), line
