"""`qflow audit query`: what it prints, with a running node and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from qflow import _core, model
from qflow.audit import Index
from qflow.cli._query import HEADERS
from tests.audit.chains import Chain, chain_id
from tests.cli.conftest import Behind

ONE, TWO = (model.id_text(chain_id(number)) for number in (1, 2))
Run = Callable[..., Result]


@pytest.fixture
def log(home: Path) -> _core.Log:
    """Two executions, one of which is over, and an index that has seen the first."""
    log = _core.Log(str(home / "log"), origin="qflow.node/test", seed=bytes(range(32)))
    ends: list[Any] = [("completed", {}, 1), ("step_failed", {"note": "Out of paper"}, {})]
    for number, end in enumerate(ends, 1):
        log.append_durable(*Chain(chain_id(number)).frame(("created", {}, {}), end))
        if number == 1:
            index = Index(home / "index.db")
            index.catch_up(log)
            index.close()
    log.publish()
    (home / "node.pub").write_text(log.vkey)
    return log


def documents(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_records_are_shown_as_a_table(qflow: Run, log: _core.Log) -> None:
    result = qflow("audit", "query", "--type", "exec.created", "--since", "2020-01-01")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == list(HEADERS)
    assert [row.split()[3] for row in rows] == [ONE, TWO]
    assert "2 records, all that there are among 4" in result.stderr


def test_each_record_is_a_document_and_the_last_says_how_to_go_on(
    qflow: Run, log: _core.Log
) -> None:
    first, end = documents(qflow("audit", "query", "--limit", "1", "--json"))
    assert (first["index"], first["execution"], first["type"]) == (
        0,
        ONE,
        "q.qflow.exec.created.v1",
    )
    rest = documents(qflow("audit", "query", "--after", end["page"]["next"], "--json"))
    assert [one["index"] for one in rest[:-1]] == [1, 2, 3]
    assert rest[-1] == {"page": {"found": 3, "next": None, "size": 4, "ended": None}}
    every = documents(qflow("audit", "query", "--limit", "0", "--reverse", "--json"))
    assert [one["index"] for one in every[:-1]] == [3, 2, 1, 0]


def test_a_running_node_is_not_disturbed_and_its_newest_records_are_found(
    qflow: Run, log: _core.Log, home: Path, behind: Behind
) -> None:
    found = documents(qflow("audit", "query", "--text", "paper", "--json"))
    assert [one["index"] for one in found[:-1]] == [3]
    found = documents(qflow("audit", "query", "--execution", ONE[:10], "--json"))
    assert found[-1]["page"]["ended"] is True
    index = Index(home / "index.db")
    assert index.size == 2
    index.close()


@pytest.mark.holds("H20")
def test_one_execution_is_told_to_have_no_gap(qflow: Run, log: _core.Log) -> None:
    over = qflow("audit", "query", "--execution", ONE)
    assert "no gap, and it is over" in over.stderr
    assert "no gap, and it goes on" in qflow("audit", "query", "--execution", TWO).stderr


def test_receipts_are_written_and_hold(qflow: Run, log: _core.Log, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    assert qflow("audit", "query", "--execution", ONE, "--receipts", str(folder)).exit_code == 0
    files = sorted(map(str, folder.iterdir()))
    assert len(files) == 2
    assert qflow("audit", "check-receipt", *files).exit_code == 0


@pytest.mark.holds("H15")
@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (["--execution", "zz"], 3, "there is no execution"),
        (["--text", "--"], 2, "no word"),
        (["--after", "1.abc"], 2, "no cursor of this query"),
        (["--since", "yesterday"], 2, "is no time"),
        (["--since", "1h", "--until", "2h"], 2, "since is not before until"),
    ],
)
def test_what_cannot_be_asked_is_an_error_of_one_line(
    qflow: Run, log: _core.Log, options: list[str], code: int, why: str
) -> None:
    result = qflow("audit", "query", *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert why in result.stderr


def test_a_home_without_a_history_says_so(qflow: Run) -> None:
    result = qflow("audit", "query")
    assert result.exit_code == 3
    assert "no node ever ran there" in result.stderr


@pytest.mark.holds("H15")
def test_a_damaged_index_beside_a_running_node_is_an_error(
    qflow: Run, log: _core.Log, home: Path, behind: Behind
) -> None:
    (home / "index.db").write_bytes(b"noise" * 1000)
    result = qflow("audit", "query")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "index rebuild" in result.stderr
