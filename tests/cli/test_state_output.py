"""What `qflow checkpoint` and `qflow state` print, against a node that answers over the socket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from qflow.api._states import Change, Endpoint, Fault, Refused
from qflow.cli import _retain
from tests.cli.conftest import Behind
from tests.cli.stored import EVIL, EXECUTION, StoredStates, checkpoint

Run = Callable[..., Result]


@pytest.fixture
def states(behind: Behind) -> StoredStates:
    made = StoredStates(checkpoint(2, label="late"), checkpoint(1), checkpoint(0))
    behind.node.states = made
    return made


def documents(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.stderr
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def test_a_list_is_aligned_and_names_each_by_a_beginning_that_works(
    qflow: Run, states: StoredStates
) -> None:
    result = qflow("checkpoint", "list", "01k9x")
    head, *rows = result.stdout.splitlines()
    assert head.split()[:4] == ["CHECKPOINT", "EXECUTION", "MADE", "LABEL"]
    assert len(rows) == 3
    assert qflow("checkpoint", "show", rows[1].split()[0]).exit_code == 0
    assert states.items[1].cid in qflow("checkpoint", "show", rows[1].split()[0]).stdout
    column = head.index("LABEL")
    assert [row[column:].split()[:2] for row in rows] == [["late", "25"], ["-", "15"], ["-", "5"]]
    states.items[1] = checkpoint(1, label="x" * 30)
    assert f"  {'x' * 23}…  15 " in qflow("checkpoint", "list").stdout
    found = documents(qflow("checkpoint", "list", "--json"))
    assert [item["number"] for item in found] == [2, 1, 0]
    assert found[0].keys() >= {
        "cid", "execution", "number", "epoch", "previous", "at", "node", "seq", "head", "state",
        "flow", "status", "label", "description", "why", "size", "frames", "payloads",
    }  # fmt: skip


def test_a_list_takes_times_as_the_other_commands_do(qflow: Run, states: StoredStates) -> None:
    arguments = ("checkpoint", "list", "--since", "2026-01-02T03:04:05Z", "--label", "l*")
    assert qflow(*arguments, "-n", "2").exit_code == 0
    ((_, asked),) = states.calls
    assert (asked["since"], asked["until"], asked["limit"]) == (1_767_323_045_000, None, 2)
    assert asked["label"] == "l*"
    assert qflow("checkpoint", "list", "--since", "soon").exit_code == 2


def test_show_gives_the_place_in_the_chain_the_signer_and_the_pins(
    qflow: Run, states: StoredStates
) -> None:
    shown = qflow("checkpoint", "show", "01k9x").stdout
    for text in ("25, 0000", "did:key:zTest (trusted)", "12, 68.4 KiB", "9 blocks, 58.6 KiB",
                 "http://127.0.0.1:5001  pinned", "http://127.0.0.1:5002  owed: refused",
                 "matches", "late"):  # fmt: skip
        assert text in shown, text
    assert "payloads" not in shown
    found = documents(qflow("checkpoint", "show", "01k9x", "--json"))
    assert found["checkpoint"]["seq"] == 25
    assert [pin["status"] for pin in found["pins"]] == ["pinned", "owed"]


def test_what_was_erased_is_said_to_be(qflow: Run, states: StoredStates) -> None:
    names = ("flow", "status", "why", "size", "frames")
    states.items = [checkpoint(1, payloads="erased", **dict.fromkeys(names))]
    assert "erased" in qflow("checkpoint", "list").stdout
    shown = qflow("checkpoint", "show", "01k9x").stdout
    assert re.search(r"payloads +erased", shown)
    assert "size" not in shown


def test_create_prints_the_cid_and_is_durable(qflow: Run, states: StoredStates) -> None:
    made = qflow("checkpoint", "create", "01k9x", "--label", "x", "--description", "why not")
    assert made.stdout.startswith(states.items[0].cid)
    assert states.calls[0][1] | {"actor": ""} == {
        "label": "x", "description": "why not", "actor": ""
    }  # fmt: skip
    found = documents(qflow("checkpoint", "create", "01k9x", "--json"))
    assert (found["durable"], found["checkpoint"]["cid"]) == (True, states.items[0].cid)
    states.items = [checkpoint(0, status="completed")]
    assert qflow("checkpoint", "create", "01k9x").exit_code == 4


def test_restore_says_what_was_refused_and_which_is_taken(qflow: Run, states: StoredStates) -> None:
    states.refused = (Refused(cid="bafyreibad", why="its signature is not good"),)
    done = qflow("checkpoint", "restore", "01k9x")
    assert "refused   bafyreibad  its signature is not good" in done.stdout
    assert f"taken     {states.items[0].cid}" in done.stdout
    assert "6 records went to the log, 2 were there" in done.stdout
    assert "signature, seal" in done.stdout
    dry = qflow("checkpoint", "restore", "01k9x", "--dry-run")
    assert f"would take  {states.items[0].cid}" in dry.stdout
    assert [call[1][1] for call in states.calls] == [False, True]
    assert documents(qflow("checkpoint", "restore", "01k9x", "--json"))["records"] == 6


def test_what_an_execution_waits_for_is_restored_with_it_and_said(
    qflow: Run, states: StoredStates
) -> None:
    states.items[1] = checkpoint(1, execution="child-" + "0" * 20)
    done = qflow("checkpoint", "restore", "01k9x").stdout
    assert done.index(EXECUTION) < done.index("child-" + "0" * 20)
    states.missing = ("lost-" + "0" * 21,)
    assert qflow("checkpoint", "restore", "01k9x").exit_code == 4
    anew = qflow("checkpoint", "restore", "01k9x", "--children-anew")
    assert re.search(rf"anew +{states.missing[0]}", anew.stdout)
    assert documents(qflow("checkpoint", "restore", "01k9x", "--children-anew", "--json"))["anew"]


def test_a_difference_is_a_pointer_a_line_and_hides_values_when_asked(
    qflow: Run, states: StoredStates
) -> None:
    states.difference = (
        Change(path="/context/total", what="changed", old=1, new={"a": "secret"}),
        Change(path="/output", what="added", new="secret"),
        Change(path="/input", what="removed", cut=True),
    )
    told = qflow("checkpoint", "diff", "bafyreic1", "bafyreic2").stdout
    assert '~ /context/total  1 -> {"a":"secret"}' in told
    assert '+ /output  "secret"' in told
    assert "- /input  (too long to show)" in told
    assert "+ under way: /do/1/ask" in told
    assert "- under way: /do/0/look" in told
    hidden = qflow("checkpoint", "diff", "bafyreic1", "bafyreic2", "--paths").stdout
    assert "~ /context/total\n" in hidden
    assert "secret" not in hidden
    few = qflow("checkpoint", "diff", "bafyreic1", "bafyreic2", "-n", "1")
    assert "and 2 changes more" in few.stderr


def test_a_person_is_asked_before_checkpoints_go(
    qflow: Run, states: StoredStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_retain, "is_asked", lambda _: True)
    asked = qflow("checkpoint", "prune", "--keep", "2", input="n\n")
    assert "delete 1 checkpoint, here and where they are pinned?" in asked.stderr
    assert [call[1][2] for call in states.calls] == [True]
    assert qflow("checkpoint", "prune", "--keep", "2", input="y\n").exit_code == 0
    assert [call[1][2] for call in states.calls] == [True, True, False]
    asked = qflow("state", "delete", "01k9x", input="n\n")
    assert "delete every checkpoint of 01k9x?" in asked.stderr
    assert states.calls[-1][0] == "prune"
    assert qflow("state", "delete", "01k9x", "--yes").exit_code == 0
    assert states.calls[-1] == ("delete", "01k9x")


def test_prune_lists_what_goes(qflow: Run, states: StoredStates) -> None:
    dry = qflow("checkpoint", "prune", "--dry-run")
    assert dry.stdout.count("would go  ") == 2
    assert "would free 3 blocks, 999 B" in dry.stderr
    assert len(documents(qflow("checkpoint", "prune", "--yes", "--json"))["deleted"]) == 2


def test_states_are_listed_shown_and_followed_back(qflow: Run, states: StoredStates) -> None:
    listed = qflow("state", "list").stdout.splitlines()
    assert listed[0].split() == [
        "EXECUTION", "STATUS", "VERSIONS", "SIZE", "NEWEST", "OWED", "FLOW",
    ]  # fmt: skip
    states.items = states.items[:1]
    shown = qflow("state", "show", EXECUTION)
    assert "no: qflow checkpoint restore" in shown.stdout
    assert re.search(r"pins owed +1\n", shown.stdout)
    history = qflow("state", "history", EXECUTION).stdout.splitlines()
    assert history[0].split()[:3] == ["NUMBER", "CHECKPOINT", "AFTER"]
    assert history[1].endswith("did:key:zTest")
    assert qflow("state", "show", "zz").exit_code == 3
    states.items = []
    assert qflow("state", "history", "zz").exit_code == 3
    assert "no stored states" in qflow("state", "list").stderr


def test_verify_is_1_with_every_finding(qflow: Run, states: StoredStates) -> None:
    good = qflow("state", "verify")
    assert (good.exit_code, good.stdout.splitlines()[0]) == (0, "VERIFIED")
    states.faults = (Fault(where="bafyreix", what="not here", execution=EXECUTION),)
    bad = qflow("state", "verify")
    assert (bad.exit_code, bad.stdout.splitlines()[0]) == (1, "INVALID")
    assert f"{EXECUTION}: bafyreix: not here" in bad.stdout
    assert documents(qflow("state", "verify", "--json"), 1)["ok"] is False


def test_export_takes_an_absolute_path_and_never_replaces_by_itself(
    qflow: Run, states: StoredStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = qflow("state", "export", "01k9x", "--out", "a.car")
    assert done.exit_code == 0
    assert states.calls[-1] == ("export", (("01k9x",), str(tmp_path / "a.car"), True, False))
    assert "1, wrapped for the subnet" in done.stdout
    assert "restored anywhere else" in qflow("state", "export", "-o", "b", "--without-key").stdout
    (tmp_path / "a.car").write_bytes(b"")
    there = qflow("state", "export", "-o", "a.car")
    assert (there.exit_code, "--force" in there.stderr) == (2, True)
    assert qflow("state", "export", "-o", "a.car", "--force").exit_code == 0
    assert qflow("state", "export", "-o", str(tmp_path)).exit_code == 2
    assert "3, 2 of them subflows" in done.stdout
    states.refused = (Refused(cid="bafyreix", why="the key was destroyed"),)
    assert qflow("state", "export", "-o", "c.car").exit_code == 1
    states.refused, states.missing = (), ("lost-" + "0" * 21,)
    lost = qflow("state", "export", "-o", "d.car")
    assert lost.exit_code == 1
    assert f"missing   {states.missing[0]}" in lost.stdout


def test_import_and_recover_say_what_they_took_and_what_not(
    qflow: Run, states: StoredStates, tmp_path: Path
) -> None:
    file = tmp_path / "a.car"
    assert qflow("state", "import", str(file)).exit_code == 3
    file.write_bytes(b"")
    done = qflow("state", "import", str(file))
    assert done.exit_code == 0
    assert done.stdout.count("taken     ") == 3
    assert "3 checkpoints taken, 1 known; 12 blocks, 68.4 KiB, 1 key" in done.stderr
    states.refused = (Refused(cid="bafyreix", why="of another subnet", execution=EXECUTION),)
    states.endpoints = (Endpoint(endpoint="http://127.0.0.1:5001", error="no answer"),)
    done = qflow("state", "recover", "01k9x")
    assert done.exit_code == 1
    assert f"refused   bafyreix  {EXECUTION}: of another subnet" in done.stdout
    assert "failed    http://127.0.0.1:5001  no answer" in done.stdout
    found = documents(qflow("state", "import", str(file), "--json"), 1)
    assert found["refused"][0]["why"] == "of another subnet"


def test_sync_is_1_while_something_is_owed(qflow: Run, states: StoredStates) -> None:
    assert "no endpoints" in qflow("state", "sync").stderr
    states.endpoints = (Endpoint(endpoint="http://127.0.0.1:5001", pinned=3),)
    assert qflow("state", "sync").exit_code == 0
    states.endpoints = (Endpoint(endpoint="http://127.0.0.1:5001", owed=2),)
    assert qflow("state", "sync").exit_code == 1


def test_garbage_is_reported_and_collected_when_asked(qflow: Run, states: StoredStates) -> None:
    told = qflow("state", "garbage")
    assert "4 blocks, 999 B that no checkpoint names" in told.stdout
    assert "--collect" in told.stderr
    assert "collected 4 blocks" in qflow("state", "garbage", "--collect").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("checkpoint", "list"),
        ("checkpoint", "show", "01k9x"),
        ("checkpoint", "restore", "01k9x"),
        ("checkpoint", "diff", "bafyreic1", "bafyreic1"),
        ("checkpoint", "prune", "--yes"),
        ("state", "list"),
        ("state", "show", "01k9x"),
        ("state", "verify"),
        ("state", "recover"),
        ("state", "sync"),
    ],
)
def test_nothing_in_a_checkpoint_can_steer_the_terminal(
    qflow: Run, states: StoredStates, arguments: tuple[str, ...]
) -> None:
    evil = dict.fromkeys(("flow", "status", "label", "description", "why", "node"), f"x{EVIL}")
    states.items = [checkpoint(1, **evil)]
    if arguments[1] == "prune":
        states.items *= 2
    states.refused = (Refused(cid="bafyreix", why=EVIL, execution=EVIL),)
    states.faults = (Fault(where=EVIL, what=EVIL, execution=EVIL),)
    states.endpoints = (Endpoint(endpoint="http://x", error=EVIL),)
    states.difference = (Change(path=f"/{EVIL}", what="changed", old=EVIL, new={EVIL: 1}),)
    result = qflow(*arguments)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", result.stdout + result.stderr)
    assert "\\x1b" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("checkpoint", "show", "bafyreiz"), 3, "there is no checkpoint"),
        (("checkpoint", "show", ""), 2, "the checkpoint is empty"),
        (("checkpoint", "show", "\udcff"), 2, "is no UTF-8"),
        (("checkpoint", "create", " "), 2, "the execution is empty"),
        (("checkpoint", "create", "01k9x", "--label", ""), 2, "the label is empty"),
        (("checkpoint", "list", "--flow", ""), 2, "the flow is empty"),
        (("checkpoint", "restore", "zz"), 3, "qflow checkpoint list"),
        (("state", "delete", ""), 2, "the execution is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    qflow: Run, states: StoredStates, arguments: tuple[str, ...], code: int, says: str
) -> None:
    result = qflow(*arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert len(result.stderr.splitlines()) <= 3
