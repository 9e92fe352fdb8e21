"""Stored states by commands, in real processes: files of them, good and bad, and endpoints."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from qflow import _core
from qflow.storage import read_car, write_car
from tests.cli.test_checkpoint import APPROVED, damage, other, qflow, waiting
from tests.cli.test_processes import Home
from tests.kubo.daemon import EMPTY_FOLDER, Daemon

__all__ = ["other", "qflow"]


def exported(qflow: Home, *arguments: str) -> Path:
    file = qflow.flows / "state.car"
    qflow("state", "export", "--out", str(file), "--force", *arguments)
    return file


def parts_of(file: Path) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    with file.open("rb") as stream:
        roots, blocks = read_car(stream)
        return roots, list(blocks)


def took_nothing(home: Home) -> None:
    assert home.json("state", "list") == []
    assert home.json("state", "garbage")["blocks"] == 0


def test_all_or_chosen_executions_go_into_one_file_and_come_out(qflow: Home, other: Home) -> None:
    first, second = waiting(qflow, "a"), waiting(qflow, "b")
    whole = qflow.json("state", "export", "--out", str(qflow.flows / "all.car"))
    assert {item["execution"] for item in whole["checkpoints"]} == {first, second}
    assert (whole["keys"], whole["refused"]) == (2, [])
    file = qflow.flows / "all.car"
    assert (file.stat().st_size, file.stat().st_mode & 0o777) == (whole["bytes"], 0o600)
    roots, blocks = parts_of(file)
    assert (len(roots), len(blocks)) == (4, whole["blocks"])
    one = other.json("state", "import", str(exported(qflow, first)))
    assert [item["execution"] for item in one["taken"]] == [first]
    assert (one["known"], one["keys"]) == (0, 1)
    both = other.json("state", "import", str(file))
    assert [item["execution"] for item in both["taken"]] == [second]
    assert (both["known"], both["keys"]) == (1, 1)
    listed = other.json("state", "list")
    assert [(item["newest"]["execution"], item["in_log"]) for item in listed] == [
        (second, False), (first, False),
    ]  # fmt: skip
    assert other.json("state", "verify")["ok"] is True
    assert "no: qflow checkpoint restore" in other("state", "show", first).stdout


def test_a_file_that_is_there_stays_and_nothing_is_left_beside_it(qflow: Home) -> None:
    execution = waiting(qflow, "a")
    file = exported(qflow, execution)
    before = file.read_bytes()
    refused = qflow("state", "export", "--out", str(file), code=2)
    assert "--force" in refused.stderr
    assert file.read_bytes() == before
    missing = qflow("state", "export", "--out", str(qflow.flows / "no" / "x.car"), code=2)
    assert "is no folder" in missing.stderr
    qflow("state", "export", "zz", "--out", str(qflow.flows / "y.car"), code=3)
    assert sorted(path.name for path in qflow.flows.glob("*.car*")) == ["state.car"]
    assert not [path for path in qflow.flows.iterdir() if path.name.startswith(".")]


@pytest.mark.holds("S14")
def test_a_damaged_file_is_refused_whole(qflow: Home, other: Home) -> None:
    file = exported(qflow, waiting(qflow, "a"))
    good = file.read_bytes()
    for bad in (
        b"", b"not a CAR", good[:-1], good[: len(good) // 2], good + b"\0",
        *(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in (0, 40, len(good) - 9)),
    ):  # fmt: skip
        file.write_bytes(bad)
        refused = other("state", "import", str(file), code=1)
        assert "CAR" in refused.stderr, refused.stderr
        assert len(refused.stderr.splitlines()) <= 2
    took_nothing(other)


@pytest.mark.holds("S14")
def test_a_file_without_some_of_its_blocks_is_refused(qflow: Home, other: Home) -> None:
    file = exported(qflow, waiting(qflow, "a"))
    roots, blocks = parts_of(file)
    for without in range(1, len(blocks)):
        left = blocks[:without] + blocks[without + 1 :]
        file.write_bytes(b"".join(write_car(roots, left)))
        done = other("state", "import", str(file), code=1)
        assert "refused" in done.stdout or "is cut" in done.stderr
    took_nothing(other)


def test_a_file_without_checkpoints_is_no_import(other: Home) -> None:
    block = _core.encode({"hello": "world"})
    cid = bytes(_core.cid_of(block))
    file = other.flows / "foreign.car"
    file.write_bytes(b"".join(write_car([cid], [(cid, block)])))
    assert "no checkpoint" in other("state", "import", str(file), code=1).stderr
    took_nothing(other)
    other("state", "import", str(other.flows / "nowhere.car"), code=3)
    assert other("state", "import", str(other.flows), code=3).stderr.count("\n") == 1


@pytest.mark.holds("S6")
def test_a_stranger_is_not_believed_and_says_how_that_changes(qflow: Home, tmp_path: Path) -> None:
    file = exported(qflow, waiting(qflow, "a"))
    (tmp_path / "stranger").mkdir()
    stranger = Home(tmp_path / "stranger")
    stranger("init")
    done = stranger("state", "import", str(file), code=1)
    assert "which this node does not trust" in done.stdout
    assert "qflow keys import" in done.stderr
    took_nothing(stranger)


def test_a_file_of_another_subnet_is_refused(qflow: Home, tmp_path: Path) -> None:
    file = exported(qflow, waiting(qflow, "a"))
    qflow("keys", "export", str(tmp_path / "first.keys"))
    (tmp_path / "abroad").mkdir()
    abroad = Home(tmp_path / "abroad")
    abroad.environment["QFLOW_SUBNET"] = "abroad"
    abroad("init")
    assert "of subnet" in abroad("keys", "import", str(tmp_path / "first.keys"), code=1).stderr
    done = abroad("state", "import", str(file), code=1)
    assert "refused" in done.stdout
    assert "subnet" in done.stdout
    took_nothing(abroad)


def test_without_the_key_nothing_is_taken_and_the_key_may_come_later(
    qflow: Home, other: Home
) -> None:
    execution = waiting(qflow, "a")
    bare = qflow("state", "export", execution, "--out", str(qflow.flows / "b.car"), "--without-key")
    assert "none: the file alone" in bare.stdout
    done = other("state", "import", str(qflow.flows / "b.car"), code=1)
    assert "no key" in done.stdout
    took_nothing(other)
    assert other.json("state", "import", str(exported(qflow, execution)))["keys"] == 1


@pytest.mark.holds("S14")
def test_one_changed_byte_in_the_store_is_found_and_named(qflow: Home) -> None:
    execution = waiting(qflow, "a", "b")
    good = qflow("state", "verify")
    assert good.stdout.startswith("VERIFIED\n")
    newest, _ = qflow.json("checkpoint", "list")
    damage(qflow, newest["state"])
    found = qflow("state", "verify", execution[:20], code=1)
    assert found.stdout.startswith("INVALID\n")
    assert f"{execution}: " in found.stdout
    report = qflow.json("state", "verify", code=1)
    assert report["findings"][0]["execution"] == execution
    # The log is whole: the execution goes on from the one before.
    with qflow.serving():
        assert qflow(*APPROVED).stdout.strip() == execution


@pytest.mark.holds("S12")
def test_deleting_leaves_nothing_and_the_execution_goes_on(qflow: Home) -> None:
    execution = waiting(qflow, "a", "b")
    with qflow.serving():
        done = qflow.json("state", "delete", execution[:20], "--yes")
        assert (done["execution"], done["versions"], done["durable"]) == (execution, 2, True)
        assert qflow.json("state", "list") == []
        assert "no garbage" in qflow("state", "garbage").stdout
        qflow("state", "delete", execution, "--yes", code=3)
        qflow("state", "history", execution, code=3)
        again = qflow.json("checkpoint", "create", execution)
        assert again["checkpoint"]["number"] == 0
        assert qflow(*APPROVED).stdout.strip() == execution


def test_history_is_the_chain_of_versions(qflow: Home) -> None:
    execution = waiting(qflow, "a", "b", "c")
    checks = {check["check"]: check for check in qflow.json("doctor")["checks"]}
    assert checks["states"]["found"].startswith("3 versions of 1 execution, ")
    chain = qflow.json("state", "history", execution)
    assert [item["number"] for item in chain] == [2, 1, 0]
    assert [item["previous"] for item in chain] == [chain[1]["cid"], chain[2]["cid"], None]
    assert len({item["node"] for item in chain}) == 1
    (state,) = qflow.json("state", "list", "--flow", "approve")
    assert (state["versions"], state["in_log"], state["pins_owed"]) == (3, True, 0)
    assert qflow.json("state", "show", execution[:12]) == state


@pytest.mark.holds("S2", "S12")
def test_pins_are_owed_while_kubo_is_off_and_everything_comes_back_from_it(
    qflow: Home, other: Home, kubo: Daemon
) -> None:
    kubo.stop()
    for home in (qflow, other):
        home.environment["QFLOW_STORAGE__KUBO"] = kubo.url
    execution = waiting(qflow, "a", "b")
    (state,) = qflow.json("state", "list")
    assert state["pins_owed"] == 2
    shown = qflow("checkpoint", "show", execution).stdout
    assert f"{kubo.url}  owed" in shown
    assert qflow("state", "sync", code=1).stdout.count(kubo.url) >= 1
    unreachable = other("state", "recover", code=5)
    assert "no endpoint can be asked" in unreachable.stderr
    kubo.start()
    (synced,) = qflow.json("state", "sync")["endpoints"]
    assert (synced["owed"], synced["error"]) == (0, None)
    assert qflow.json("state", "list")[0]["pins_owed"] == 0
    assert f"{kubo.url}  pinned" in qflow("checkpoint", "show", execution).stdout
    first = other.json("state", "recover", execution[:20])
    assert {item["label"] for item in first["taken"]} == {"a", "b"}
    again = other.json("state", "recover")
    assert (again["taken"], again["known"], again["refused"]) == ([], 2, [])
    assert other.json("state", "verify")["ok"] is True
    other("checkpoint", "restore", execution)
    with other.serving():
        assert other(*APPROVED).stdout.strip() == execution
    assert qflow.json("state", "delete", execution, "--yes")["pins_owed"] == 2
    for home in (qflow, other):
        home("state", "sync")
    assert pins_at(kubo) != set()
    other("state", "delete", execution, "--yes")
    other("state", "sync")
    assert pins_at(kubo) == set()


def pins_at(kubo: Daemon) -> set[str]:
    said = kubo.ipfs("pin", "ls", "--type=recursive", "--quiet").decode()
    return set(said.split()) - {EMPTY_FOLDER}


def test_there_is_nothing_to_recover_from_without_endpoints(qflow: Home) -> None:
    qflow("init")
    refused = qflow("state", "recover", code=2)
    assert "hint: set storage.kubo" in refused.stderr
    assert "no endpoints" in qflow("state", "sync").stderr


@pytest.mark.parametrize("running", [False, True])
def test_a_file_that_cannot_be_read_is_said_in_one_line(qflow: Home, running: bool) -> None:
    """A file that reads as nothing but an error, also for root: the memory of a process, at 0."""
    qflow("init")
    with qflow.serving() if running else nullcontext():
        refused = qflow("state", "import", "/proc/self/mem", code=1)
    assert refused.stderr.count("\n") == 1
    assert "/proc/self/mem cannot be read: Input/output error" in refused.stderr
