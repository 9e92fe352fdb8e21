"""A replica under test: the product's document, and beside it what the specification has."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from nacl.signing import SigningKey

from qflow import _core
from qflow.errors import TypeMismatchError
from tests.crdt import codec
from tests.crdt.canonical import Link
from tests.crdt.specification import (
    ABSENT,
    Change,
    History,
    Mismatch,
    Operation,
    Reading,
    Writer,
    pointer,
)
from tests.crdt.steps import Call

DOC: Final = b"document of test"
HASH_KEY: Final = b"h" * 32
CHANGE_OPERATIONS: Final = 256


def plain(value: Any) -> Any:
    """A value in which equal is equal bytes: no 1 == 1.0 == True, no 0.0 == -0.0."""
    match value:
        case dict():
            return {key: plain(value[key]) for key in sorted(value)}
        case list() | tuple():
            return [plain(item) for item in value]
        case bool() | None | str() | int():
            return (type(value).__name__, value)
        case float():
            return ("float", value.hex())
        case bytes() if not isinstance(value, Link):
            return ("bytes", value)
    return ("link", bytes(value))


def given(value: Any) -> Any:
    """A value as one gives it to the product: links as its own CIDs."""
    match value:
        case Link():
            return _core.Cid(bytes(value))
        case dict():
            return {key: given(member) for key, member in value.items()}
        case list() | tuple():
            return [given(item) for item in value]
    return value


def same(ours: Any, theirs: Any) -> bool:
    if ours is ABSENT or theirs is ABSENT:
        return ours is theirs
    return repr(plain(ours)) == repr(plain(theirs))


@dataclass(frozen=True)
class Author:
    """A key pair by a number."""

    number: int

    @property
    def seed(self) -> bytes:
        return hashlib.sha256(b"author %d" % self.number).digest()

    @property
    def key(self) -> bytes:
        return bytes(SigningKey(self.seed).verify_key)


@dataclass(frozen=True)
class Sent:
    """What was signed at once, as it goes over the wire."""

    pack: bytes
    cids: tuple[bytes, ...]


@dataclass
class Replica:
    """One document of one author. `has` and what else is not `document` is the model's."""

    seed: bytes
    key: bytes
    history: History
    document: _core.CrdtDocument = field(init=False)
    has: set[bytes] = field(default_factory=set)
    waiting: set[bytes] = field(default_factory=set)
    cut: frozenset[bytes] = frozenset()
    own: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.document = _core.CrdtDocument(DOC, replica=self.key, hash_key=HASH_KEY)

    def reading(self) -> Reading:
        return Reading(self.history, self.has)

    def next_place(self) -> tuple[bytes | None, int, tuple[bytes, ...]]:
        """`prev`, the sequence number and `deps` of the next change."""
        heads = self.reading().heads()
        mine = [(end, cid) for key, end, cid in heads if key == self.key]
        end, prev = max(mine, default=(0, None))
        below = frozenset().union(*(self.history.below[cid] for cid in self.has))
        return prev, end, tuple(sorted(self.has - below - {prev}))

    def transact(self, calls: Iterable[Call], *, keep: bool = True) -> Sent | None:
        """The calls as one transaction, by both; None if nothing came of it.

        With `keep` false it is closed and then forgotten, as after a save that failed.
        """
        draft = self.document.begin()
        writer = Writer(self.history, self.has, self.key)
        cuts = [0]
        for call in calls:
            before = len(writer.written)
            self._call(draft, writer, call)
            if len(writer.written) - cuts[-1] > CHANGE_OPERATIONS:
                cuts.append(before)
        checked = draft.close(self.seed)
        changes = self._changes(writer.written, [*cuts, len(writer.written)])
        assert [codec.change(body) for body, _ in checked.bodies] == changes, "other changes"
        if not keep:
            self.document.abandon()
            return None
        pack = checked.pack()
        applied = self.document.apply(checked)
        assert not applied.refused, applied.refused
        if not changes:
            return None
        for change in changes:
            self.history.add(change)
            self.has.add(change.cid)
        self.own.append(Sent(pack, tuple(change.cid for change in changes)))
        return self.own[-1]

    def _call(self, draft: _core.CrdtTransaction, writer: Writer, call: Call) -> None:
        where = call.path if len(writer.written) % 2 else pointer(call.path)
        refused = [False, False]
        try:
            getattr(writer, call.method)(call.path, *call.arguments)
        except Mismatch:
            refused[0] = True
        try:
            getattr(draft, call.method)(where, *map(given, call.arguments))
        except TypeMismatchError:
            refused[1] = True
        assert refused[0] == refused[1], f"{call}: the specification refuses {refused[0]}"
        expected = writer.reading().view(call.path)
        found = draft.get(where, ABSENT)
        assert same(expected, found), f"{call} within: {found!r}, not {expected!r}"

    def _changes(self, written: list[Operation], cuts: list[int]) -> list[Change]:
        """The changes that these operations must be, to the byte."""
        made: list[Change] = []
        prev, seq0, deps = self.next_place()
        for start, end in itertools.pairwise(cuts):
            if start == end:
                continue
            draft = Change(self.key, seq0, prev, deps, tuple(written[start:end]), b"")
            cid = codec.digest(codec.body(DOC, draft))
            made.append(Change(self.key, seq0, prev, deps, draft.operations, cid))
            prev, seq0, deps = cid, made[-1].end, ()
        return made

    def receive(self, pack: bytes, cids: Iterable[bytes]) -> None:
        """The pack holds these changes, whatever their order and whether they can be admitted."""
        checked = _core.check_changes(pack, doc=DOC, members=None)
        assert not checked.refused, checked.refused
        applied = self.document.apply(checked)
        refused = {bytes(cid)[-32:] for cid, _ in applied.refused}
        expected = self._admit(set(cids))
        # Below a cut it cannot always tell what it has from what it will not take.
        told = refused == expected or (self.cut and not (refused - self.cut) & self.has)
        assert told, f"refused {applied.refused}, not {[cid.hex() for cid in expected]}"

    def _admit(self, cids: set[bytes]) -> set[bytes]:
        """What of them and of those that waited is refused; the rest is admitted or waits."""
        refused: set[bytes] = set()
        self.waiting |= cids - self.has
        moved = True
        while moved:
            moved = False
            for cid in sorted(self.waiting):
                parents = set(self.history.changes[cid].parents)
                stale = parents <= self.has and not self.cut <= self.history.below[cid]
                if stale or parents & refused:
                    refused.add(cid)
                elif parents <= self.has:
                    self.has.add(cid)
                else:
                    continue
                self.waiting.discard(cid)
                moved = True
        return refused

    def check(self) -> None:
        """The document says what the specification says."""
        reading = self.reading()
        clock = self.document.clock()
        assert clock == reading.clock(), "other heads"
        found, expected = self.document.get(""), reading.view()
        assert same(expected, found), f"view {found!r}, not {expected!r}"
        self._check_conflicts(reading)
        stats = self.document.stats()
        if not self.cut:
            assert stats["waiting"] == len(self.waiting), (stats, len(self.waiting))

    def _check_conflicts(self, reading: Reading) -> None:
        expected = {one.id: one for one in reading.conflicts()}
        found = {one["id"]: one for one in self.document.conflicts(10_000)}
        for one in found.values():
            said = (one["path"], one["kind"], tuple(map(bytes, one["operations"])))
            beside = expected.get(one["id"])
            assert beside, f"conflict {said}, not one of {[*expected.values()]}"
            assert said == (beside.path, beside.kind, beside.operations)
        missing = [one for name, one in expected.items() if name not in found]
        assert not missing, f"no conflict {missing}"

    def check_siblings(self, path: tuple[str, ...]) -> None:
        expected = [(cid, plain(value)) for cid, value in self.reading().siblings(path)]
        found = [
            (bytes(one["operation"]), plain(one["value"])) for one in self.document.siblings(path)
        ]
        assert repr(sorted(found, key=repr)) == repr(sorted(expected, key=repr)), path
