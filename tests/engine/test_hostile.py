from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qflow.engine._load import load_flow
from tests.engine import hostile

ROOT = Path(__file__).resolve().parent.parent.parent
CPU_S_MAX = 1.0
MEMORY_BYTES_MAX = 100 << 20


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What came of each, in a process of its own: one that dies is seen, and its memory is its."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.hostile"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-300:]}\n{done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.holds("E1")
def test_two_hundred_hostile_flows_end_in_a_clear_error(lines: list[dict[str, Any]]) -> None:
    assert len(lines) == 200
    assert [line for line in lines if line["outcome"] == "unclear"] == []
    wrong = [line for line in lines if line["expected"] and line["outcome"] != "refused"]
    assert wrong == []
    refused = Counter(line["kind"] for line in lines if line["outcome"] == "refused")
    assert min(refused.values()) > hostile.EACH // 2, refused


@pytest.mark.holds("E1")
def test_each_is_done_within_a_second(lines: list[dict[str, Any]]) -> None:
    slowest = max(lines, key=lambda line: float(line["cpu_s"]))
    assert slowest["cpu_s"] < CPU_S_MAX, slowest


@pytest.mark.holds("E1")
def test_all_together_take_less_than_a_hundred_mebibytes(lines: list[dict[str, Any]]) -> None:
    # The first is measured behind an ordinary flow, which has brought in every library.
    before = lines[0]["peak_bytes"]
    most = max(lines, key=lambda line: int(line["peak_bytes"]))
    assert most["peak_bytes"] - before < MEMORY_BYTES_MAX, most


def test_what_they_are_made_of_is_an_ordinary_flow() -> None:
    assert load_flow(hostile.ORDINARY).name == "hostile"


def test_they_are_the_same_every_time() -> None:
    assert list(hostile.corpus()) == list(hostile.corpus())
