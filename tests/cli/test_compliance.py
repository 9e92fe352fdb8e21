"""Reports by command: made, listed, shown, written and checked elsewhere."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import Result

from qflow.config import Config
from qflow.node import Node

Run = Callable[..., Result]

FLOW = """\
document: {dsl: '1.0.3', namespace: bank, name: pay, version: '1.0.0'}
do: [{a: {set: {x: 1}}}]
"""
RULES = """\
version = 1
[[rule]]
id = "no-pay"
kind = "forbidden-flow"
flow = "bank/pay"
text = "Nothing is paid."
"""


@pytest.fixture
def ran(home: Path) -> Path:
    """A home in which one execution ran, by somebody with a hostile name."""

    async def main() -> None:
        async with Node(Config(home=home)) as node:
            await node.run(FLOW, {}, actor="eve\x1b[31m<b>")

    anyio.run(main)
    return home


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_clean_history_is_reported_listed_and_shown(qflow: Run, ran: Path) -> None:
    made = qflow("audit", "comply")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("0 errors, 0 warnings, 0 notices\n")
    (listed,) = document(qflow("audit", "reports", "--json"))
    shown = qflow("audit", "report", listed["id"][:12])
    assert shown.exit_code == 0
    assert shown.stdout == made.stdout


def test_findings_of_severity_error_are_the_exit_code(
    qflow: Run, ran: Path, rules: Path, tmp_path: Path
) -> None:
    made = qflow("audit", "comply", "--rules", str(rules), "--receipts", str(tmp_path / "proofs"))
    assert made.exit_code == 1
    assert "error: no-pay: " in made.stdout
    (receipt,) = (tmp_path / "proofs").iterdir()
    assert qflow("audit", "check-receipt", str(receipt)).exit_code == 0
    rules.write_text(RULES + "severity = 'warning'\n")
    assert qflow("audit", "comply", "--rules", str(rules)).exit_code == 0


def test_what_is_not_to_be_stored_is_not(qflow: Run, ran: Path, rules: Path) -> None:
    made = qflow("audit", "comply", "--no-store", "--json", "--rules", str(rules))
    assert made.exit_code == 1
    answer = document(made)
    assert (answer["ok"], answer["stored"]) == (False, False)
    assert [finding["rule"] for finding in answer["findings"]] == ["no-pay"]
    assert document(qflow("audit", "reports", "--json")) == []


def test_a_report_file_is_checked_anywhere_and_read_as_a_page(
    qflow: Run, ran: Path, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, page, key = tmp_path / "r.json", tmp_path / "r.html", tmp_path / "key.pub"
    qflow("audit", "comply", "--rules", str(rules), "-o", str(file))
    key.write_bytes((ran / "node.pub").read_bytes())
    monkeypatch.setenv("QFLOW_HOME", str(tmp_path / "nowhere"))
    checked = qflow("audit", "check-report", str(file), "--key", str(key), "-o", str(page))
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.startswith("VERIFIED")
    assert "by eve\\u{1b}[31m&lt;b&gt;" in page.read_text()
    text = file.read_text().replace('"signatures"', '"signature"', 1)
    file.write_text(text)
    refused = qflow("audit", "check-report", str(file), "--key", str(key))
    assert refused.exit_code == 1
    assert refused.stdout.startswith("INVALID")
    answer = document(qflow("audit", "check-report", str(file), "--key", str(key), "--json"))
    assert answer["verdict"] == "INVALID"


def test_what_is_wrong_with_the_rules_is_said_with_its_line(
    qflow: Run, ran: Path, rules: Path
) -> None:
    rules.write_text(RULES.replace('kind = "forb', 'kind = "fob'))
    result = qflow("audit", "comply", "--rules", str(rules))
    assert result.exit_code == 2
    assert "rules.toml:4: unknown kind" in result.stderr
    assert "did you mean 'forbidden-flow'" in result.stderr
    assert "hint: " in result.stderr
    assert qflow("audit", "comply", "--rules", str(rules.parent / "none")).exit_code == 3


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["-o", "report.pdf"], 2),
        (["--flow", ""], 2),
        (["--flow", "\udcff"], 2),
        (["--since", "soon"], 2),
        (["--since", "2026-01-02", "--until", "2026-01-01"], 2),
    ],
)
def test_options_that_make_no_sense_are_refused(
    qflow: Run, ran: Path, options: list[str], code: int
) -> None:
    result = qflow("audit", "comply", *options)
    assert result.exit_code == code
    assert "Traceback" not in result.output


def test_without_a_history_there_is_nothing_to_judge(qflow: Run, home: Path) -> None:
    for command in (["comply"], ["comply", "--no-store"], ["reports"], ["report", "x"]):
        assert qflow("audit", *command).exit_code == 3, command


def test_a_file_that_cannot_be_written_leaves_no_report(
    qflow: Run, ran: Path, tmp_path: Path
) -> None:
    there, folder = tmp_path / "r.json", tmp_path / "folder.json"
    there.write_text("mine")
    folder.mkdir()
    for file in (there, folder, tmp_path / "none" / "r.json"):
        result = qflow("audit", "comply", "-o", str(file))
        assert (result.exit_code, str(file) in result.stderr) == (2, True), result.stderr
    blocked = qflow("audit", "comply", "--receipts", str(there))
    assert (blocked.exit_code, str(there) in blocked.stderr) == (2, True)
    assert there.read_text() == "mine"
    assert document(qflow("audit", "reports", "--json")) == []


def test_a_file_is_only_overwritten_when_asked(qflow: Run, ran: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    assert qflow("audit", "comply", "-o", str(file)).exit_code == 0
    (listed,) = document(qflow("audit", "reports", "--json"))
    made = file.read_bytes()
    file.write_text("mine")
    for command in (["comply"], ["report", listed["id"]]):
        refused = qflow("audit", *command, "-o", str(file))
        assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    assert file.read_text() == "mine"
    assert len(document(qflow("audit", "reports", "--json"))) == 1
    assert qflow("audit", "report", listed["id"], "-o", str(file), "--force").exit_code == 0
    assert file.read_bytes() == made


def test_a_full_disk_leaves_nothing_half_written(
    qflow: Run, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    file = tmp_path / "out" / "r.json"
    file.parent.mkdir()
    result = qflow("audit", "comply", "-o", str(file))
    assert result.exit_code == 6
    assert f"{file} was not written: No space left" in result.stderr
    assert "hint: it is on record: qflow audit report " in result.stderr
    assert list(file.parent.iterdir()) == []


def test_what_is_no_report_is_said(qflow: Run, ran: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert qflow("audit", "comply", "-o", str(page)).exit_code == 0
    refused = qflow("audit", "check-report", str(page))
    assert (refused.exit_code, "check the report itself, the .json" in refused.stdout) == (1, True)
    assert qflow("audit", "check-report", str(tmp_path / "none.json")).exit_code == 3
    for name in ("", "\udcff"):
        assert qflow("audit", "report", name).exit_code == 2
    unknown = qflow("audit", "report", "zz")
    assert (unknown.exit_code, "hint: qflow audit reports" in unknown.stderr) == (3, True)


def test_retention_is_judged_after_holds_and_erasures(
    qflow: Run, ran: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "old.toml"
    rules.write_text(
        'version = 1\n[[rule]]\nid = "old"\nkind = "retention"\ndays = 0\ntext = "It goes."\n'
    )
    command = ("audit", "comply", "--rules", str(rules))
    assert qflow(*command).exit_code == 1
    (execution,) = document(qflow("list", "--json"))
    held = document(qflow("audit", "hold", "--flow", "shop/x", "--reason", "x", "--json"))
    # A report is a record that this rule does not look at, between those that it does.
    assert qflow(*command).exit_code == 1
    assert qflow("audit", "erase", execution["id"], "--reason", "x", "--yes").exit_code == 0
    assert qflow("audit", "release", held["hold"]["id"], "--reason", "x").exit_code == 0
    for more in ([], ["--flow", "bank/*"]):
        result = qflow(*command, *more)
        assert result.exit_code == 0, result.output


def test_a_scope_is_said_and_kept(qflow: Run, ran: Path, rules: Path) -> None:
    base = ["audit", "comply", "--no-store", "--rules", str(rules)]
    assert qflow(*base, "--flow", "shop/*").exit_code == 0
    assert qflow(*base, "--until", "2001-01-01").exit_code == 0
    result = qflow(*base, "--flow", "bank/*", "--since", "2001-01-01")
    assert result.exit_code == 1
    assert "flow bank/*, since 2001-01-01 00:00:00" in result.stdout
