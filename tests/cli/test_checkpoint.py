"""Checkpoints by commands, in real processes: killed nodes, second homes, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.cli.test_processes import SECONDS_MAX, Home

APPROVED = ("emit", "--type", "com.example.approved", "--data", '{"by": "ada"}')


@pytest.fixture
def qflow(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def other(tmp_path: Path, qflow: Home) -> Home:
    """A second home, on another machine for all that it knows; it has the key of the first."""
    folder = tmp_path / "other"
    folder.mkdir()
    qflow("init")
    qflow("keys", "export", str(tmp_path / "first.keys"))
    made = Home(folder)
    made("init")
    made("keys", "import", str(tmp_path / "first.keys"))
    return made


def killed(qflow: Home, during: Callable[[], str]) -> str:
    """What `during` gives, of a node that is killed behind it."""
    process = qflow.popen("serve", "--json")
    assert process.stdout is not None
    assert process.stdout.readline(), process.communicate()[1]
    try:
        return during()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=SECONDS_MAX)


def waiting(qflow: Home, *labels: str) -> str:
    """An execution that waits for an event, with checkpoints of these labels; its node is dead."""

    def run() -> str:
        execution = qflow("run", qflow.flow("approve"), "--detach").stdout.strip()
        for label in labels:
            qflow("checkpoint", "create", execution, "--label", label)
        return execution

    return killed(qflow, run)


def carried(qflow: Home, other: Home, *names: str) -> None:
    """Bring checkpoints from one home into the store of another, by a file."""
    file = qflow.flows / "carried.car"
    qflow("state", "export", *names, "--out", str(file), "--force")
    other("state", "import", str(file))


def damage(home: Home, cid: str) -> None:
    """Change one byte of what the store has beneath a CID."""
    from qflow import _core

    with sqlite3.connect(home.path / "state.db") as db:
        ((place, data),) = db.execute(
            "SELECT place, data FROM block JOIN block_data USING (place) WHERE cid = ?",
            (bytes(_core.Cid(cid)),),
        ).fetchall()
        db.execute(
            "UPDATE block_data SET data = ? WHERE place = ?",
            (data[:-1] + bytes([data[-1] ^ 1]), place),
        )
    db.close()


@pytest.mark.holds("S4", "S9")
def test_checkpoints_outlive_a_killed_node_and_can_be_made_without_one(qflow: Home) -> None:
    execution = waiting(qflow, "first")
    (first,) = qflow.json("checkpoint", "list", execution)
    assert (first["label"], first["why"], first["status"]) == ("first", "asked", "waiting")
    made = qflow.json("checkpoint", "create", execution[:24], "--description", "while it is off")
    assert made["durable"] is True
    newest, older = qflow.json("checkpoint", "list")
    assert newest["cid"] == made["checkpoint"]["cid"]
    assert (newest["number"], newest["previous"]) == (1, older["cid"])
    shown = qflow.json("checkpoint", "show", execution)
    assert shown["checkpoint"] == newest
    assert (shown["in_log"], shown["trusted"], shown["pins"]) == ("matches", True, [])
    assert 0 < shown["shared_blocks"] < shown["blocks"]
    with qflow.serving():
        assert qflow.json("checkpoint", "list") == [newest, older]
        assert qflow(*APPROVED).stdout.strip() == execution
        late = qflow("checkpoint", "create", execution, code=4)
    assert "is over" in late.stderr
    assert qflow.json("show", execution)["output"] == {"by": "ada"}
    qflow("audit", "verify")


def test_a_difference_names_what_changed_in_the_state(qflow: Home) -> None:
    flow = qflow.flows / "count.yaml"
    flow.write_text(
        "document: {dsl: 1.0.3, namespace: test, name: count, version: 1.0.0}\n"
        "do:\n"
        "  - note: {set: {total: 1, secret: marker}, export: {as: '${ . }'}}\n"
        "  - ask: {listen: {to: {one: {with: {type: com.example.more}}}}}\n"
        "  - more: {set: {total: 2}, export: {as: '${ {total: 2} }'}}\n"
        "  - again: {listen: {to: {one: {with: {type: com.example.more}}}}}\n"
    )
    with qflow.serving():
        execution = qflow("run", str(flow), "--detach").stdout.strip()
        qflow("checkpoint", "create", execution, "--label", "before")
        qflow("emit", "--type", "com.example.more")
        qflow("checkpoint", "create", execution, "--label", "after")
    found = qflow.json("checkpoint", "diff", "before", "after")
    changes = {change["path"]: change for change in found["changes"]}
    assert (changes["/context/total"]["old"], changes["/context/total"]["new"]) == (1, 2)
    assert (changes["/context/secret"]["what"], changes["/context/secret"]["old"]) == (
        "removed", "marker",
    )  # fmt: skip
    assert (found["entered"], found["left"]) == (["/do/3/again"], ["/do/1/ask"])
    told = qflow("checkpoint", "diff", "before", "after")
    assert "~ /context/total  1 -> 2" in told.stdout
    hidden = qflow("checkpoint", "diff", "before", "after", "--paths")
    assert "- /context/secret\n" in hidden.stdout
    assert "marker" not in hidden.stdout
    assert "equal" in qflow("checkpoint", "diff", "after", "after").stderr
    other = waiting(qflow, "elsewhere")
    refused = qflow("checkpoint", "diff", "before", "elsewhere", code=1)
    assert other in refused.stderr


@pytest.mark.holds("S8")
@pytest.mark.parametrize("running", [False, True])
def test_an_execution_goes_on_in_a_second_home_from_a_file_and_a_key(
    qflow: Home, other: Home, running: bool
) -> None:
    execution = waiting(qflow, "first")
    with other.serving() if running else nullcontext():
        carried(qflow, other, execution)
        assert other.json("list") == []
        dry = other.json("checkpoint", "restore", execution[:20], "--dry-run")
        assert (dry["records"], dry["present"], dry["dry_run"]) == (3, 0, True)
        assert other.json("list") == []
        done = other.json("checkpoint", "restore", execution[:20])
        assert (done["records"], done["status"], done["refused"]) == (3, "waiting", [])
        assert other.json("checkpoint", "show", execution)["in_log"] == "matches"
        if running:
            assert other(*APPROVED).stdout.strip() == execution
    if not running:
        with other.serving():
            assert other(*APPROVED).stdout.strip() == execution
    assert other.json("show", execution)["output"] == {"by": "ada"}
    records = [json.loads(line) for line in other("logs", execution, "--json").stdout.splitlines()]
    assert [record["seq"] for record in records] == list(range(len(records)))
    other("audit", "verify")
    again = other("checkpoint", "restore", execution, code=4)
    assert "hint: qflow show ID" in again.stderr


@pytest.mark.holds("S8")
def test_the_one_before_is_taken_when_the_newest_is_damaged(qflow: Home, other: Home) -> None:
    execution = waiting(qflow, "a", "b")
    newest, older = qflow.json("checkpoint", "list", execution)
    carried(qflow, other, newest["cid"], older["cid"])
    damage(other, newest["cid"])
    done = other("checkpoint", "restore", execution, "--dry-run")
    assert re.search(rf"refused +{newest['cid']}  .*", done.stdout), done.stdout
    assert f"would take  {older['cid']}" in done.stdout
    found = other.json("checkpoint", "restore", execution)
    assert found["checkpoint"]["cid"] == older["cid"]
    assert [item["cid"] for item in found["refused"]] == [newest["cid"]]
    assert (found["asked"], found["taken"]) == (newest["cid"], older["cid"])
    damage(other, older["state"])
    none = other("checkpoint", "restore", execution, code=1)
    assert "no checkpoint of" in none.stderr


def test_a_home_that_is_ahead_or_went_another_way_is_left_as_it_is(
    qflow: Home, other: Home
) -> None:
    execution = waiting(qflow, "first")
    carried(qflow, other, execution)
    other("checkpoint", "restore", execution)
    # Both go on from the same record, each by itself.
    with qflow.serving():
        qflow("pause", execution)
        qflow("checkpoint", "create", execution, "--label", "theirs")
    with other.serving():
        other("pause", execution, "--reason", "ours")
        other("resume", execution)
        before = other("logs", execution).stdout
        theirs = qflow.flows / "theirs.car"
        qflow("state", "export", execution, "--out", str(theirs))
        other("state", "import", str(theirs))
        refused = other("checkpoint", "restore", "theirs", code=4)
        assert "another history" in refused.stderr
        ahead = other("checkpoint", "restore", "first", code=4)
        assert "ahead" in ahead.stderr
        assert other("logs", execution).stdout == before
    other("audit", "verify")


@pytest.mark.holds("H21")
def test_what_was_erased_has_no_checkpoint_and_gets_none(qflow: Home, tmp_path: Path) -> None:
    execution = waiting(qflow, "marker-of-a-person")
    file = tmp_path / "before.car"
    qflow("state", "export", execution, "--out", str(file))
    qflow("abort", execution)
    qflow("audit", "erase", execution, "--reason", "asked", "--yes")
    assert qflow.json("checkpoint", "list") == []
    qflow("checkpoint", "show", execution, code=3)
    back = qflow("state", "import", str(file), code=1)
    assert "erased" in back.stdout
    assert qflow.json("state", "list") == []
    assert qflow.json("state", "garbage")["blocks"] == 0


def test_only_what_one_checkpoint_begins_with_names_it(qflow: Home) -> None:
    execution = waiting(qflow, "twice", "twice")
    newest, older = (item["cid"] for item in qflow.json("checkpoint", "list"))
    assert qflow.json("checkpoint", "show", newest[:20])["checkpoint"]["cid"] == newest
    assert qflow.json("checkpoint", "show", older.upper())["checkpoint"]["cid"] == older
    for name in ("bafyrei", "twice", "bafyreiaaaaaaaaaaaaaaaa", "nothing", "0" * 26):
        refused = qflow("checkpoint", "show", name, code=3)
        assert len(refused.stderr.splitlines()) == 2
        assert "qflow checkpoint list" in refused.stderr
    assert qflow.json("checkpoint", "show", execution[:12])["checkpoint"]["cid"] == newest


def test_pruning_keeps_the_newest_and_frees_the_rest(qflow: Home) -> None:
    execution = waiting(qflow, "a", "b", "c")
    kept = qflow("checkpoint", "prune", "--keep", "1", "--yes")
    assert "nothing to delete" in kept.stderr, "those with a label stay"
    dry = qflow.json("checkpoint", "prune", "--keep", "1", "--labelled", "--dry-run")
    assert [item["label"] for item in dry["deleted"]] == ["b", "a"]
    assert len(qflow.json("checkpoint", "list")) == 3
    done = qflow.json("checkpoint", "prune", execution, "--keep", "1", "--labelled", "--yes")
    assert done | {"dry_run": True} == dry
    (left,) = qflow.json("checkpoint", "list")
    assert left["label"] == "c"
    assert qflow.json("state", "verify")["ok"] is True
    assert qflow.json("state", "garbage")["blocks"] == 0
    assert "nothing to delete" in qflow("checkpoint", "prune", "--keep", "1", "--yes").stderr


def test_labels_have_a_bound_and_times_select(qflow: Home) -> None:
    execution = waiting(qflow, "first")
    for arguments in (("--label", "x" * 101), ("--description", "x" * 1001)):
        refused = qflow("checkpoint", "create", execution, *arguments, code=2)
        assert "characters" in refused.stderr
    assert len(qflow.json("checkpoint", "list", "--since", "1h", "--label", "f*")) == 1
    assert qflow.json("checkpoint", "list", "--until", "1h") == []
    assert qflow.json("checkpoint", "list", "--flow", "test/approve") != []
    assert qflow.json("checkpoint", "list", "--flow", "test/other") == []


def test_without_a_home_or_a_history_there_is_nothing(qflow: Home) -> None:
    for command in (("list",), ("create", "01k9x"), ("prune", "--yes"), ("restore", "01k9x")):
        done = qflow("checkpoint", *command, code=3)
        assert "qflow init" in done.stderr
    assert not qflow.path.exists()
    qflow("init")
    assert qflow.json("checkpoint", "list") == []
    assert qflow("checkpoint", "create", "01k9x", code=3).stderr.startswith("error: ")
    assert qflow("checkpoint", "restore", "01k9x", code=3).stderr.startswith("error: ")


def test_whoever_holds_the_files_is_not_disturbed(qflow: Home) -> None:
    execution = waiting(qflow, "first")
    holder = subprocess.Popen(
        ["flock", str(qflow.path / "log" / "lock"), "sleep", "60"], start_new_session=True
    )
    try:
        assert len(qflow.json("checkpoint", "list")) == 1
        assert len(qflow.json("state", "verify")["findings"]) == 0
        assert "LockedError" in qflow("checkpoint", "create", execution, "--json", code=5).stderr
    finally:
        holder.kill()
        holder.wait()
