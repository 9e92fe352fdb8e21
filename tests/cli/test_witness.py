"""`qflow witness`: the key, the logs, the proofs, the service alone; and what the doctor says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import Result

from qflow import _core
from qflow.audit import Witness
from qflow.clock import SystemClock
from qflow.trust import load_or_create_key
from tests.audit.heads import SigningLog, leaves
from tests.conftest import ROOT

Run = Callable[..., Result]
LOG = SigningLog()


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def policy(home: Path, *, quorum: int = 1) -> Path:
    """A policy of two witnesses, named by the settings of the home."""
    lines = [
        f"witness w{number} {_core.generate_witness_vkey('w.example', seed(number))} http://x/"
        for number in (1, 2)
    ]
    file = home / "policy.txt"
    file.write_text("\n".join([*lines, f"group g {quorum} w1 w2", "quorum g\n"]))
    (home / "qflow.toml").write_text('[witness]\npolicy = "policy.txt"\n')
    return file


def seed(number: int) -> bytes:
    return bytes([number, *range(31)])


def check(result: Result, name: str) -> Any:
    return next(one for one in document(result)["checks"] if one["check"] == name)


def test_the_key_is_printed_as_a_line_of_a_policy(qflow: Run, home: Path) -> None:
    key = load_or_create_key(home)
    result = qflow("witness", "vkey")
    assert "add the URL" in result.stderr
    (home / "qflow.toml").write_text('[server]\nlisten = "127.0.0.1:8731"\n')
    line = qflow("witness", "vkey").stdout
    ((name, vkey, url),) = _core.Policy(f"{line}quorum none\n").witnesses
    assert (name, url) == (key.origin, "http://127.0.0.1:8731/witness")
    assert vkey == _core.generate_witness_vkey(key.origin, key.seed)
    assert document(qflow("witness", "vkey", "--json")) == {"name": name, "vkey": vkey, "url": url}


def test_logs_are_added_listed_and_removed(qflow: Run, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.pub"
    file.write_text(f"{LOG.vkey}\n")
    assert LOG.vkey in qflow("witness", "add", str(file)).stdout
    again = qflow("witness", "add", LOG.vkey)
    assert (again.exit_code, again.stdout) == (0, "")
    assert LOG.origin in qflow("witness", "list").stdout
    (log,) = document(qflow("witness", "list", "--json"))["logs"]
    assert (log["origin"], log["vkeys"], log["size"]) == (LOG.origin, [LOG.vkey], 0)
    assert qflow("witness", "remove", str(file)).exit_code == 0
    assert document(qflow("witness", "list", "--json"))["logs"] == []
    assert qflow("witness", "remove", str(file)).exit_code == 3


def test_what_is_no_key_is_a_wrong_usage(qflow: Run) -> None:
    result = qflow("witness", "add", "nonsense")
    assert result.exit_code == 2
    assert "not the verifier key of a log: 'nonsense'" in result.stderr


def test_a_private_key_given_by_mistake_is_not_shown(qflow: Run, home: Path) -> None:
    load_or_create_key(home)
    file = home / "node.key"
    secrets = [word for word in file.read_text("latin-1").split() if len(word) > 8]
    (home / "rules").write_text("SECRET of mine\n")
    assert secrets
    for arguments in (
        ("witness", "add", str(file)),
        ("witness", "remove", str(file)),
        ("audit", "verify", "--log", str(home), "--key", str(file)),
        ("audit", "check-receipt", str(file), "--key", str(file)),
        ("audit", "check-receipt", str(file), "--policy", str(file)),
        ("witness", "add", str(home / "rules")),
        ("audit", "check-receipt", str(file), "--policy", str(home / "rules")),
    ):
        (home / "tile").mkdir(exist_ok=True)
        result = qflow(*arguments)
        assert result.exit_code != 0
        assert str(home) in result.stderr
        for secret in (*secrets, "SECRET"):
            assert secret not in result.output + result.stderr
    (home / "qflow.toml").write_text('[witness]\nlogs_file = "node.key"\n')
    result = qflow("witness", "list")
    assert (result.exit_code, "node.key" in result.stderr) == (2, True)
    assert not [secret for secret in secrets if secret in result.output + result.stderr]


@pytest.mark.parametrize(
    "command", [("vkey",), ("list",), ("add", LOG.vkey), ("serve", "--listen", "127.0.0.1:0")]
)
def test_a_mistyped_home_makes_no_witness(
    qflow: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    wrong = tmp_path / "hme"
    result = qflow("--home", str(wrong), "witness", *command)
    assert (result.exit_code, "qflow init makes a home" in result.stderr) == (3, True)
    assert not wrong.exists()


@pytest.mark.holds("H16")
def test_a_log_that_signed_two_heads_of_one_size_is_shown_with_both(qflow: Run, home: Path) -> None:
    witness = Witness(home / "witness.db", load_or_create_key(home), SystemClock(), [LOG.vkey])
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    witness.add_checkpoint(LOG.request(leaves(5, "fork"), 5))
    witness.close()
    result = qflow("witness", "list")
    assert result.exit_code == 1
    for note in (LOG.head(leaves(5)), LOG.head(leaves(5, "fork"))):
        assert note.decode().splitlines()[2] in result.stdout
    (proof,) = document(qflow("witness", "list", "--json"))["equivocations"]
    assert proof["second"].encode() == LOG.head(leaves(5, "fork"))
    found = check(qflow("doctor", "--json"), "witness")
    assert (found["status"], LOG.origin in found["found"]) == ("WARN", True)


def test_a_witness_runs_without_a_node(home: Path) -> None:
    command = [sys.executable, "-m", "qflow", "witness", "serve", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        url = f"{ready['url']}/add-checkpoint"
        assert httpx2.post(url, content=LOG.request(leaves(5), 0)).status_code == 404
        add = [sys.executable, "-m", "qflow", "witness", "add", LOG.vkey]
        subprocess.run(add, check=True, env=environment, stdout=subprocess.DEVNULL)
        answer = httpx2.post(url, content=LOG.request(leaves(5), 0))
        assert _core.cosigned_at(LOG.head(leaves(5)) + answer.content, ready["vkey"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_serving_needs_an_address(qflow: Run) -> None:
    result = qflow("witness", "serve")
    assert (result.exit_code, "no address" in result.stderr) == (2, True)
    assert qflow("witness", "serve", "--listen", "nowhere").exit_code == 2


def test_the_doctor_counts_cosignatures(qflow: Run, home: Path) -> None:
    key = load_or_create_key(home)
    assert "none are asked" in check(qflow("doctor", "--json"), "witnesses")["found"]
    policy(home, quorum=2)
    found = check(qflow("doctor", "--json"), "witnesses")
    assert (found["status"], found["found"]) == ("WARN", "no head has been cosigned yet")
    log = _core.Log(str(home / "log"), origin=key.origin, seed=key.seed)
    log.append_durable([b"a record"])
    log.publish()
    note = (home / "log" / "checkpoint").read_text()
    for number, (status, words) in enumerate(
        [
            ("WARN", "1 of 2 witnesses cosigned the head of 1 record, quorum g not met"),
            ("OK", "2 of 2 witnesses cosigned the head of 1 record"),
        ],
        1,
    ):
        note += _core.cosign(note.encode(), key.vkey, "w.example", seed(number), 1)
        log.save_witnessed(note)
        found = check(qflow("doctor", "--json"), "witnesses")
        assert (found["status"], found["found"]) == (status, words)
    log.close()


def test_the_doctor_doubts_a_policy_that_names_the_log_itself(qflow: Run, home: Path) -> None:
    key = load_or_create_key(home)
    file = policy(home)
    own = _core.generate_witness_vkey(key.origin, key.seed)
    file.write_text(f"witness me {own} http://x/\nquorum me\n")
    found = check(qflow("doctor", "--json"), "witnesses")
    assert (found["status"], "own key" in found["found"]) == ("WARN", True)
