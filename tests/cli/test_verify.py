"""Verdicts from the command line: what is printed, and the exit codes."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from qflow import _core
from qflow.trust import NodeKey, load_or_create_key
from tests.audit.chains import Chain, chain_id

Run = Callable[..., Result]
WITNESS = bytes([9]) * 32


def write(home: Path, key: NodeKey, number: int, *facts: str) -> None:
    """Executions of these facts, and the head cosigned by one witness."""
    log = _core.Log(str(home / "log"), origin=key.origin, seed=key.seed)
    log.append_durable(*Chain(chain_id(number)).frame(*facts))
    note = log.head
    log.save_witnessed(
        note + _core.cosign(note.encode(), key.vkey, "w.example", WITNESS, 1_764_000_000)
    )
    log.close()


@pytest.fixture
def key(home: Path) -> NodeKey:
    key = load_or_create_key(home)
    write(home, key, 1, "created", "completed")
    return key


def policy(path: Path, *names: str) -> str:
    lines = [
        f"witness {name} {_core.generate_witness_vkey(f'{name}.example', bytes([9 + at]) * 32)}"
        for at, name in enumerate(names)
    ]
    text = "\n".join([*lines, f"group all all {' '.join(names)}", "quorum all", ""])
    (path / "policy").write_text(text)
    return str(path / "policy")


def test_without_a_policy_a_good_log_is_verified_and_unanchored(qflow: Run, key: NodeKey) -> None:
    done = qflow("audit", "verify")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("VERIFIED, UNANCHORED\nno policy was given")


def test_a_policy_that_is_met_is_witnessed(qflow: Run, key: NodeKey, tmp_path: Path) -> None:
    done = qflow("audit", "verify", "--policy", policy(tmp_path, "w"), "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["verdict"], found["ok"]) == (0, "WITNESSED", True)
    assert (found["witnessed"], found["cosignatures"]) == (2, {"w": 1_764_000_000})


@pytest.mark.holds("H16")
def test_a_policy_that_is_not_met_is_exit_code_7(qflow: Run, key: NodeKey, tmp_path: Path) -> None:
    done = qflow("audit", "verify", "--policy", policy(tmp_path, "w", "v"))
    assert done.exit_code == 7
    assert done.stdout.startswith("UNANCHORED\n1 of 2 witnesses cosigned")
    assert "missing: v" in done.stdout


@pytest.mark.holds("H16")
def test_a_log_that_was_set_back_is_exit_code_8(
    qflow: Run, key: NodeKey, home: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(home / "log", tmp_path / "older")
    write(home, key, 2, "created", "completed")
    head = str(tmp_path / "head")
    first = qflow("audit", "verify", "--known-head", head)
    assert first.exit_code == 0, first.stderr
    shutil.rmtree(home / "log")
    shutil.copytree(older, home / "log")
    done = qflow("audit", "verify", "--known-head", head, "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["verdict"], found["findings"]) == (8, "DIVERGED", [])
    assert "set back" in found["why"]


def test_damage_is_exit_code_1(qflow: Run, key: NodeKey, home: Path) -> None:
    (home / "log" / "witnessed").write_text("no head\n")
    done = qflow("audit", "verify")
    assert (done.exit_code, done.stdout.split("\n")[0]) == (1, "INVALID")
    assert "witnessed: " in done.stdout


def test_an_incremental_run_says_what_it_did_not_read(
    qflow: Run, key: NodeKey, home: Path, tmp_path: Path
) -> None:
    head = str(tmp_path / "head")
    asked = ("audit", "verify", "--known-head", head, "--incremental")
    assert qflow(*asked).exit_code == 0
    write(home, key, 2, "created", "completed")
    done = qflow(*asked)
    assert done.exit_code == 0, done.stderr
    assert "2 records, which an earlier run verified" in done.stdout
    Path(head + ".state").unlink()
    assert "all was read: there is no state" in qflow(*asked).stderr


def test_incremental_needs_a_known_head(qflow: Run, key: NodeKey) -> None:
    done = qflow("audit", "verify", "--incremental")
    assert done.exit_code == 2
    assert "--known-head" in done.stderr


@pytest.mark.holds("H16")
def test_a_policy_that_asks_nobody_makes_nothing_witnessed(
    qflow: Run, key: NodeKey, tmp_path: Path
) -> None:
    rules = tmp_path / "policy"
    rules.write_text("quorum none\n")
    done = qflow("audit", "verify", "--policy", str(rules))
    assert done.exit_code == 0
    assert done.stdout.startswith("VERIFIED, UNANCHORED\nthe policy asks for no witness")
    rules.write_text(f"log {_core.generate_vkey('other.example', bytes(32))}\nquorum none\n")
    done = qflow("audit", "verify", "--policy", str(rules))
    assert (done.exit_code, done.stdout.split("\n")[1]) == (7, "the policy does not list this log")


def test_what_is_not_there_is_named(qflow: Run, home: Path, tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    assert "has no history" in (done := qflow("audit", "verify")).stderr
    assert done.exit_code == 3
    for options, said in (
        (("--log", none), "there is no log in"),
        (("--log", str(tmp_path)), "there is no log in"),
        (("--key", none), f"{none} is not there\nhint: node.pub is in the home of the node"),
        (("--policy", none), f"{none} is not there\n"),
    ):
        if "--log" not in options and not (home / "log").exists():
            write(home, load_or_create_key(home), 1, "created", "completed")
        done = qflow("audit", "verify", *options)
        assert (done.exit_code, said in done.stderr) == (3, True), done.stderr
        assert "config show" not in done.stderr
    done = qflow("--home", none, "audit", "verify")
    assert (done.exit_code, "qflow init makes a home" in done.stderr) == (3, True)
    assert not Path(none).exists()


def test_a_full_disk_leaves_the_known_head(
    qflow: Run, key: NodeKey, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "mine").mkdir()
    head = tmp_path / "mine" / "head"
    assert qflow("audit", "verify", "--known-head", str(head)).exit_code == 0
    before = head.read_bytes()
    write(home, key, 2, "created", "completed")
    monkeypatch.setattr("os.fsync", full)
    done = qflow("audit", "verify", "--known-head", str(head))
    assert done.exit_code == 1
    assert f"{head}: No space left" in done.stderr
    assert [file.name for file in head.parent.iterdir()] == ["head"]
    assert head.read_bytes() == before
