"""The documents that bench_crdt.py measures beside Qflow's, each behind one interface.

Every document begins the same: a map `m`, a counter `n` and a list `l`. Each adapter does a thing
by the shortest way that its library has for it, holding on to what it can: what is measured is the
library as it is reached from Python, not the adapter. The oracle of the tests uses them too.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

NAMES = ("qflow", "loro", "pycrdt", "automerge")
MODULES = {
    "qflow": "benches.rivals.crdt_ours",
    "loro": "benches.rivals.crdt_loro",
    "pycrdt": "benches.rivals.crdt_pycrdt",
    "automerge": "benches.rivals.crdt_automerge",
    "pycrdt inside": "benches.rivals.crdt_pycrdt_inside",
}
INSIDE = "pycrdt inside"
"""Beside those where writes are measured."""
SIGNED = "qflow"
"""The one whose updates are signed, and checked when they are imported."""

Address = Any
"""How a library is told of a place; `addresses` makes it before the clock runs."""


class Document(Protocol):
    """One replica. Replicas are numbers from 1, and a greater number wins a tie everywhere."""

    def addresses(self, keys: Sequence[str]) -> Sequence[Address]:
        """Members of the map `m`, for `set_keys`."""

    def set_keys(self, addresses: Sequence[Address], values: Sequence[Any]) -> None:
        """Set members of the map `m`, each to its value, in one transaction."""

    def set_nested(self, groups: int, parts: int, leaves: int) -> None:
        """Set `m/g…/p…/l…` to a number, groups x parts x leaves times, in one transaction."""

    def set_object(self, key: str, value: dict[str, Any]) -> None:
        """Set a member of `m` to an object, in one transaction."""

    def delete(self, key: str) -> None:
        """Take a member out of `m`, in one transaction."""

    def increment(self, times: int) -> None:
        """Add one to the counter `n`, that many times, in one transaction."""

    def append(self, values: Sequence[Any]) -> None:
        """Append each to the list `l` by an operation of its own, in one transaction."""

    def clear(self) -> None:
        """Take every element that is there out of `l`, in one transaction."""

    def written(self) -> bytes:
        """All that this replica knows, as what goes to another one: its whole history."""

    def lacks(self, other: Any) -> bytes:
        """What `other`, a replica of the same library, lacks of it."""

    def take(self, update: bytes) -> None:
        """Import one update."""

    def take_batch(self, updates: Sequence[bytes]) -> None:
        """Import many, in the way that the library has for many."""

    def snapshot(self) -> bytes:
        """The form that loads fastest."""

    def read(self, parts: str = "mnl") -> dict[str, Any]:
        """These parts whole, as Python objects: {"m": {...}, "n": int, "l": [...]}."""

    def read_one(self, key: str) -> Any:
        """One member of `m`; None when it is absent."""


class Library(Protocol):
    """A module of this folder."""

    NAME: str
    TYPES: str
    """Which of its types stand for a map, a counter and a list."""
    COUNTS: bool
    """Whether it has a counter: totals in a map are no operations, and nothing is merged."""
    INCREMENTS_MAX: int
    """Above so many increments of one counter it takes minutes."""

    def version(self) -> str:
        """The version that is installed."""

    def create(self, replica: int) -> Document:
        """A new replica of the document."""

    def load(self, snapshot: bytes, replica: int) -> Document:
        """A replica from what `snapshot` gave."""


def library(name: str) -> Library:
    """Imports only what is asked for, for memory is measured too."""
    module: Any = importlib.import_module(MODULES[name])
    found: Library = module
    return found
