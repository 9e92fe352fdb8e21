"""Small histories by hand: replicas with names, which write and see each other's changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from tests.crdt.specification import Change, History, Reading, Writer, parts


class Made:
    """A history in the making. A replica's name is its key; a CID is a hash of a count."""

    def __init__(self) -> None:
        self.history = History()
        self.has: dict[str, set[bytes]] = {}
        self.last: dict[str, Change] = {}

    def write(self, name: str, fill: Callable[[Writer], None], line: str = "") -> Change:
        """One change of `name`; as another `line` of the replica if it forks."""
        has = self.has.setdefault(name + line, set())
        replica = name.encode().ljust(32, b"\0")
        writer = Writer(self.history, has, replica)
        fill(writer)
        prev = self.last.get(name + line)
        seq0, parent = (prev.end, prev.cid) if prev else (0, None)
        deps = tuple(sorted(has - {parent}))
        cid = hashlib.sha256(b"%d" % len(self.history.changes)).digest()
        change = Change(replica, seq0, parent, deps, tuple(writer.written), cid)
        self.history.add(change)
        has.add(cid)
        self.last[name + line] = change
        return change

    def see(self, name: str, *others: str) -> None:
        """`name` receives all that the others have."""
        for other in others:
            self.has.setdefault(name, set()).update(self.has.get(other, ()))

    def reading(self, *names: str) -> Reading:
        """What somebody reads who has all that these have."""
        return Reading(self.history, set().union(*(self.has[name] for name in names)))

    def call(self, name: str, method: str, path: str, *args: Any) -> Change:
        return self.write(name, lambda writer: getattr(writer, method)(parts(path), *args))


def concurrent(
    first: tuple[Any, ...], second: tuple[Any, ...], before: Iterable[tuple[Any, ...]] = ()
) -> Reading:
    """What comes of two calls that do not know of each other, after a common past.

    The first is by a replica whose key is less: of two equal times its operation loses.
    """
    made = Made()
    for call in before:
        made.call("0", *call)
    for name, call in (("a", first), ("b", second)):
        made.see(name, "0")
        made.call(name, *call)
    return made.reading("a", "b")


def kinds(reading: Reading) -> set[str]:
    return {conflict.kind for conflict in reading.conflicts()}
