"""Commands against a node that answers over the real socket, and with none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.api.stand_in import FLOW
from tests.cli.conftest import Behind

Run = Callable[..., Result]

COMMANDS = (
    "init", "serve", "run", "list", "show", "logs", "pause", "resume", "abort", "emit", "events",
    "schedule add", "schedule list", "schedule remove", "validate", "audit verify",
    "audit receipt", "audit check-receipt", "audit export", "audit verify-export",
    "audit comply", "audit reports", "audit report", "audit check-report",
    "audit hold", "audit release", "audit holds", "audit erase", "audit retain",
    "checkpoint create", "checkpoint list", "checkpoint show", "checkpoint restore",
    "checkpoint diff", "checkpoint prune",
    "state list", "state show", "state history", "state verify", "state delete", "state export",
    "state import", "state recover", "state sync", "state garbage",
    "doc list", "doc get", "doc set", "doc conflicts", "doc history", "doc compact",
    "index rebuild", "doctor", "config show", "version",
)  # fmt: skip


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(FLOW))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(qflow: Run, command: str) -> None:
    result = qflow(*command.split(), "--help", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert f"Example: qflow {command}" in result.stdout
    assert "--json" in result.stdout
    assert "--home" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_help_documents_every_exit_code(qflow: Run) -> None:
    listed = re.findall(r"^ +(\d+)  \w", qflow("--help").stdout, re.MULTILINE)
    assert listed == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130"]


def test_list_is_aligned_for_people_and_plain_in_a_pipe(qflow: Run, behind: Behind) -> None:
    first, second = behind.start(), behind.start()
    behind.add(first, "paused")
    result = qflow("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "FLOW", "STARTED", "TOOK"]
    assert [line.split()[0] for line in lines[1:]] == [second, first]
    assert [line.split()[1] for line in lines[1:]] == ["running", "paused"]
    column = lines[0].index("FLOW")
    assert all(line[column:].startswith("test/small/1.0.0  ") for line in lines[1:])
    assert "\x1b" not in result.stdout


def test_list_filters_and_pages(qflow: Run, behind: Behind) -> None:
    ids = [behind.start() for _ in range(5)]
    behind.add(ids[1], "paused")
    assert listed(qflow("list", "--status", "paused", "--json")) == [ids[1]]
    assert listed(qflow("list", "--limit", "2", "--json")) == [ids[4], ids[3]]
    assert listed(qflow("list", "--before", ids[1], "--json")) == [ids[0]]
    wrong = qflow("list", "--status", "sleeping")
    assert (wrong.exit_code, "running, waiting" in wrong.stderr) == (2, True)


def listed(result: Result) -> list[str]:
    return [item["id"] for item in json.loads(result.stdout)]


def test_json_of_an_execution_has_stable_keys(qflow: Run, behind: Behind) -> None:
    execution = behind.start()
    assert json.loads(qflow("show", execution, "--json").stdout).keys() >= {
        "id", "flow", "status", "started_at", "updated_at", "seq", "definition", "parent",
        "wake_at", "listens", "output", "problem",
    }  # fmt: skip


def test_global_and_local_options_mean_the_same(qflow: Run, behind: Behind, home: Path) -> None:
    execution = behind.start()
    for arguments in (
        ("--json", "--home", str(home), "show", execution),
        ("show", execution, "--json", "--home", str(home)),
        ("--home", str(home), "show", execution, "--json"),
    ):
        result = qflow(*arguments, env={"QFLOW_HOME": "/nowhere"})
        assert json.loads(result.stdout)["id"] == execution


def test_an_unknown_execution_is_3_and_says_what_to_do(qflow: Run, behind: Behind) -> None:
    result = qflow("show", "zz")
    assert result.exit_code == 3
    assert result.stderr == (
        "error: there is no execution 'zz'\nhint: qflow list shows the executions of this home\n"
    )
    assert result.stdout == ""
    document = json.loads(qflow("show", "zz", "--json").stderr)
    assert document["error"]["type"] == "ExecutionNotFoundError"


def test_a_wrong_state_is_4(qflow: Run, behind: Behind) -> None:
    execution = behind.start()
    assert qflow("pause", execution, "--reason", "lunch").exit_code == 0
    result = qflow("pause", execution)
    assert result.exit_code == 4
    assert "cannot be paused" in result.stderr


def test_no_node_is_5_where_one_is_needed(qflow: Run, flow: Path) -> None:
    for arguments in (
        ("emit", "--type", "a.b"),
        ("events",),
        ("schedule", "add", str(flow)),
        ("logs", "x", "-f"),
        ("run", str(flow), "--detach"),
    ):
        result = qflow(*arguments)
        assert result.exit_code == 5, arguments
        assert "qflow serve" in result.stderr


def test_a_home_without_history_is_empty_and_no_home_is_3(qflow: Run, tmp_path: Path) -> None:
    assert json.loads(qflow("list", "--json").stdout) == []
    assert qflow("show", "x").exit_code == 3
    result = qflow("list", "--home", str(tmp_path / "nowhere"))
    assert result.exit_code == 3
    assert "qflow init" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_logs_tell_each_fact_and_why_it_failed(qflow: Run, behind: Behind) -> None:
    execution = behind.start({"a": 1})
    problem = {"title": "No route", "detail": "to host", "status": 500}
    behind.add(execution, "step_failed", step="/do/0/call", attempt=2, payload="b1", value=problem)
    behind.add(execution, "suspended", meta={"listen": ["com.example.approved"]})
    behind.add(execution, "aborted", actor="local:ada", meta={"reason": "too late"})
    text = qflow("logs", execution).stdout
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3} +0  created", text)
    assert re.search(r"1  step failed +/do/0/call  \(attempt 2\)  No route: to host\n", text)
    assert "for com.example.approved" in text
    assert "by local:ada: too late" in text
    assert '"status":500' in qflow("logs", execution, "--payloads").stdout
    lines = [json.loads(line) for line in qflow("logs", execution, "--json").stdout.splitlines()]
    assert [line["seq"] for line in lines] == [0, 1, 2, 3]


def test_logs_follow_to_the_end(qflow: Run, behind: Behind) -> None:
    execution = behind.start()
    behind.add(execution, "completed", payload="b1", value={"ok": True})
    result = qflow("logs", execution, "-f", "--json", "--payloads")
    last = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, last["value"]) == (0, {"ok": True})


def test_nothing_in_a_record_can_steer_the_terminal(qflow: Run, behind: Behind) -> None:
    execution = behind.start()
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\r"
    behind.add(execution, "step_completed", step=f"/do/0/{evil}", payload="b", value={"x": evil})
    behind.add(execution, "paused", meta={"reason": evil})
    for arguments in (("logs", execution, "--payloads"), ("show", execution)):
        printed = qflow(*arguments).stdout
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", printed)


def test_emit_prints_who_took_it_and_3_when_nobody_did(qflow: Run, behind: Behind) -> None:
    arguments = ("emit", "--type", "com.example.paid", "--source", "/shop", "--data", '{"n": 1}')
    assert qflow(*arguments).exit_code == 3
    execution = behind.start()
    result = qflow(*arguments, "--subject", "order/1")
    assert (result.exit_code, result.stdout) == (0, f"{execution}\n")
    event = behind.node.emitted[-1]
    assert (event.type, event.source, event.subject) == ("com.example.paid", "/shop", "order/1")
    assert (event.data, event.datacontenttype) == ({"n": 1}, "application/json")


@pytest.mark.parametrize("data", ["{", "hello", '{"a":1,"a":2}', "NaN", "@nowhere.json"])
def test_data_that_is_not_json_is_2(qflow: Run, behind: Behind, data: str) -> None:
    result = qflow("emit", "--type", "a.b", "--data", data)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --data")
    assert not behind.node.emitted


def test_data_comes_from_a_file_or_stdin(qflow: Run, behind: Behind, tmp_path: Path) -> None:
    behind.start()
    (tmp_path / "data.json").write_text('{"from": "file"}')
    qflow("emit", "--type", "a.b", "--data", f"@{tmp_path}/data.json")
    qflow("emit", "--type", "a.b", "--data", "-", input='{"from": "stdin"}')
    assert [event.data for event in behind.node.emitted] == [{"from": "file"}, {"from": "stdin"}]


def test_schedules_come_and_go(qflow: Run, behind: Behind, flow: Path) -> None:
    assert qflow("schedule", "add", str(flow)).stdout == "test/small\n"
    assert [item["key"] for item in json.loads(qflow("schedule", "list", "--json").stdout)] == [
        "test/small"
    ]
    assert "PT1H" in qflow("schedule", "list").stdout
    assert qflow("schedule", "remove", "test/small").exit_code == 0
    assert json.loads(qflow("schedule", "list", "--json").stdout) == []


def test_run_detached_prints_the_id(qflow: Run, behind: Behind, flow: Path) -> None:
    result = qflow("run", str(flow), "--detach", "--input", '{"a": 1}')
    (execution,) = behind.node.executions
    assert result.stdout == f"{execution}\n"
    assert behind.node.records[execution][0]["value"] == {"a": 1}


@pytest.mark.parametrize(
    ("fact", "fields", "code"),
    [
        ("completed", {"value": {"sum": 3}}, 0),
        ("faulted", {"value": {"title": "No", "instance": "/do/0"}}, 1),
        ("aborted", {"meta": {"reason": "enough"}}, 1),
    ],
)
def test_run_prints_only_the_output_on_stdout_and_ends_as_the_execution(
    qflow: Run, behind: Behind, flow: Path, fact: str, fields: dict[str, Any], code: int
) -> None:
    finish_when_started(behind, fact, fields)
    result = qflow("run", str(flow))
    assert result.exit_code == code
    if code == 0:
        assert json.loads(result.stdout) == {"sum": 3}
    else:
        assert result.stdout == ""
        assert re.search(
            r"error: execution \w+ (faulted: No|aborted: Aborted: enough)\n", result.stderr
        )
    finish_when_started(behind, fact, fields)
    document = json.loads(qflow("run", str(flow), "--json").stdout)
    assert document.keys() == {"execution", "flow", "status", "output", "problem"}
    assert document["status"] == fact


def finish_when_started(behind: Behind, fact: str, fields: dict[str, Any]) -> None:
    """End the next execution once somebody looks at it."""

    async def finish() -> None:
        async with behind.node.subscribe("q.qflow.exec.created.v1") as events:
            event = await anext(events)
            behind.node.add(str(event.subject), "step_completed", step="/do/0/greet")
            behind.node.add(str(event.subject), fact, **fields)

    behind.soon(finish)


def test_functions_of_a_running_node_cannot_be_changed(
    qflow: Run, behind: Behind, flow: Path
) -> None:
    result = qflow("run", str(flow), "--functions", str(flow))
    assert result.exit_code == 2
    assert "qflow serve --functions" in result.stderr


def test_a_flow_that_is_not_there_is_2(qflow: Run) -> None:
    result = qflow("run", "nowhere.yaml")
    assert (result.exit_code, result.stderr) == (2, "error: nowhere.yaml: no such file\n")


def test_validate_names_file_line_and_column(qflow: Run, flow: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "document: {dsl: 1.0.3, namespace: a, name: b, version: 1.0.0}\n"
        "do:\n  - first:\n      sett: {x: 1}\n"
    )
    assert qflow("validate", str(flow)).exit_code == 0
    result = qflow("validate", str(flow), str(wrong))
    assert result.exit_code == 1
    assert re.search(rf"^{re.escape(str(wrong))}:\d+:\d+: /do/0/first", result.stdout, re.MULTILINE)
    reports = json.loads(qflow("validate", str(flow), str(wrong), "--json").stdout)
    assert [report["valid"] for report in reports] == [True, False]
    assert reports[1]["problems"][0]["line"] >= 3


def test_an_unknown_setting_is_2(qflow: Run, home: Path) -> None:
    (home / "qflow.toml").write_text("colour = 1\n")
    result = qflow("list")
    assert result.exit_code == 2
    assert "colour" in result.stderr


def test_config_show_says_where_each_value_comes_from(qflow: Run, home: Path) -> None:
    (home / "qflow.toml").write_text("[engine]\nattempts_in_flight_max = 3\n")
    shown = json.loads(
        qflow(
            "config", "show", "--json", "--home", str(home), env={"QFLOW_LOG_LEVEL": "debug"}
        ).stdout
    )
    assert shown["engine.attempts_in_flight_max"]["value"] == 3
    assert shown["engine.attempts_in_flight_max"]["origin"].endswith("qflow.toml:2")
    assert shown["log_level"] == {"value": "debug", "origin": "environment QFLOW_LOG_LEVEL"}
    assert shown["home"]["origin"] == "option --home"
    assert shown["subnet"]["origin"] == "default"
