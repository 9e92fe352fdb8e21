"""The index beside SQLite: making it from a log, and queries by execution, actor, text and time.

    python -m benches.bench_index [--log DIR] [--records N] [--length L] [--rounds R]

Without --log a log of N records is made: executions of L records side by side, and now and then
one by a rare actor. The rival has the same records in one SQLite table, with an index for each
field that is asked for and an FTS5 table of the same texts; it too reads them from the log, by the
same scan and decoder. Rounds alternate. Each answer is compared with the rival's.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from benches import history, measure
from qflow import _core, model
from qflow.audit import History, Index, Query

RARE: Final = "auditor@example.org"
RARE_EVERY: Final = 20
"""Commits of 1,000 records between two executions of the rare actor."""
LIMIT: Final = 100
BATCH_BYTES: Final = 4 << 20
TARGET_RECORDS_S: Final = 300_000
TARGET_MS: Final = 5.0

_TABLES: Final = """
CREATE TABLE records (
  idx INTEGER PRIMARY KEY, chain BLOB, seq INTEGER, type TEXT, flow TEXT, step TEXT, actor TEXT,
  node TEXT, subnet TEXT, at INTEGER, data BLOB
);
CREATE INDEX by_chain ON records (chain, seq);
CREATE INDEX by_type ON records (type);
CREATE INDEX by_flow ON records (flow);
CREATE INDEX by_actor ON records (actor);
CREATE INDEX by_at ON records (at);
CREATE VIRTUAL TABLE texts USING fts5 (text, content = '', detail = 'none', columnsize = 0);
"""

Asked = tuple[str, Query, str, tuple[Any, ...]]
"""A name, the query, and the rival's statement with its values."""


def make_log(folder: Path, records: int, length: int) -> None:
    log = _core.Log(str(folder), origin=history.ORIGIN, seed=history.SEED)
    number = 1 << 40
    for count, commit in enumerate(history.commits(records, length)):
        log.append_durable(*commit)
        if count % RARE_EVERY == RARE_EVERY // 2:
            rare, number = history.Chain(number, length), number + 1
            rare.actor, rare.left = RARE, [*rare.left[:-1], noted(rare.left[-1])]
            log.append_durable(*rare.next(length, history.STARTED_AT + count * 50))
        log.drain(1 << 20)
    log.close()


def noted(fact: history.Fact) -> history.Fact:
    kind, step, attempt, payload, meta = fact
    return kind, step, attempt, payload, {**meta, "note": "needle"}


class Ours:
    """The index of a home."""

    def __init__(self, folder: Path, source: _core.LogReader) -> None:
        self.path, self.source = folder / "ours.db", source

    def build(self) -> int:
        """As `qflow index rebuild` does, and as a node that finds none."""
        self.path.unlink(missing_ok=True)
        self.index = Index(self.path)
        self.index.catch_up(self.source)
        self.history = History(self.index, self.source)
        return self.path.stat().st_size

    def ask(self, asked: Asked) -> list[int]:
        return [entry.index for entry in self.history.query(asked[1]).records]


class Rival:
    """One table with indexes, and FTS5."""

    def __init__(self, folder: Path, source: _core.LogReader) -> None:
        self.path, self.source = folder / "rival.db", source

    def build(self) -> int:
        self.path.unlink(missing_ok=True)
        self.db = sqlite3.connect(self.path, isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536"):
            self.db.execute(f"PRAGMA {setting}")
        self.db.execute("BEGIN")
        for statement in _TABLES.split(";\n"):
            self.db.execute(statement)
        for rows in batches(self.source):
            texts = [
                (row[0], " ".join([row[3], row[4], row[5] or "", *row[6:8], row.pop()]))
                for row in rows
            ]
            self.db.executemany("INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)
            self.db.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", texts)
        self.db.execute("COMMIT")
        return self.path.stat().st_size

    def ask(self, asked: Asked) -> list[int]:
        found = self.db.execute(asked[2], asked[3]).fetchall()
        # As of ours: whoever asks gets records, not rows.
        return [index for index, data in found if _core.decode_record(data)]


def batches(source: _core.LogReader) -> Iterator[list[list[Any]]]:
    address, after = 0, -1
    while address != after:
        after, (records, _, address) = address, source.scan(address, BATCH_BYTES)
        yield [row_of(index, data) for index, _, data in records]


def row_of(index: int, data: bytes) -> list[Any]:
    said = _core.decode_record(data)
    named = [said[name] for name in ("chain", "seq", "type", "flow")]
    named += [said.get("step"), *(said[name] for name in ("actor", "node", "subnet", "at"))]
    return [index, *named, data, str(said["meta"].get("note", ""))]


def questions(records: int) -> Iterator[Callable[[int], Asked]]:
    """Each gives another of its kind for each round."""
    select = "SELECT idx, data FROM records WHERE"
    until = f"ORDER BY idx LIMIT {LIMIT}"

    def execution(number: int) -> Asked:
        chain = (records // 20 * (2 * number + 1) // 64).to_bytes(16, "big")
        query = Query(execution=model.id_text(chain), limit=LIMIT)
        return "one execution", query, f"{select} chain = ? ORDER BY seq LIMIT {LIMIT}", (chain,)

    def rare(_: int) -> Asked:
        return "rare actor", Query(actor=RARE, limit=LIMIT), f"{select} actor = ? {until}", (RARE,)

    def common(number: int) -> Asked:
        actor = f"user-{number}@example.org"
        return (
            "common actor",
            Query(actor=actor, limit=LIMIT),
            f"{select} actor = ? {until}",
            (actor,),
        )

    def text(_: int) -> Asked:
        match = f"{select} idx IN (SELECT rowid FROM texts WHERE texts MATCH ?) {until}"
        return "rare word", Query(text="needle", limit=LIMIT), match, ("needle",)

    def both(number: int) -> Asked:
        flow = f"shop/flow-{number % 20}/1.0.0"
        query = Query(flow=flow, type="exec.faulted", limit=LIMIT)
        match = f"{select} flow = ? AND type = ? {until}"
        return "failures of a flow", query, match, (flow, "q.qflow.exec.faulted.v1")

    def moment(number: int) -> Asked:
        since = history.STARTED_AT + records // 1000 * 50 * (number + 1) // 40
        query = Query(since=since, until=since + 200, limit=LIMIT)
        return "a time", query, f"{select} at >= ? AND at < ? {until}", (since, since + 200)

    yield from (execution, rare, common, text, both, moment)


def timed_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return (time.perf_counter() - begun) * 1000, result


def compare(folder: Path, source: _core.LogReader, rounds: int, asks: int) -> None:
    both: dict[str, Ours | Rival] = {"qflow": Ours(folder, source), "sqlite": Rival(folder, source)}
    records, sizes = source.size, dict[str, int]()
    built: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(rounds):
        for name, one in both.items():
            took, sizes[name] = timed_ms(one.build)
            built[name].append(records / took * 1000)
    measure.table(f"making the index of {records:,} records, records/s", built, digits=0)
    for name, size in sizes.items():
        print(f"  {name}: {size / records:.0f} bytes a record")
    least = measure.median(built["qflow"])
    measure.judge(f"{TARGET_RECORDS_S:,} records/s", least >= TARGET_RECORDS_S, f"{least:,.0f}")
    figures: dict[str, list[float]] = {}
    for ask in questions(records):
        for number in range(asks):
            asked = ask(number)
            found = {}
            for name, one in both.items():
                spent, found[name] = timed_ms(partial(one.ask, asked))
                figures.setdefault(f"{asked[0]}, {name}", []).append(spent)
            assert found["qflow"] == found["sqlite"], asked
            assert found["qflow"], asked
    measure.table(f"the first {LIMIT} records of an answer, ms", figures, digits=3)
    took = measure.median(figures["one execution, qflow"])
    measure.judge(f"one execution in {TARGET_MS:.0f} ms", took < TARGET_MS, f"{took:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--asks", type=int, default=20)
    parser.add_argument("--path", type=Path, help="where to, instead of TMPDIR")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.path) as name:
        folder = Path(name)
        if given.log is None:
            make_log(folder / "log", given.records, given.length)
        source = _core.LogReader(str(given.log or folder / "log"))
        compare(folder, source, given.rounds, given.asks)


if __name__ == "__main__":
    main()
