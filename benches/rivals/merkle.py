"""PyPI pymerkle: a Merkle tree in Python over SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymerkle import InmemoryTree, SqliteTree, verify_inclusion


class Pymerkle:
    promises = (
        "SQLite, here with WAL and synchronous=FULL (its own default is the slower DELETE); "
        "nothing is signed: the root must reach the verifier in another way; "
        "proof: record and path"
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = SqliteTree(str(folder / "tree.db"))
        self.tree.con.execute("PRAGMA journal_mode=WAL")
        self.tree.con.execute("PRAGMA synchronous=FULL")
        self.root = b""

    def append(self, records: list[bytes]) -> None:
        self.tree.append_entries(records)

    def publish(self) -> None:
        self.root = self.tree.get_root()
        (self.folder / "root").write_bytes(self.root)

    def prove(self, index: int) -> tuple[Any, ...]:
        return index + 1, self.tree.get_entry(index + 1), self.tree.prove_inclusion(index + 1)

    def check(self, proof: tuple[Any, ...]) -> int:
        index, entry, path = proof
        verify_inclusion(path.hasher.hash_buff(entry), self.root, path, index=index)
        return len(entry) + sum(map(len, path.path)) + len(path.rule)

    def close(self) -> None:
        self.tree.close()


def verify(folder: Path) -> int:
    """It has no verification of what is stored: the tree is made again from the entries."""
    stored = SqliteTree(str(folder / "tree.db"))
    again = InmemoryTree()
    rows = stored.con.execute("SELECT entry FROM leaf ORDER BY id")
    size = again.append_entries(rows)
    assert again.get_root() == (folder / "root").read_bytes()
    stored.close()
    return int(size)
