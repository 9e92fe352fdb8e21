"""pycrdt past its own Python: what its classes call in Rust, without their checks.

Not its interface, but it shows how much of pycrdt's time its Python takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benches.rivals import crdt_pycrdt
from benches.rivals.crdt_pycrdt import APPENDED_AT_ONCE, COUNTS, INCREMENTS_MAX, load, version

__all__ = ["COUNTS", "INCREMENTS_MAX", "NAME", "TYPES", "create", "load", "version"]

NAME = "pycrdt inside"
TYPES = "the same, by the calls that its Python classes make in Rust: not its interface"


class Document(crdt_pycrdt.Document):
    def set_keys(self, addresses: Sequence[str], values: Sequence[Any]) -> None:
        with self.doc.transaction() as transaction:
            insert, inner = self.map.integrated.insert, transaction._txn
            for key, value in zip(addresses, values, strict=True):
                insert(inner, key, value)

    def increment(self, times: int) -> None:
        with self.doc.transaction() as transaction:
            insert, inner, own = self.totals.integrated.insert, transaction._txn, self.own
            for total in range(self.total + 1, self.total + times + 1):
                insert(inner, own, total)
        self.total += times

    def append(self, values: Sequence[Any]) -> None:
        length = len(self.list)
        for at in range(0, len(values), APPENDED_AT_ONCE):
            with self.doc.transaction() as transaction:
                insert, inner = self.list.integrated.insert, transaction._txn
                for index, value in enumerate(values[at : at + APPENDED_AT_ONCE], length + at):
                    insert(inner, index, value)


def create(replica: int) -> Document:
    return Document(replica)
