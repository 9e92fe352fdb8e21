"""What a document means, by brute force: a set of operations, and for each the set that it saw.

Nothing here is clever, and nothing is shared with the product. An operation is compared with every
other; what is read is computed from the whole set each time. The rules are those of
docs/decisions/0026: an item is live unless an operation that clears its kind at its place saw it.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from tests.crdt.canonical import Link, encode

Path = tuple[str, ...]
ABSENT: Final = object()
CONFLICT_CONTEXT: Final = "qflow crdt conflict v1"


class Kind(enum.Enum):
    SET = "set"
    SET_MAP = "set map"
    DELETE = "delete"
    INCREMENT = "increment"
    APPEND = "append"
    MAP = "map"


ASSIGNS: Final = {Kind.SET, Kind.SET_MAP, Kind.DELETE}
MARKS: Final = {Kind.SET_MAP, Kind.MAP}


@dataclass(frozen=True)
class Operation:
    kind: Kind
    path: Path
    value: Any = None
    """Of a set the value, of an increment the number, of an append the tuple of values."""

    def clears(self, other: Operation) -> bool:
        """Whether the item of `other` goes when this operation saw it."""
        if self.kind in ASSIGNS and self.path == other.path[: len(self.path)]:
            return True
        return other.kind == Kind.DELETE and other.path == self.path[: len(other.path)]


@dataclass(frozen=True)
class Change:
    """What a replica signed at once. CIDs are the 32 bytes of the digest."""

    replica: bytes
    seq0: int
    prev: bytes | None
    deps: tuple[bytes, ...]
    operations: tuple[Operation, ...]
    cid: bytes

    @property
    def end(self) -> int:
        return self.seq0 + len(self.operations)

    @property
    def parents(self) -> tuple[bytes, ...]:
        return self.deps if self.prev is None else (self.prev, *self.deps)


@dataclass(frozen=True)
class Applied:
    """An operation in its place; bit i of `saw` says that it saw the i-th of the history."""

    operation: Operation
    stamp: tuple[int, bytes, int, bytes]
    saw: int
    index: int

    @property
    def cid(self) -> bytes:
        """CIDv1 raw sha2-256 of the change's CID and the sequence number."""
        _, _, seq, change = self.stamp
        digest = hashlib.sha256(cid_of_change(change) + seq.to_bytes(8, "big")).digest()
        return b"\x01\x55\x12\x20" + digest


def cid_of_change(digest: bytes) -> bytes:
    return b"\x01\x71\x12\x20" + digest


def pointer(path: Path) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def parts(text: str) -> Path:
    """The parts of a JSON Pointer that has no mistakes."""
    if not text:
        return ()
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


class History:
    """Every change there ever was, anywhere, with its past. `Reading` picks what somebody has."""

    def __init__(self) -> None:
        self.changes: dict[bytes, Change] = {}
        self.below: dict[bytes, frozenset[bytes]] = {}
        """By change, all changes in its context."""
        self.applied: list[Applied] = []
        self.cleared_by: list[int] = []
        """By operation, as bits, the operations that make its item no longer live."""
        self.members: dict[bytes, int] = {}
        """By change, as bits, its operations."""
        self.past: dict[bytes, int] = {}
        """By change, as bits, the operations in its context and its own."""
        self.lamport: dict[bytes, int] = {}
        """By change, the greatest time in its context and of its own."""

    def add(self, change: Change) -> None:
        """Take a change whose parents are here. Again is nothing."""
        if change.cid in self.changes:
            return
        self.changes[change.cid] = change
        parents = change.parents
        self.below[change.cid] = frozenset(parents).union(*(self.below[cid] for cid in parents))
        saw = 0
        for cid in parents:
            saw |= self.past[cid]
        lamport = max((self.lamport[cid] for cid in parents), default=0)
        members = 0
        for seq, operation in enumerate(change.operations, change.seq0):
            lamport += 1
            bit = self._apply(operation, (lamport, change.replica, seq, change.cid), saw)
            saw |= bit
            members |= bit
        self.members[change.cid] = members
        self.past[change.cid] = saw
        self.lamport[change.cid] = lamport

    def _apply(self, operation: Operation, stamp: tuple[int, bytes, int, bytes], saw: int) -> int:
        bit = 1 << len(self.applied)
        for earlier in self.applied:
            if saw >> earlier.index & 1 and operation.clears(earlier.operation):
                self.cleared_by[earlier.index] |= bit
        self.applied.append(Applied(operation, stamp, saw, len(self.applied)))
        self.cleared_by.append(0)
        return bit

    def forget_last(self) -> None:
        """Take the newest change back: a transaction reads what it wrote before it is signed."""
        cid, change = self.changes.popitem()
        del self.applied[len(self.applied) - len(change.operations) :]
        kept = (1 << len(self.applied)) - 1
        self.cleared_by = [bits & kept for bits in self.cleared_by[: len(self.applied)]]
        for told in (self.below, self.members, self.past, self.lamport):
            del told[cid]


@dataclass(frozen=True)
class Conflict:
    path: str
    kind: str
    operations: tuple[bytes, ...]

    @property
    def id(self) -> str:
        fields = [self.path, self.kind, [Link(cid) for cid in self.operations]]
        return blake3(encode(fields), derive_key_context=CONFLICT_CONTEXT).hexdigest(16)


class Reading:
    """What one reads who has these changes (with the past of each)."""

    def __init__(self, history: History, changes: Iterable[bytes]) -> None:
        self.history = history
        self.changes = frozenset(changes)
        mine = 0
        for cid in self.changes:
            mine |= history.members[cid]
        self.at: dict[Path, list[Applied]] = {}
        """By path, the live items at it, the least stamp first."""
        self.beneath: dict[Path, list[Applied]] = {}
        """By path, the live items below it but for tombs, the least stamp first."""
        live = [one for one in history.applied if mine >> one.index & 1]
        live = [one for one in live if not history.cleared_by[one.index] & mine]
        for one in sorted(live, key=lambda one: one.stamp):
            path = one.operation.path
            self.at.setdefault(path, []).append(one)
            if one.operation.kind != Kind.DELETE:
                for depth in range(len(path)):
                    self.beneath.setdefault(path[:depth], []).append(one)

    def live(self, path: Path, *kinds: Kind) -> list[Applied]:
        return [one for one in self.at.get(path, ()) if one.operation.kind in kinds]

    def slots(self, path: Path) -> dict[str, Applied]:
        """The live slots of a path, each with the operation that stands for it."""
        items = {
            "register": self.live(path, Kind.SET),
            "counter": self.live(path, Kind.INCREMENT),
            "list": self.live(path, Kind.APPEND),
            "map": self.live(path, *MARKS) + self.beneath.get(path, []),
        }
        return {slot: max(ones, key=lambda one: one.stamp) for slot, ones in items.items() if ones}

    def shown(self, path: Path) -> tuple[str, ...]:
        """The slots that the view of the path shows: none, one, or two that are combined."""
        slots = self.slots(path)
        if "register" in slots:
            rivals = [slot for slot in slots if slot in ("register", "map")]
        else:
            rivals = list(slots)
        if not rivals:
            return ()
        best = max(rivals, key=lambda slot: slots[slot].stamp)
        if best == "register":
            winner = slots["register"].operation.value
            if is_int(winner) and "counter" in slots:
                return ("register", "counter")
            if isinstance(winner, list | tuple) and "list" in slots:
                return ("register", "list")
        return (best,)

    def kind(self, path: Path) -> str:
        """What a writer may do here: absent, int, counter, list, map or other."""
        shown = self.shown(path)
        if not path:
            return "map"
        if not shown:
            return "absent"
        if shown[0] != "register":
            return shown[0]
        winner = self.slots(path)["register"].operation.value
        if is_int(winner):
            return "int"
        return "list" if isinstance(winner, list | tuple) else "other"

    def view(self, path: Path = ()) -> Any:
        """The value at a path, or `ABSENT`."""
        if self.kind(path) == "map":
            return {part: self.view((*path, part)) for part in self.members(path)}
        shown = self.shown(path)
        value: Any = ABSENT
        for slot in shown:
            if slot == "register":
                value = self.slots(path)["register"].operation.value
            elif slot == "counter":
                value = (0 if value is ABSENT else value) + self.total(path)
            else:
                value = [*(() if value is ABSENT else value), *self.elements(path)]
        return value

    def members(self, path: Path) -> list[str]:
        depth = len(path)
        return sorted({one.operation.path[depth] for one in self.beneath.get(path, ())})

    def total(self, path: Path) -> int:
        return sum(one.operation.value for one in self.live(path, Kind.INCREMENT))

    def elements(self, path: Path) -> Iterator[Any]:
        for one in self.live(path, Kind.APPEND):
            yield from one.operation.value

    def siblings(self, path: Path) -> list[tuple[bytes, Any]]:
        """Every live register item with the CID of its operation, the winner last."""
        return [(one.cid, one.operation.value) for one in self.live(path, Kind.SET)]

    def conflicts(self) -> set[Conflict]:
        paths = {path[:depth] for path in self.at for depth in range(len(path) + 1)}
        found: set[Conflict] = set()
        for path in paths:
            for kind, ones in self._conflicts(path):
                cids = tuple(sorted(one.cid for one in ones))
                found.add(Conflict(pointer(path), kind, cids))
        return found

    def _conflicts(self, path: Path) -> Iterator[tuple[str, list[Applied]]]:
        slots = self.slots(path)
        registers = self.live(path, Kind.SET)
        if len({encode(one.operation.value) for one in registers}) > 1:
            yield "set", registers
        tombs = self.live(path, Kind.DELETE)
        if tombs and slots:
            yield "delete", [*tombs, max(slots.values(), key=lambda one: one.stamp)]
        if registers:
            yield from self._late(path, registers[-1])
        if len(slots) > max(1, len(self.shown(path))):
            yield "type", list(slots.values())

    def _late(self, path: Path, winner: Applied) -> Iterator[tuple[str, list[Applied]]]:
        """What was added to a number or a list by somebody who had not seen it."""
        value = winner.operation.value
        kinds = {Kind.INCREMENT: is_int(value), Kind.APPEND: isinstance(value, list | tuple)}
        for kind, fits in kinds.items():
            late = [one for one in self.live(path, kind) if not one.saw >> winner.index & 1]
            if fits and late:
                yield kind.value, [winner, late[0]]

    def heads(self) -> list[tuple[bytes, int, bytes]]:
        """The last change of each line: (replica, operations, CID). Two of one replica: a fork."""
        changes = [self.history.changes[cid] for cid in self.changes]
        continued = {change.prev for change in changes}
        ends = [change for change in changes if change.cid not in continued]
        return sorted((change.replica, change.end, change.cid) for change in ends)

    def clock(self) -> bytes:
        """The heads as they go over the wire."""
        heads = [[replica, end, Link(cid_of_change(cid))] for replica, end, cid in self.heads()]
        return encode(heads)

    def stable(self, replicas: Iterable[bytes]) -> frozenset[bytes]:
        """The greatest cut that all these replicas have shown to have seen, on all of their lines,
        and that every change outside of it saw whole: whoever has it can forget how it came."""
        below = self.history.below
        cut = frozenset(self.changes)
        heads = self.heads()
        for replica in replicas:
            ends = [cid for key, _, cid in heads if key == replica]
            cut &= frozenset().union(*(below[cid] | {cid} for cid in ends[:1]))
            for cid in ends[1:]:
                cut &= below[cid] | {cid}
        while outside := [cid for cid in self.changes - cut if not cut <= below[cid]]:
            cut &= below[outside[0]]
        return cut


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Mismatch(Exception):
    """The writer's own view has another type there."""


class Writer:
    """An open transaction: what a replica that has `changes` may write, and what comes of it."""

    def __init__(self, history: History, changes: Iterable[bytes], replica: bytes) -> None:
        self.history = history
        self.changes = frozenset(changes)
        self.replica = replica
        self.written: list[Operation] = []

    def reading(self) -> Reading:
        """What the transaction reads, its own writes with it."""
        cid = b"\xff" * 32
        draft = Change(self.replica, 0, None, tuple(self.changes), tuple(self.written), cid)
        self.history.add(draft)
        try:
            return Reading(self.history, self.changes | {cid})
        finally:
            self.history.forget_last()

    def set(self, path: Path, value: Any) -> None:
        self._beneath(self.reading(), path)
        if isinstance(value, Mapping):
            self.written += [Operation(Kind.SET_MAP, path), *assigned(path, value, Kind.SET_MAP)]
        else:
            self.written.append(Operation(Kind.SET, path, value))

    def delete(self, path: Path) -> None:
        if self.reading().view(path) is not ABSENT:
            self.written.append(Operation(Kind.DELETE, path))

    def increment(self, path: Path, by: int) -> None:
        self._fits(path, "absent", "int", "counter")
        self.written.append(Operation(Kind.INCREMENT, path, by))

    def append(self, path: Path, *values: Any) -> None:
        self._fits(path, "absent", "list")
        self.written.append(Operation(Kind.APPEND, path, values))

    def merge(self, path: Path, mapping: Mapping[str, Any]) -> None:
        reading = self.reading()
        for inner in inner_maps(path, mapping):
            self._beneath(reading, (*inner, ""))
        if mapping:
            self.written += assigned(path, mapping, Kind.MAP)
        else:
            self.written.append(Operation(Kind.MAP, path))

    def _fits(self, path: Path, *kinds: str) -> None:
        reading = self.reading()
        self._beneath(reading, path)
        if reading.kind(path) not in kinds:
            raise Mismatch(path)

    def _beneath(self, reading: Reading, path: Path) -> None:
        for depth in range(len(path)):
            if reading.kind(path[:depth]) not in ("absent", "map"):
                raise Mismatch(path[:depth])


def assigned(path: Path, mapping: Mapping[str, Any], mark: Kind) -> Iterator[Operation]:
    """What a literal of a map writes beneath a path; `mark` is what its maps become."""
    for part, value in mapping.items():
        inner = (*path, part)
        if not isinstance(value, Mapping):
            yield Operation(Kind.SET, inner, value)
            continue
        if mark == Kind.SET_MAP or not value:
            yield Operation(mark, inner)
        yield from assigned(inner, value, mark)


def inner_maps(path: Path, mapping: Mapping[str, Any]) -> Iterator[Path]:
    yield path
    for part, value in mapping.items():
        if isinstance(value, Mapping):
            yield from inner_maps((*path, part), value)
