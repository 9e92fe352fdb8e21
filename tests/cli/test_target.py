"""Commands that write a file never write it over the node's own, nor over what is no file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from qflow import _core
from qflow.cli._target import check_own
from qflow.storage import write_car
from tests.cli.conftest import Behind
from tests.cli.stored import StoredStates, checkpoint

Run = Callable[..., Result]
WRITERS = [
    ("state", "export", "--force", "-o"),
    ("audit", "export", "--format", "jsonl", "--force", "-o"),
    ("audit", "export", "--format", "jsonl", "--no-manifest", "--force", "-o"),
    ("audit", "receipt", "--index", "0", "--force", "-o"),
    ("keys", "export"),
]
OWN = [
    "node.key", "node.pub", "keys", "adopted.keys", "subnet.keys", "state.db", "state.db-wal",
    "index.db", "index.db-shm", "log/journal", "log/new/x", "secrets/token", "qflow.toml",
    ".keys.new", ".node.key.old",
]  # fmt: skip


class NoSession:
    def __init__(self, home: Path) -> None:
        self.home = home


@pytest.fixture
def states(behind: Behind) -> StoredStates:
    made = StoredStates(checkpoint(0))
    behind.node.states = made
    return made


@pytest.fixture
def full(home: Path, qflow: Run) -> Path:
    """A home with something in every file of a node."""
    assert qflow("init").exit_code == 0
    for name in OWN:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(b"")
    return home


@pytest.mark.usefixtures("states")
@pytest.mark.parametrize("writer", WRITERS, ids=" ".join)
def test_no_file_of_the_node_is_replaced(qflow: Run, full: Path, writer: tuple[str, ...]) -> None:
    before = {name: (full / name).read_bytes() for name in OWN}
    for name in OWN:
        refused = qflow(*writer, str(full / name))
        assert refused.exit_code == 2, (name, refused.output, refused.stderr)
        assert "is a file of the node" in refused.stderr, name
        assert len(refused.stderr.splitlines()) <= 2
    assert {name: (full / name).read_bytes() for name in OWN} == before


@pytest.mark.usefixtures("states")
def test_nor_one_that_is_still_to_be_made_or_by_another_way(qflow: Run, home: Path) -> None:
    (home.parent / "link").symlink_to(home)
    for path in (home / "index.db", home.parent / "link" / "keys", home / ".." / "home" / "keys"):
        refused = qflow("state", "export", "-o", str(path))
        assert (refused.exit_code, "is a file of the node" in refused.stderr) == (2, True), path
    assert not (home / "keys").exists()


def test_other_names_in_a_home_are_free(home: Path) -> None:
    for name in ("x.car", "keys.car", "first.keys", "exports/keys", "logs.csv"):
        check_own(NoSession(home), home / name)  # type: ignore[arg-type]
    check_own(NoSession(home), home.parent / "keys")  # type: ignore[arg-type]


@pytest.mark.usefixtures("states")
@pytest.mark.parametrize("writer", WRITERS[:3], ids=" ".join)
def test_what_is_no_regular_file_stays_what_it_is(
    qflow: Run, home: Path, tmp_path: Path, writer: tuple[str, ...]
) -> None:
    pipe, link, target = (tmp_path / name for name in ("pipe", "link", "target"))
    os.mkfifo(pipe)
    link.symlink_to(target)
    target.write_bytes(b"")
    for path in (pipe, link, home):
        refused = qflow(*writer, str(path))
        assert refused.exit_code == 2, refused.stderr
        assert "is no regular file" in refused.stderr
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_force_replaces_a_car_or_an_empty_file_and_nothing_else(
    qflow: Run, states: StoredStates, tmp_path: Path
) -> None:
    file = tmp_path / "x.car"
    car = b"".join(write_car([bytes(_core.cid_of(b"\xa0"))], []))
    for content, code in (
        (b"", 0),
        (car, 0),
        (car + b"\x05cut", 0),
        (b"my letters", 2),
        (b"\0", 2),
    ):
        file.write_bytes(content)
        done = qflow("state", "export", "--force", "-o", str(file))
        assert done.exit_code == code, (content, done.stderr)
        assert ("is no CAR" in done.stderr) == bool(code)
        assert file.read_bytes() == content
    assert len(states.calls) == 3


@pytest.mark.usefixtures("states")
def test_a_folder_that_is_not_there_is_wrong_usage(qflow: Run, tmp_path: Path) -> None:
    for writer in (("state", "export", "-o"), ("keys", "export")):
        if writer[0] == "keys":
            assert qflow("init").exit_code == 0
        refused = qflow(*writer, str(tmp_path / "nowhere" / "x.car"))
        assert refused.exit_code == 2
        assert "nowhere is no folder" in refused.stderr
