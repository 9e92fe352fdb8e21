"""Receipts from the command line: what is printed, what is written, and the exit codes."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from qflow import _core, model
from qflow.audit import Index
from qflow.trust import NodeKey, load_or_create_key
from tests.audit.chains import Chain, chain_id

Run = Callable[..., Result]
WITNESS = bytes([9]) * 32
ID = model.id_text(chain_id(1))


@pytest.fixture
def key(home: Path) -> NodeKey:
    """A home whose log has one execution: made, two steps, one of them tried twice, an end."""
    key = load_or_create_key(home)
    log = _core.Log(str(home / "log"), origin=key.origin, seed=key.seed)
    chain = Chain(chain_id(1), "shop/order/1.0.0")
    for fact in ("created", "step_completed", "step_failed", "completed"):
        log.append_durable(*chain.frame((fact, {}, {"about": fact})))
    index = Index(home / "index.db")
    index.catch_up(log)
    index.close()
    log.close()
    return key


def cosigned(home: Path, key: NodeKey) -> bytes:
    note = (home / "log/checkpoint").read_bytes()
    return note + _core.cosign(note, key.vkey, "w.example", WITNESS, 1_764_000_000).encode()


def policy(path: Path) -> str:
    witness = _core.generate_witness_vkey("w.example", WITNESS)
    (path / "policy").write_text(f"witness w {witness}\nquorum w\n")
    return str(path / "policy")


def document(result: Result) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(result.stdout)
    return made


def test_a_receipt_is_made_and_read_by_a_person(qflow: Run, key: NodeKey, tmp_path: Path) -> None:
    file = str(tmp_path / "one.tlog-proof")
    made = qflow("audit", "receipt", ID[:20], "--seq", "1", "-o", file)
    assert made.exit_code == 0, made.stderr
    said = f"step /do/0/a was completed, in execution {ID} of shop/order/1.0.0, on behalf of ann"
    assert said in made.stdout
    checked = qflow("audit", "check-receipt", file, "--key", key.vkey)
    assert checked.exit_code == 0
    assert checked.stdout.startswith(f"UNANCHORED  {file}\n")
    assert said in checked.stdout
    assert "record     1 of its chain, 1 of the log" in checked.stdout
    assert "note: the key" not in checked.stderr
    assert "note: the key" in qflow("audit", "check-receipt", file).stderr


def test_without_a_number_it_is_the_newest(qflow: Run, key: NodeKey, tmp_path: Path) -> None:
    file = str(tmp_path / "one.tlog-proof")
    made = document(qflow("audit", "receipt", ID, "-o", file, "--json"))
    assert (made["file"], made["index"]) == (file, 3)
    assert made["record"]["type"] == "q.qflow.exec.completed.v1"
    assert made["bytes"] == Path(file).stat().st_size
    assert made["execution"] == ID


@pytest.mark.usefixtures("key")
def test_a_copy_of_a_log_is_enough(qflow: Run, home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home / "log", tmp_path / "copy/log")
    file = str(tmp_path / "one.tlog-proof")
    arguments = ("--index", "2", "--log", str(copy), "-o", file)
    assert qflow("audit", "receipt", *arguments).exit_code == 0
    checked = document(qflow("audit", "check-receipt", file, "--json"))
    assert (checked["verdict"], checked["index"]) == ("UNANCHORED", 2)


@pytest.mark.holds("H16")
def test_exit_codes_are_those_of_the_verdicts(
    qflow: Run, key: NodeKey, home: Path, tmp_path: Path
) -> None:
    plain, witnessed = tmp_path / "plain.tlog-proof", tmp_path / "witnessed.tlog-proof"
    plain.write_bytes(_core.make_receipt(str(home / "log"), 1))
    head = cosigned(home, key)
    witnessed.write_bytes(_core.make_receipt(str(home / "log"), 1, head=head))
    broken = tmp_path / "broken.tlog-proof"
    broken.write_bytes(plain.read_bytes().replace(b"index 1", b"index 2"))
    other = _core.Log(str(tmp_path / "other"), origin=key.origin, seed=key.seed)
    other.append_durable([b"another"] * 4)
    (tmp_path / "head").write_text(other.head)
    other.close()
    rules, known = ("--policy", policy(tmp_path)), ("--known-head", str(tmp_path / "head"))
    for files, options, code in (
        ([plain], (), 0),
        ([witnessed], (), 0),
        ([witnessed], rules, 0),
        ([plain], rules, 7),
        ([witnessed, plain], rules, 7),
        ([plain], known, 8),
        ([witnessed, plain], (*rules, *known), 8),
        ([broken], (), 1),
        ([witnessed, plain, broken], (*rules, *known), 1),
    ):
        result = qflow("audit", "check-receipt", *map(str, files), "--key", key.vkey, *options)
        assert result.exit_code == code, (files, options, result.stdout)
    result = qflow("audit", "check-receipt", str(broken), "--key", key.vkey)
    assert result.stdout.splitlines()[0] == f"INVALID  {broken}"
    assert "another root" in result.stdout
    result = qflow("audit", "check-receipt", str(witnessed), "--key", key.vkey, *rules)
    assert "w (2025-11-24 16:00:00 UTC); the policy asks for w" in result.stdout


def test_what_cannot_be_is_refused_in_one_line(qflow: Run, key: NodeKey, tmp_path: Path) -> None:
    file = tmp_path / "one.tlog-proof"
    policy_file = tmp_path / "wrong"
    policy_file.write_text("quorum w\n")
    assert qflow("audit", "receipt", ID, "-o", str(file)).exit_code == 0
    for arguments, code, text in (
        (("receipt",), 2, "--index"),
        (("receipt", ID, "--index", "1"), 2, "--index"),
        (("receipt", ID, "--seq", "4"), 3, "its last is 3"),
        (("receipt", "zzzz"), 3, "zzzz"),
        (("receipt", "--index", "99"), 3, "not among the 4"),
        (("check-receipt", str(tmp_path / "none")), 3, "is not there"),
        (("check-receipt", str(file), "--key", str(tmp_path / "none")), 3, "node.pub is in the"),
        (("check-receipt", str(file), "--key", str(policy_file)), 1, "no verifier key"),
        (("check-receipt", str(file), "--policy", str(tmp_path / "none")), 3, "none is not there"),
        (("receipt", ID, "-o", str(file)), 2, "--force"),
        (("receipt", "--index", "9" * 23), 2, "less than 2^63"),
        (("check-receipt", str(file), "--policy", str(policy_file)), 2, "line 1"),
    ):
        result = qflow("audit", *arguments)
        assert (result.exit_code, text in result.stderr) == (code, True), result.stderr
        assert result.stdout == ""


@pytest.mark.holds("H16")
def test_a_policy_that_asks_nobody_is_met_by_what_is_unanchored(
    qflow: Run, key: NodeKey, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.tlog-proof"
    file.write_bytes(_core.make_receipt(str(home / "log"), 1, head=cosigned(home, key)))
    (tmp_path / "nobody").write_text("quorum none\n")
    asked = ("audit", "check-receipt", str(file), "--policy", str(tmp_path / "nobody"))
    result = qflow(*asked)
    assert (result.exit_code, result.stdout.split()[0]) == (0, "UNANCHORED")
    assert "the policy asks for no witness" in result.stdout


def test_a_receipt_is_replaced_only_when_that_is_asked_for(
    qflow: Run, key: NodeKey, tmp_path: Path
) -> None:
    file = tmp_path / "one.tlog-proof"
    file.write_text("mine")
    asked = ("audit", "receipt", "--index", "1", "-o", str(file))
    assert qflow(*asked).exit_code == 2
    assert file.read_text() == "mine"
    assert qflow(*asked, "--force").exit_code == 0
    assert qflow("audit", "check-receipt", str(file), "--key", key.vkey).exit_code == 0


@pytest.mark.usefixtures("key")
def test_a_full_disk_leaves_no_part_of_a_receipt(
    qflow: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "one.tlog-proof"
    monkeypatch.setattr("os.fsync", full)
    result = qflow("audit", "receipt", "--index", "1", "-o", str(file))
    assert result.exit_code == 1
    assert f"{file}: No space left" in result.stderr
    assert list(file.parent.iterdir()) == []


def test_a_record_that_was_pruned_is_said_to_be(
    qflow: Run, key: NodeKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> bytes:
        raise ValueError("tile/entries/000 was pruned with the records in it")

    monkeypatch.setattr("qflow.audit.make_receipt", gone)
    monkeypatch.setattr("qflow.cli._receipt._first_kept", lambda _: 3)
    result = qflow("audit", "receipt", "--index", "1", "-o", str(tmp_path / "x"))
    assert result.exit_code == 3
    assert "record 1 was pruned: the log keeps those from record 3 on" in result.stderr
    assert "running node" not in result.stderr


def test_texts_of_strangers_do_not_steer_the_terminal(
    qflow: Run, key: NodeKey, tmp_path: Path
) -> None:
    log = _core.Log(str(tmp_path / "log"), origin=key.origin, seed=key.seed)
    chain = Chain(chain_id(2), "shop/\x1b[2J\u202e/1")
    log.append_durable(*chain.frame(("step_completed", {}, {"of": "\x1b"})))
    log.close()
    file = tmp_path / "one.tlog-proof"
    file.write_bytes(_core.make_receipt(str(tmp_path / "log"), 0))
    printed = qflow("audit", "check-receipt", str(file), "--key", key.vkey).stdout
    assert "\\x1b[2J\\u202e" in printed
    assert "\x1b" not in printed
