"""A process that dies, and a WAL that is cut or changed anywhere: a whole prefix is left."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from qflow.storage import Database, SqliteBlocks
from tests.storage.writer import ROUNDS, blocks_of, keep

WAL_HEADER, FRAME_HEADER, PAGE = 32, 24, 8192


def kept(path: Path) -> list[int]:
    """The rounds that are pinned, each of them whole."""
    with Database(path) as database:
        assert database.check() == []
        store = SqliteBlocks(database)
        query = "SELECT cid, name FROM pin"
        pins = {int(name): cid for cid, name in database.read(lambda db: db.execute(query))}
        for number, root in pins.items():
            wanted = blocks_of(number)
            assert root == wanted[-1][0]
            assert store.load([cid for cid, _ in wanted]) == [data for _, data in wanted]
    return sorted(pins)


@pytest.mark.holds("S1")
def test_what_was_acknowledged_survives_a_kill_without_ipfs(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, anyio; from qflow.storage import *\n"
        "from tests.storage.writer import *\n"
        "async def main():\n"
        "    store = SqliteBlocks(Database(sys.argv[1]))\n"
        "    await store.put_many(blocks_of(0))\n"
        "    await store.pin(blocks_of(0)[-1][0], '0')\n"
        "    await store.put_many(blocks_of(7))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "anyio.run(main)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "state.db")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert kept(tmp_path / "state.db") == [0]
    with Database(tmp_path / "state.db") as database:
        store = SqliteBlocks(database)
        assert database.write(store.recount) == 0
        wanted = blocks_of(7)
        assert store.load([cid for cid, _ in wanted]) == [data for _, data in wanted]


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The files of a process that died, and where in the WAL each commit ends."""
    folder = tmp_path_factory.mktemp("torn")
    script = (
        "import os, sys; from functools import partial; from qflow.storage import *\n"
        "from tests.storage.writer import *\n"
        "store = SqliteBlocks(Database(sys.argv[1]))\n"
        "for number in range(ROUNDS):\n"
        "    store.database.write(partial(keep, store, number=number))\n"
        "os._exit(0)"
    )
    command = [sys.executable, "-c", script, str(folder / "state.db")]
    assert subprocess.run(command, check=False).returncode == 0
    (folder / "state.db-shm").unlink()
    wal = (folder / "state.db-wal").read_bytes()
    ends, at = [], WAL_HEADER
    while wal[at + 8 : at + 16] == wal[16:24]:
        pages = wal[at + 4 : at + 8]
        at += FRAME_HEADER + PAGE
        if any(pages):
            ends.append(at)
    return folder, ends


def copied(folder: Path, to: Path, wal: bytes) -> Path:
    to.mkdir()
    shutil.copyfile(folder / "state.db", to / "state.db")
    (to / "state.db-wal").write_bytes(wal)
    return to / "state.db"


def rounds(count: int) -> list[int]:
    """What is pinned after so many."""
    return list(range(max(0, count - 3), count))


@pytest.mark.faults  # for its long form
@pytest.mark.holds("S17")
@pytest.mark.parametrize("fill", ["cut", "zeros", "old"])
def test_a_wal_that_is_torn_leaves_a_whole_prefix(
    tmp_path: Path, torn: tuple[Path, list[int]], fill: str, full: bool
) -> None:
    folder, ends = torn
    wal = (folder / "state.db-wal").read_bytes()[: ends[-1]]
    # Of the last two commits each frame's header and some of the rest; of the last frame all.
    every = ends[-1] - FRAME_HEADER - PAGE if full else ends[-1]
    places = [at for at in range(ends[-3], ends[-1] + 1) if at >= every or is_telling(at)]
    step = (1 if fill == "cut" else 3) if full else 7
    for at in [*places[::step], *ends[-3:]]:
        rest = {"cut": b"", "zeros": bytes(len(wal) - at), "old": wal[WAL_HEADER:][: len(wal) - at]}
        path = copied(folder, tmp_path / str(at), wal[:at] + rest[fill])
        whole = sum(end <= at for end in ends) - (len(ends) - ROUNDS)
        found = kept(path)
        # What overwrote the tail may be what stood there.
        assert found == rounds(whole) or (fill == "old" and found == rounds(whole + 1)), at
        shutil.rmtree(path.parent)


def is_telling(at: int) -> bool:
    within = (at - WAL_HEADER) % (FRAME_HEADER + PAGE)
    return within <= FRAME_HEADER + 8 or within % 1024 == 0 or within > FRAME_HEADER + PAGE - 4


@pytest.mark.faults
@pytest.mark.holds("S14")
def test_a_changed_byte_in_the_wal_leaves_a_whole_prefix(
    tmp_path: Path, torn: tuple[Path, list[int]], full: bool
) -> None:
    folder, ends = torn
    wal = (folder / "state.db-wal").read_bytes()[: ends[-1]]
    every = ends[-1] - FRAME_HEADER - PAGE if full else ends[-1]
    places = [at for at in range(ends[-2], ends[-1]) if at >= every or is_telling(at)]
    for at in places[:: 3 if full else 11]:
        changed = bytearray(wal)
        changed[at] ^= 1 << at % 8
        path = copied(folder, tmp_path / str(at), bytes(changed))
        # Pages that a commit did not have to write may be repeated at its end.
        assert kept(path) == rounds(ROUNDS - 1), at
        shutil.rmtree(path.parent)


def test_the_next_commit_does_not_stand_on_what_was_never_synced(tmp_path: Path) -> None:
    """What a process left behind that died is written back before anything is written after it."""
    path = tmp_path / "state.db"
    script = (
        "import os, sys; from functools import partial; from qflow.storage import *\n"
        "from tests.storage.writer import *\n"
        "store = SqliteBlocks(Database(sys.argv[1]))\n"
        "store.database.write(partial(keep, store, number=0))\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    (tmp_path / "without").mkdir()
    with Database(path) as database:
        database.write(partial(keep, SqliteBlocks(database), number=1))
        shutil.copyfile(path, tmp_path / "without" / "state.db")
    assert kept(tmp_path / "without" / "state.db") == [0]
    assert kept(path) == [0, 1]
