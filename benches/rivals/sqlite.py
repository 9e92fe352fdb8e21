"""A hash chain in a table of SQLite: what one writes by hand."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

GENESIS = bytes(32)


def link(before: bytes, record: bytes) -> bytes:
    return sha256(before + sha256(record).digest()).digest()


class HashChain:
    promises = (
        "WAL, synchronous=FULL, one transaction for each group; nothing is signed: the last hash "
        "must reach the verifier in another way; proof: record and a hash for each later one"
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = sqlite3.connect(folder / "chain.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB, hash BLOB)")
        self.last = GENESIS

    def append(self, records: list[bytes]) -> None:
        rows, last = [], self.last
        for record in records:
            last = link(last, record)
            rows.append((record, last))
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO log (data, hash) VALUES (?, ?)", rows)
        self.db.execute("COMMIT")
        self.last = last

    def publish(self) -> None:
        (self.folder / "last").write_bytes(self.last)

    def prove(self, index: int) -> list[bytes]:
        row = self.db.execute("SELECT hash FROM log WHERE id = ?", (index,)).fetchone()
        later = self.db.execute("SELECT data FROM log WHERE id > ? ORDER BY id", (index,))
        (record,) = next(later)
        hashes = [sha256(data).digest() for (data,) in later]
        return [row[0] if row else GENESIS, record, *hashes]

    def check(self, proof: list[bytes]) -> int:
        before, record, *later = proof
        last = link(before, record)
        for digest in later:
            last = sha256(last + digest).digest()
        assert last == self.last
        return sum(map(len, proof))

    def close(self) -> None:
        self.db.close()


def verify(folder: Path) -> int:
    db = sqlite3.connect(folder / "chain.db")
    size, last = 0, GENESIS
    for data, stored in db.execute("SELECT data, hash FROM log ORDER BY id"):
        last = link(last, data)
        assert last == stored
        size += 1
    assert last == (folder / "last").read_bytes()
    db.close()
    return size
