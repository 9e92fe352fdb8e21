"""Catching up a Kubo beside Kubo's own import of the same blocks, pinned.

    python -m benches.bench_catch_up [--blocks N] [--rounds R]

Two shapes: N blocks of 1 KiB that are each pinned, and the same as leaves of one root that is.
Ours begins with the blocks in the embedded store and what is owed in the outbox, and ends when
everything is pinned and noted. Kubo's is `ipfs dag import` of one CAR file with the same roots,
and as a further row the same CAR over the RPC with nothing else. Rounds alternate; each begins
with an empty Kubo and blocks of its own.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from benches import measure
from qflow import _core
from qflow.clock import random_bytes
from qflow.storage import Block, Database, Kubo, Outbox, SqliteBlocks, write_car
from tests.kubo import daemon
from tests.kubo.daemon import IPFS, Daemon

BLOCK_BYTES = 1024
TIMES_MAX = 2.0
TIMEOUT_S = 300.0
daemon.COMMAND_S = TIMEOUT_S

Shape = tuple[list[bytes], list[Block]]
"""Roots, and all blocks."""


def each_pinned(count: int) -> Shape:
    blocks = [raw() for _ in range(count)]
    return [cid for cid, _ in blocks], blocks


def beneath_one(count: int) -> Shape:
    blocks = [raw() for _ in range(count)]
    data = _core.encode([_core.Cid(cid) for cid, _ in blocks])
    root = bytes(_core.cid_of(data))
    return [root], [*blocks, (root, data)]


def raw() -> Block:
    data = random_bytes(BLOCK_BYTES)
    return bytes(_core.cid_of(data, "raw")), data


SHAPES: dict[str, Callable[[int], Shape]] = {
    "each block pinned": each_pinned,
    "leaves of one pinned root": beneath_one,
}


def ours(folder: Path, kubo: Daemon, shape: Shape) -> float:
    roots, blocks = shape
    path = folder / "state.db"
    with Database(path) as database:
        store = SqliteBlocks(database)
        outbox = Outbox(database, [kubo.url], timeout_s=TIMEOUT_S)

        def keep(db: sqlite3.Connection) -> None:
            store.put_blocks(db, blocks)
            for cid in roots:
                store.pin_block(db, cid)
                outbox.want_pin(db, cid)

        database.write(keep)
        begun = time.perf_counter()
        (status,) = anyio.run(outbox.catch_up)
        took = time.perf_counter() - begun
    assert not status.pins, status
    for leftover in folder.glob("state.db*"):
        leftover.unlink()
    return took


def theirs(folder: Path, kubo: Daemon, shape: Shape) -> float:
    car = folder / "blocks.car"
    car.write_bytes(b"".join(write_car(*shape)))
    begun = time.perf_counter()
    kubo.ipfs("dag", "import", str(car))
    return time.perf_counter() - begun


def by_rpc(_: Path, kubo: Daemon, shape: Shape) -> float:
    async def send() -> float:
        async with Kubo(kubo.url, timeout_s=TIMEOUT_S) as store:
            begun = time.perf_counter()
            assert not await store.import_car(*shape, pin_roots=True)
            return time.perf_counter() - begun

    return anyio.run(send)


RIVALS = {"qflow catches up": ours, "ipfs dag import": theirs, "the CAR by RPC": by_rpc}


def measured(make: Callable[[], Shape], rounds: int, folder: Path) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in RIVALS}
    for number in range(rounds):
        # Each is first as often as the others.
        names = list(RIVALS)
        for name in names[number % 3 :] + names[: number % 3]:
            place = folder / f"{number}-{name.replace(' ', '-')}"
            place.mkdir()
            shape = make()
            with Daemon(place) as kubo:
                took[name].append(RIVALS[name](place, kubo, shape))
                pins = kubo.pins()
            assert len(pins) == len(shape[0]), name
    return took


def judge(title: str, took: dict[str, list[float]]) -> None:
    measure.table(f"{title}, s", took, digits=3)
    pairs = zip(took["qflow catches up"], took["ipfs dag import"], strict=True)
    times = measure.median([mine / kubos for mine, kubos in pairs])
    target = f"at most {TIMES_MAX:g} times Kubo's own import"
    measure.judge(target, times <= TIMES_MAX, f"{times:.2f} times, median of the rounds")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not IPFS.is_file():
        print("no Kubo to measure with: make kubo")
        return 1
    for title, make in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            took = measured(partial(make, options.blocks), options.rounds, Path(folder))
        judge(f"{options.blocks} blocks of {BLOCK_BYTES} bytes, {title}", took)
    return 0


if __name__ == "__main__":
    sys.exit(main())
