"""The command as people run it: real processes, a real node, real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS_MAX = 60
HEAD = "document: {dsl: 1.0.3, namespace: test, name: NAME, version: 1.0.0}\n"
FLOWS = {
    "greet": 'do:\n  - greet: {set: {hello: "${ .name }"}}\n',
    "fail": (
        "do:\n  - no: {raise: {error: {type: 'https://example.com/no', status: 418,"
        " title: No tea}}}\n"
    ),
    "approve": (
        "do:\n"
        "  - ask: {listen: {to: {one: {with: {type: com.example.approved}}}}}\n"
        '  - answer: {set: {by: "${ .[0].by }"}}\n'
    ),
    "sleep": "do:\n  - sleep: {wait: {hours: 1}}\n",
}


class Home:
    """One home, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        self.flows = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("QFLOW_")
        } | {"QFLOW_HOME": str(self.path), "PYTHONWARNINGS": "default"}
        for name, body in FLOWS.items():
            (folder / f"{name}.yaml").write_text(HEAD.replace("NAME", name) + body)

    def flow(self, name: str) -> str:
        return str(self.flows / f"{name}.yaml")

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "qflow", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(
        self, *arguments: str, code: int = 0, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "qflow", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            input=input,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[dict[str, Any]]:
        """A node in a process of its own, stopped gracefully."""
        process = self.popen("serve", "--json", *arguments)
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready, process.communicate()[1]
            yield json.loads(ready)
        finally:
            process.send_signal(signal.SIGTERM)
            _, notes = process.communicate(timeout=SECONDS_MAX)
        assert process.returncode == 0, notes
        assert "Traceback" not in notes


@pytest.fixture
def qflow(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_init_makes_a_private_home_once(qflow: Home) -> None:
    made = qflow.json("init")
    assert stat.S_IMODE(qflow.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((qflow.path / "node.key").stat().st_mode) == 0o600
    key = (qflow.path / "node.key").read_bytes()
    again = qflow.json("init")
    assert again["made"] == []
    assert sorted(again["existing"]) == sorted(made["made"])
    assert (qflow.path / "node.key").read_bytes() == key
    assert "exists" in qflow("init").stdout


def test_a_flow_runs_and_leaves_a_history_that_verifies(qflow: Home) -> None:
    done = qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
    assert json.loads(done.stdout) == {"hello": "ada"}
    (execution,) = qflow.json("list")
    assert (execution["status"], execution["flow"]) == ("completed", "test/greet/1.0.0")
    shown = qflow.json("show", execution["id"][:24])
    assert shown["output"] == {"hello": "ada"}
    assert execution["id"] in qflow("show", execution["id"]).stdout
    records = [
        json.loads(line)
        for line in qflow("logs", execution["id"], "--json", "--payloads").stdout.splitlines()
    ]
    assert records[0]["type"] == "q.qflow.exec.created.v1"
    assert records[0]["value"] == {"name": "ada"}
    assert records[-1]["value"] == {"hello": "ada"}
    verdict = qflow.json("audit", "verify")
    assert (verdict["verdict"], verdict["findings"]) == ("UNANCHORED", [])
    assert qflow("audit", "verify").stdout.startswith("VERIFIED, UNANCHORED\n")


def test_run_tells_its_end_by_the_exit_code(qflow: Home) -> None:
    done = qflow("run", qflow.flow("fail"), code=1)
    assert done.stdout == ""
    assert "faulted: No tea" in done.stderr
    document = qflow.json("run", qflow.flow("fail"), code=1)
    assert (document["status"], document["problem"]["status"]) == ("faulted", 418)


def test_watch_prints_each_record_as_a_plain_line(qflow: Home) -> None:
    done = qflow("run", qflow.flow("greet"), "--input", '{"name": "a"}', "--watch")
    assert "step completed" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert json.loads(done.stdout) == {"hello": "a"}


def test_one_changed_byte_is_found(qflow: Home, tmp_path: Path) -> None:
    qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
    copy = tmp_path / "copy" / "log"
    shutil.copytree(qflow.path / "log", copy)
    key = (qflow.path / "node.pub").read_text().strip()
    found = qflow.json("audit", "verify", "--log", str(copy), "--key", key)
    assert (found["verdict"], found["ok"]) == ("UNANCHORED", True)
    segment = next(path for path in sorted((copy / "journal").iterdir()) if path.is_file())
    data = bytearray(segment.read_bytes())
    place = data.index(b"test/greet")
    data[place] ^= 1
    segment.write_bytes(data)
    found = qflow.json("audit", "verify", "--log", str(copy), "--key", key, code=1)
    assert found["verdict"] == "INVALID"
    assert found["findings"][0]["where"]
    text = qflow("audit", "verify", "--log", str(copy), "--key", key, code=1).stdout
    assert text.startswith("INVALID\n")


@pytest.mark.holds("H15")
def test_a_damaged_log_is_6_and_never_an_empty_answer(qflow: Home) -> None:
    qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
    (execution,) = qflow.json("list")
    for path in qflow.path.glob("index.db*"):
        path.unlink()
    segment = min((qflow.path / "log" / "journal").iterdir())
    data = bytearray(segment.read_bytes())
    data[data.index(b"test/greet")] ^= 1
    segment.write_bytes(data)
    for arguments in (
        ("list",),
        ("show", execution["id"]),
        ("logs", execution["id"]),
        ("pause", execution["id"]),
        ("index", "rebuild"),
        ("serve",),
        ("run", qflow.flow("greet")),
    ):
        done = qflow(*arguments, code=6)
        assert (done.stdout, "error: " in done.stderr) == ("", True)
    checks = {check["check"]: check["status"] for check in qflow.json("doctor", code=1)["checks"]}
    assert checks["log"] == "FAIL"


def test_commands_use_the_node_that_runs(qflow: Home) -> None:
    with qflow.serving() as ready:
        assert ready["ready"] is True
        done = qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
        assert json.loads(done.stdout) == {"hello": "ada"}
        waiting = qflow("run", qflow.flow("approve"), "--detach").stdout.strip()
        assert qflow.json("list", "--status", "waiting")[0]["id"] == waiting
        assert qflow.json("audit", "verify")["verdict"] == "UNANCHORED"
        data = ("--data", '{"by": "ada"}')
        assert qflow("emit", "--type", "com.example.other", *data, code=3).stdout == ""
        assert qflow("emit", "--type", "com.example.approved", *data).stdout == f"{waiting}\n"
        qflow("logs", waiting, "-f")
        assert qflow.json("show", waiting)["output"] == {"by": "ada"}
        assert {check["status"] for check in qflow.json("doctor")["checks"]} <= {"OK", "WARN"}
    assert not (qflow.path / "node.sock").exists()


@pytest.mark.holds("E5")
@pytest.mark.parametrize("with_node", [True, False])
def test_pause_holds_across_processes_until_resume(qflow: Home, with_node: bool) -> None:
    with qflow.serving():
        execution = qflow("run", qflow.flow("approve"), "--detach").stdout.strip()
        if with_node:
            qflow("pause", execution, "--reason", "lunch")
    if not with_node:
        assert qflow.json("pause", execution, "--reason", "lunch")["status"] == "paused"
    assert qflow.json("show", execution)["status"] == "paused"
    qflow("pause", execution, code=4)
    with qflow.serving():
        qflow("emit", "--type", "com.example.approved", "--data", '{"by": "ada"}')
        assert qflow.json("show", execution)["status"] == "paused"
        if with_node:
            qflow("resume", execution)
    if not with_node:
        qflow("resume", execution)
    with qflow.serving():
        qflow("logs", execution, "-f")
        assert qflow.json("show", execution)["output"] == {"by": "ada"}
    assert qflow.json("audit", "verify")["verdict"] == "UNANCHORED"


@pytest.mark.holds("E5")
def test_abort_holds_with_no_node_running(qflow: Home) -> None:
    with qflow.serving():
        execution = qflow("run", qflow.flow("sleep"), "--detach").stdout.strip()
    qflow("abort", execution, "--reason", "no longer needed")
    assert qflow.json("show", execution)["status"] == "aborted"
    assert "no longer needed" in qflow("logs", execution).stdout
    qflow("abort", execution, code=4)
    with qflow.serving() as ready:
        assert ready["executions"]["aborted"] == 1
    assert qflow.json("audit", "verify")["verdict"] == "UNANCHORED"


def test_an_interrupted_run_goes_on_when_a_node_starts(qflow: Home) -> None:
    process = qflow.popen("run", qflow.flow("approve"))
    assert process.stderr is not None
    execution = process.stderr.readline().split()[1]
    process.send_signal(signal.SIGINT)
    _, notes = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 130
    assert f"execution {execution} goes on when a node starts: qflow serve" in notes
    assert "Traceback" not in notes
    with qflow.serving():
        qflow("emit", "--type", "com.example.approved", "--data", '{"by": "ada"}')
        qflow("logs", execution, "-f")
        assert qflow.json("show", execution)["status"] == "completed"


def test_a_run_answers_other_commands(qflow: Home) -> None:
    process = qflow.popen("run", qflow.flow("approve"))
    assert process.stderr is not None
    execution = process.stderr.readline().split()[1]
    assert qflow.json("show", execution)["status"] in ("running", "waiting")
    qflow("abort", execution)
    _, notes = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 1
    assert "aborted" in notes


def test_two_nodes_do_not_share_a_home(qflow: Home) -> None:
    with qflow.serving():
        refused = qflow("serve", code=5)
        assert "error: " in refused.stderr
        qflow("index", "rebuild", code=5)
    qflow("index", "rebuild")


def test_the_index_can_be_deleted_and_made_anew(qflow: Home) -> None:
    qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
    before = qflow.json("list")
    for path in qflow.path.glob("index.db*"):
        path.unlink()
    assert qflow.json("index", "rebuild")["records"] > 0
    assert qflow.json("list") == before


def test_events_are_printed_as_they_happen(qflow: Home) -> None:
    with qflow.serving():
        process = qflow.popen("events", "--type", "q.qflow.exec.completed.v1", "--json")
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting for events of type q.qflow.exec.completed.v1\n"
        qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
        line, _ = process.communicate(timeout=SECONDS_MAX)
    assert json.loads(line)["type"] == "q.qflow.exec.completed.v1"


def test_a_reader_that_has_enough_is_no_error(qflow: Home) -> None:
    qflow("run", qflow.flow("greet"), "--input", '{"name": "ada"}')
    execution = qflow.json("list")[0]["id"]
    process = qflow.popen("logs", execution, "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(SECONDS_MAX)) == ("", 0)
    process.stderr.close()


def test_functions_come_from_files(qflow: Home, tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(
        "from qflow.steps import function\n\n\n"
        "@function\ndef add(a: int, b: int) -> int:\n    return a + b\n"
    )
    flow = tmp_path / "sum.yaml"
    flow.write_text(HEAD.replace("NAME", "sum") + "do:\n  - sum: {call: add, with: {a: 1, b: 2}}\n")
    refused = qflow("run", str(flow), code=1)
    assert "add" in refused.stderr
    functions = ("--functions", str(tmp_path / "sums.py"))
    assert qflow("run", str(flow), *functions).stdout == "3\n"
    assert qflow("validate", str(flow), code=1).stdout
    qflow("validate", str(flow), *functions)
    with qflow.serving(*functions):
        assert qflow("run", str(flow)).stdout == "3\n"


def test_the_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from qflow.cli import app; app(['--help'], standalone_mode=False);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    loaded = set(out.splitlines()[-1].split())
    assert not loaded & {"anyio", "msgspec", "structlog", "httpx2", "jsonschema_rs", "nacl"}
