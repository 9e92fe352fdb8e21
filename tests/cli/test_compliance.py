"""Reports by command: made, listed, shown, written and checked elsewhere."""

from __future__ import annotations

import json
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


def test_a_scope_is_said_and_kept(qflow: Run, ran: Path, rules: Path) -> None:
    base = ["audit", "comply", "--no-store", "--rules", str(rules)]
    assert qflow(*base, "--flow", "shop/*").exit_code == 0
    assert qflow(*base, "--until", "2001-01-01").exit_code == 0
    result = qflow(*base, "--flow", "bank/*", "--since", "2001-01-01")
    assert result.exit_code == 1
    assert "flow bank/*, since 2001-01-01 00:00:00" in result.stdout
