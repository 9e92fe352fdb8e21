"""`qflow audit export` and `verify-export`: what they write, print and refuse."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from qflow import _core, model
from qflow.audit import export
from qflow.cli import _export
from qflow.trust import NodeKey, load_or_create_key
from tests.audit.chains import Chain, chain_id

Run = Callable[..., Result]


@pytest.fixture
def key(home: Path) -> NodeKey:
    return load_or_create_key(home)


@pytest.fixture
def log(home: Path, key: NodeKey) -> Path:
    """A log of two executions, closed; the second has not ended."""
    log = _core.Log(str(home / "log"), origin=key.origin, seed=key.seed)
    for number, end in ((1, "completed"), (2, "step_failed")):
        facts: tuple[Any, ...] = (("created", {}, {"of": number}), "step_completed", (end, {}, 1))
        log.append_durable(*Chain(chain_id(number)).frame(*facts))
    log.close()
    return home / "log"


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 1), result.output
    made: dict[str, Any] = json.loads(result.stdout)
    return made


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "csv", "xml", "parquet", "arrow", "arrows"])
def test_what_is_exported_verifies(qflow: Run, log: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    result = qflow("audit", "export", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert "rows      6" in result.stdout
    assert "proven by the signed root" in result.stdout
    result = qflow("audit", "verify-export", str(path))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("VERIFIED\n")
    assert "every record of the range is there" in result.stdout


def test_a_changed_export_is_invalid_and_names_the_row(
    qflow: Run, log: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    qflow("audit", "export", "-o", str(path), "--execution", model.id_text(chain_id(1)))
    path.write_bytes(path.read_bytes().replace(b'"actor":"ann"', b'"actor":"bob"', 1))
    result = qflow("audit", "verify-export", str(path))
    assert result.exit_code == 1
    assert result.stdout.startswith("INVALID\n")
    assert "record 1: does not name the record before it" in result.stdout
    report = document(qflow("audit", "verify-export", str(path), "--json"))
    assert report["verdict"] == "INVALID"
    assert report["findings"]


def test_queries_and_documents(qflow: Run, log: Path, tmp_path: Path, key: NodeKey) -> None:
    path = tmp_path / "a.csv"
    asked = ("--type", "exec.created", "--actor", "a*", "--since", "2020-01-01", "--limit", "9")
    done = document(qflow("audit", "export", "-o", str(path), *asked, "--json"))
    assert (done["rows"], done["completeness"], done["format"]) == (2, "claimed", "csv")
    assert done["manifest"] == f"{path}.manifest.json"
    report = document(
        qflow(
            *("audit", "verify-export", str(path), "--json"),
            *("--log", str(log), "--key", key.vkey),
        )
    )
    assert (report["verdict"], report["compared"], report["key_from"]) == (
        "VERIFIED",
        True,
        "--key",
    )
    assert report["query"]["type"] == "q.qflow.exec.created.v1"


def test_a_file_that_is_there_is_kept_unless_forced(qflow: Run, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("mine")
    result = qflow("audit", "export", "-o", str(path))
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert "--force" in result.stderr
    assert path.read_text() == "mine"
    assert qflow("audit", "export", "-o", str(path), "--force").exit_code == 0
    assert path.read_text().startswith("index,")


def test_what_cannot_be_is_refused_with_a_reason(qflow: Run, log: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.csv")
    refused: list[tuple[tuple[str, ...], int, str]] = [
        (("-o", str(tmp_path / "a.doc")), 2, "--format"),
        (("-o", out, "--format", "doc"), 2, "jsonl, csv, xml, parquet, arrow, arrows"),
        (("-o", str(tmp_path / "a.xml"), "--spreadsheet-safe"), 2, "CSV"),
        (("-o", "-", "--format", "parquet"), 2, "needs a file"),
        (("-o", out, "--first", "4", "--end", "2"), 2, "the log has records 0 to 5"),
        (("-o", out, "--execution", "x"), 3, "no execution"),
        (("-o", out, "--execution", "0", "--log", str(log), "--no-manifest"), 2, "not an id"),
        (("-o", ""), 2, "names no file"),
        (("-o", "-"), 2, "jsonl, csv, xml, parquet, arrow, arrows"),
        (("-o", out, "--log", str(tmp_path / "none"), "--no-manifest"), 3, "no folder of a log"),
        (("-o", out, "--log", str(log)), 2, "--no-manifest"),
        (("-o", out, "--witnessed"), 3, "no witness has cosigned"),
        (("-o", str(tmp_path / "none" / "a.csv")), 1, "none"),
    ]
    for options, code, text in refused:
        result = qflow("audit", "export", *options)
        assert result.exit_code == code, (options, result.output)
        assert text in result.stderr, (options, result.stderr)
    assert not list(tmp_path.glob("*.csv*"))


def test_another_log_is_exported_without_a_manifest(qflow: Run, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    options = ("--log", str(log), "--no-manifest")
    result = qflow("audit", "export", "-o", str(path), *options)
    assert result.exit_code == 0, result.output
    assert "nothing proves this file" in result.stdout
    assert "proven" not in result.stdout
    result = qflow("audit", "verify-export", str(path))
    assert result.exit_code == 1
    assert "no manifest" in result.stderr


def test_a_home_without_a_history_has_nothing_to_export(qflow: Run, tmp_path: Path) -> None:
    result = qflow("audit", "export", "-o", str(tmp_path / "a.csv"))
    assert result.exit_code == 3
    assert "no history" in result.stderr
    result = qflow("audit", "verify-export", str(tmp_path / "a.csv"))
    assert result.exit_code == 3


def test_an_execution_is_named_by_the_beginning_of_its_id(
    qflow: Run, log: Path, tmp_path: Path
) -> None:
    path, name = tmp_path / "a.csv", model.id_text(chain_id(2))
    result = qflow("audit", "export", "-o", str(path), "--execution", name[:16].upper())
    assert result.exit_code == 0, result.output
    report = document(qflow("audit", "verify-export", str(path), "--json"))
    assert report["query"] == {"execution": name}


def test_what_verify_export_cannot_go_by_is_refused(qflow: Run, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    qflow("audit", "export", "-o", str(path))
    for options, code, text in (
        (("--log", str(tmp_path / "none")), 3, "no folder of a log"),
        (("--log", str(tmp_path)), 3, "no checkpoint file"),
        (("--format", "doc"), 2, "jsonl, csv, xml, parquet, arrow, arrows"),
    ):
        result = qflow("audit", "verify-export", str(path), *options)
        assert result.exit_code == code, result.output
        assert text in result.stderr
    result = qflow("audit", "verify-export", str(path), "--format", "jsonl")
    assert result.exit_code == 1
    assert "is read as jsonl, written as csv" in result.stdout
    assert len(result.stdout.split("not proven\n")[1].splitlines()) == 1
    result = qflow("audit", "verify-export", str(path), "--key", str(log.parent / "node.pub"))
    assert f"key from  --key {log.parent / 'node.pub'}" in result.stdout


def test_rows_that_were_pruned_are_counted(
    qflow: Run, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    qflow("audit", "export", "-o", str(path))
    check = export.verify_export
    monkeypatch.setattr(
        export, "verify_export", lambda *a, **k: msgspec.structs.replace(check(*a, **k), pruned=1)
    )
    result = qflow("audit", "verify-export", str(path), "--log", str(log))
    assert result.exit_code == 0
    assert "1 row could not be compared: the log was pruned" in result.stderr


@pytest.mark.holds("H1")
@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_cut_file_of_columns_is_invalid(
    qflow: Run, log: Path, tmp_path: Path, ending: str, beside: bool
) -> None:
    path = tmp_path / f"a.{ending}"
    qflow("audit", "export", "-o", str(path))
    path.write_bytes(path.read_bytes()[:-700])
    if not beside:
        path.with_name(path.name + ".manifest.json").unlink()
    result = qflow("audit", "verify-export", str(path))
    assert result.exit_code == 1
    assert result.stdout.startswith("INVALID\n"), result.output
    assert "the file: is damaged" in result.stdout
    assert "C Data interface" not in result.stdout


def test_sigterm_during_an_export_leaves_nothing(
    qflow: Run, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_export, "_unseen", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    result = qflow("audit", "export", "-o", str(tmp_path / "a.csv"))
    assert result.exit_code == 130, result.output
    assert not [one for one in tmp_path.iterdir() if ".csv" in one.name]
    assert signal.getsignal(signal.SIGTERM) is before
