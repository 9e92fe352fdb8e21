"""The embedded blockstore beside plain files and a real Kubo; a CAR of 1 GiB; 100,000 blocks.

    python -m benches.bench_blocks [--rounds R] [--car-mib N] [--blocks N] [--only PART]

Each store gets the same blocks of chance, one by one and in groups, and is asked for them one by
one; rounds alternate. What is said to be stored is on the disk: qflow commits, the files are synced
and so is their folder, once for each group; Kubo's `block/put` takes a group in one request. By
itself Kubo syncs nothing; beside that it is measured with its setting `sync`. qflow hashes what it
is given and what it gives; files are not hashed.
Kubo takes part when `make kubo` has made it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from benches import measure
from qflow import _core
from qflow.storage import Block, Database, SqliteBlocks, read_car, write_car

SIZES: Final = (1 << 10, 64 << 10)
GROUPS: Final = (1, 100, 1_000)
PUTS: Final = {1: 100, 100: 1_000, 1_000: 2_000}
"""Blocks put in a round, by the size of the group; of 64 KiB a fifth."""
GETS: Final = 300
PART_BYTES: Final = 64 << 10
FLAT_MIB: Final = 64
"""What a CAR may add to the memory of its process."""


class Store(Protocol):
    def put(self, blocks: Sequence[Block]) -> None: ...

    def get(self, cid: bytes) -> bytes: ...


class Embedded:
    """What a caller has in a thread; the event loop adds a hop to and fro."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "state.db")
        self.store = SqliteBlocks(self.database)

    def put(self, blocks: Sequence[Block]) -> None:
        assert all(_core.check_blocks(blocks))
        self.database.write(lambda db: self.store.put_blocks(db, blocks))

    def get(self, cid: bytes) -> bytes:
        return self.store.load([cid])[0]


class Looped(Embedded):
    """Through the port, from an event loop."""

    def put(self, blocks: Sequence[Block]) -> None:
        anyio.from_thread.run(self.store.put_many, blocks)

    def get(self, cid: bytes) -> bytes:
        return anyio.from_thread.run(self.store.get, cid)


class Files:
    """A file for each block, in 256 folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"
        for number in range(256):
            (self.folder / f"{number:02x}").mkdir(parents=True)

    def path(self, cid: bytes) -> Path:
        return self.folder / cid[-1:].hex() / cid.hex()

    def put(self, blocks: Sequence[Block]) -> None:
        folders = set()
        for cid, data in blocks:
            path = self.path(cid)
            with path.open("wb", buffering=0) as file:
                file.write(data)
                os.fsync(file.fileno())
            folders.add(path.parent)
        for folder in folders:
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def get(self, cid: bytes) -> bytes:
        return self.path(cid).read_bytes()


class RealKubo:
    """Its RPC, over a connection that is kept."""

    def __init__(self, url: str) -> None:
        import httpx2

        self.client = httpx2.Client(base_url=f"{url}/api/v0/", timeout=60, trust_env=False)

    def put(self, blocks: Sequence[Block]) -> None:
        files = [("data", (f"{at}", io.BytesIO(data))) for at, (_, data) in enumerate(blocks)]
        answer = self.client.post("block/put?cid-codec=raw&mhtype=sha2-256", files=files)
        assert answer.status_code == 200, answer.text
        assert answer.text.count('"Key"') == len(blocks)

    def get(self, cid: bytes) -> bytes:
        answer = self.client.post(f"block/get?arg={_core.Cid(cid)}")
        assert answer.status_code == 200, answer.text
        return answer.content


def new_blocks(count: int, size: int) -> list[Block]:
    contents = [os.urandom(size) for _ in range(count)]
    return [(bytes(_core.cid_of(data, "raw")), data) for data in contents]


def puts_s(store: Store, blocks: Sequence[Block], group: int) -> float:
    begun = time.perf_counter()
    for at in range(0, len(blocks), group):
        store.put(blocks[at : at + group])
    return len(blocks) / (time.perf_counter() - begun)


def gets_s(store: Store, blocks: Sequence[Block]) -> float:
    begun = time.perf_counter()
    for cid, data in blocks:
        assert store.get(cid) == data
    return len(blocks) / (time.perf_counter() - begun)


def compare(stores: dict[str, Store], rounds: int) -> None:
    for size in SIZES:
        figures: dict[str, list[float]] = {}
        for _ in range(rounds):
            for group in GROUPS:
                count = PUTS[group] // (1 if size < PART_BYTES else 5)
                for name, store in stores.items():
                    blocks = new_blocks(max(count, group), size)
                    row = f"put by {group:,}, {name}"
                    figures.setdefault(row, []).append(puts_s(store, blocks, group))
                    row = f"get, {name}"
                    figures.setdefault(row, []).append(gets_s(store, blocks[:GETS]))
        measure.table(
            f"blocks of {size >> 10} KiB, blocks/s", dict(sorted(figures.items())), digits=0
        )


def measure_stores(folder: Path, rounds: int) -> None:
    with ExitStack() as stack:
        stores: dict[str, Store] = {"files": Files(folder)}
        for name, kind in (("qflow", Embedded), ("qflow, event loop", Looped)):
            (folder / name).mkdir()
            store = kind(folder / name)
            stack.callback(store.database.close)
            stores[name] = store
        from tests.kubo.daemon import IPFS

        if IPFS.is_file():
            for name, sync in (("kubo", True), ("kubo, not synced", False)):
                stores[name] = started_kubo(stack, folder / name, sync=sync)
        else:
            print("  no Kubo here: `make kubo` makes it")
        fsync = measure.median(measure.fsync_ms(folder))
        print(f"  4 KiB and fdatasync: {fsync:.3f} ms")

        async def run() -> None:
            await anyio.to_thread.run_sync(compare, stores, rounds)

        anyio.run(run)


def started_kubo(stack: ExitStack, folder: Path, *, sync: bool) -> RealKubo:
    from tests.kubo.daemon import Daemon

    folder.mkdir()
    daemon = Daemon(folder)
    file = daemon.repository / "config"
    settings = json.loads(file.read_text())
    for mount in settings["Datastore"]["Spec"]["mounts"]:
        if mount["type"] == "flatfs":
            mount["sync"] = sync
    file.write_text(json.dumps(settings))
    return RealKubo(stack.enter_context(daemon).url)


# -- a CAR of 1 GiB, each way in a process of its own ----------------------------------------


def fill(path: Path, mib: int) -> None:
    """Parts under nodes under one root, which is pinned."""
    with Database(path) as database:
        store = SqliteBlocks(database)
        nodes = []
        for _ in range(mib // 16):
            leaves = new_blocks((16 << 20) // PART_BYTES, PART_BYTES)
            data = _core.encode([_core.Cid(cid) for cid, _ in leaves])
            nodes.append((bytes(_core.cid_of(data)), data))
            store.ingest([*leaves, nodes[-1]])
        data = _core.encode([_core.Cid(cid) for cid, _ in nodes])
        root = (bytes(_core.cid_of(data)), data)
        store.ingest([root])
        database.write(lambda db: store.pin_block(db, root[0], "root"))


def export_car(path: Path, car: Path) -> int:
    with Database(path) as database, car.open("wb") as file:
        store = SqliteBlocks(database)
        (root,) = database.read(lambda db: db.execute("SELECT cid FROM pin").fetchone())
        return sum(file.write(piece) for piece in write_car([root], store.walk([root])))


def import_car(path: Path, car: Path) -> int:
    with Database(path) as database, car.open("rb") as file:
        store = SqliteBlocks(database)
        roots, blocks = read_car(file)
        store.ingest(blocks)
        database.write(lambda db: store.pin_block(db, roots[0], "root"))
        return car.stat().st_size


def report(work: Callable[[Path, Path], int], path: Path, car: Path) -> None:
    # What the process had before it became this program does not count.
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = peak_mib(), time.perf_counter()
    size = work(path, car)
    print(size, time.perf_counter() - begun, before, peak_mib())


def peak_mib() -> float:
    """The most memory since `clear_refs`, as the kernel counts it."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one]
    return int(line.split()[1]) / 1024


def measure_car(folder: Path, mib: int) -> None:
    source, target, car = folder / "from.db", folder / "to.db", folder / "x.car"
    fill(source, mib)
    print(f"\na CAR of {mib:,} MiB in parts of {PART_BYTES >> 10} KiB")
    for name, path in (("export", source), ("import", target)):
        command = [sys.executable, "-m", "benches.bench_blocks", "--step", name]
        done = subprocess.run(
            [*command, "--path", str(path), "--car", str(car)], capture_output=True, check=True
        )
        size, took, before, after = map(float, done.stdout.split())
        speed = size / took / 1e6
        print(f"  {name}: {took:.1f} s, {speed:,.0f} MB/s; {before:.0f} MiB, {after:.0f} at most")
        target_name = f"{name} adds at most {FLAT_MIB} MiB"
        measure.judge(target_name, after - before <= FLAT_MIB, f"{after - before:.0f} MiB")


# -- what care of many blocks costs ----------------------------------------------------------


def timed(rows: dict[str, list[float]], name: str, work: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    result = work()
    rows.setdefault(name, []).append((time.perf_counter() - begun) * 1000)
    return result


def measure_care(folder: Path, count: int, rounds: int) -> None:
    rows: dict[str, list[float]] = {}
    for number in range(rounds):
        with Database(folder / f"care-{number}.db") as database:
            care_of(SqliteBlocks(database), count, rows)
    measure.table(f"{count:,} blocks of 100 bytes, a hundredth of them with links, ms", rows)


def care_of(store: SqliteBlocks, count: int, rows: dict[str, list[float]]) -> None:
    database = store.database
    leaves = new_blocks(count, 100)
    nodes = []
    for at in range(0, count, 100):
        data = _core.encode([_core.Cid(cid) for cid, _ in leaves[at : at + 100]])
        nodes.append((bytes(_core.cid_of(data)), data))
    data = _core.encode([_core.Cid(cid) for cid, _ in nodes])
    root = bytes(_core.cid_of(data))
    timed(rows, "store all", lambda: store.ingest([*leaves, *nodes, (root, data)]))
    timed(rows, "pin the root of all", lambda: database.write(lambda db: store.pin_block(db, root)))
    timed(
        rows,
        "pin it under another name",
        lambda: database.write(lambda db: store.pin_block(db, root, "other")),
    )
    found = timed(rows, "find garbage, none", lambda: database.read(store.garbage))
    assert not found
    timed(rows, "count anew", lambda: database.write(store.recount))
    timed(rows, "unpin", lambda: database.write(lambda db: store.unpin_block(db, root)))
    found = timed(rows, "find garbage, all", lambda: database.read(store.garbage))
    assert len(found) == count + len(nodes) + 1
    assert timed(rows, "collect all", store.collect)[0] == len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, help="where to, instead of TMPDIR")
    parser.add_argument("--car-mib", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--only", choices=["stores", "car", "care"])
    parser.add_argument("--step", choices=["export", "import"], help=argparse.SUPPRESS)
    parser.add_argument("--car", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        report({"export": export_car, "import": import_car}[given.step], given.path, given.car)
        return
    with tempfile.TemporaryDirectory(dir=given.path) as name:
        folder = Path(name)
        if given.only in (None, "stores"):
            measure_stores(folder, given.rounds)
        if given.only in (None, "care"):
            measure_care(folder, given.blocks, given.rounds)
        if given.only in (None, "car"):
            measure_car(folder, given.car_mib)


if __name__ == "__main__":
    main()
