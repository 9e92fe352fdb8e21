"""Versions that came from elsewhere: verified, pinned and listed; the newest only moves forward."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from qflow import model
from qflow.errors import BlockNotFoundError, QflowError, StaleError, VerificationError
from qflow.state import _index
from qflow.state._chain import walk_back
from qflow.state._commit import head_of, pin_name
from qflow.state._index import Head
from qflow.state._ports import Pins
from qflow.state._reader import Opened, Reader, name_of
from qflow.state._saved import Refused, Saved
from qflow.storage import SqliteBlocks


class Candidate(NamedTuple):
    """A version whose signature and summary are good."""

    opened: Opened
    head: Head

    @property
    def saved(self) -> Saved:
        """Its row."""
        return self.opened.saved


class Plan(NamedTuple):
    """What is to be written for one chain."""

    expected: bytes | None
    """The CID of the head that it was made for."""
    taken: list[Candidate]
    """In order, the oldest first."""
    moves: bool
    """Whether the last of them becomes the head."""
    refused: list[Refused]
    diverged: list[Refused]


def candidate(reader: Reader, cid: bytes) -> Candidate | Refused:
    """A version that may be taken in, or why it may not."""
    try:
        version = reader.version(cid)
    except QflowError as error:
        return Refused(cid, str(error))
    try:
        opened = reader.open(cid)
    except QflowError as error:
        return Refused(cid, str(error), version.chain, version.seq)
    return Candidate(opened, head_of(cid, version.fields()))


def plan(reader: Reader, head: Head | None, given: Iterable[Candidate]) -> Plan:
    """Which versions of one chain are taken, and whether its head moves.

    The newest one that becomes the head is verified whole: its state, its flow, and its records
    from 0 on, among which must be those of the head here. The others have to lie on the same
    records. A version of a later epoch takes the place of a head that it does not follow, for whose
    writer was fenced; it is reported, as are all others, which are not taken.
    """
    due = sorted(given, key=lambda one: one.head.order)
    made = Plan(None if head is None else head.cid, [], True, [], [])
    while due and (head is None or due[-1].head.order > head.order):
        best = due.pop()
        try:
            spine = _spine(reader, best, [*due, *([] if head is None else [head])])
        except QflowError as error:
            made.refused.append(_refused(best, str(error)))
            continue
        if head is not None and spine.get(head.seq) != head.head:
            if best.head.epoch <= head.epoch:
                made.diverged.append(_diverged(best.head, head))
                continue
            made.diverged.append(_diverged(head, best.head))
        made.taken.append(best)
        moves = head is None or head.gives_way_to(best.head)
        return _with_older(made, due, spine, best.head)._replace(moves=moves)
    if head is None or not due:
        return made._replace(moves=False)
    try:
        spine = _spine_of_head(reader, head, due)
    except QflowError as error:
        why = f"the newest version here, {name_of(head.cid)}, cannot be verified: {error}"
        made.refused.extend(_refused(one, why) for one in due)
        return made._replace(moves=False)
    return _with_older(made, due, spine, head)._replace(moves=False)


def write(
    db: sqlite3.Connection, store: SqliteBlocks, pins: Pins | None, chain: bytes, made: Plan
) -> tuple[list[Saved], list[Refused]]:
    """Pin and list what is taken, within a transaction; what is not complete is refused.

    Raises StaleError when the head moved since the plan was made.
    """
    found = _index.head_of(db, chain)
    if (None if found is None else found.cid) != made.expected:
        raise StaleError(f"{model.id_text(chain)} has another newest version by now")
    taken: list[Saved] = []
    refused: list[Refused] = []
    newest: Candidate | None = None
    for one in made.taken:
        name = pin_name(one.saved)
        db.execute("SAVEPOINT taken")
        try:
            store.pin_block(db, one.saved.cid, name)
        except (BlockNotFoundError, VerificationError) as error:
            db.execute("ROLLBACK TO taken")
            refused.append(_refused(one, str(error)))
        else:
            _index.put_version(db, one.saved)
            if pins is not None:
                pins.want_pin(db, one.saved.cid, name)
            taken.append(one.saved)
            newest = one
        db.execute("RELEASE taken")
    if made.moves and newest is not None and (found is None or found.gives_way_to(newest.head)):
        _index.put_head(db, newest.head, newest.saved.flow)
    return taken, refused


def _with_older(made: Plan, due: list[Candidate], spine: dict[int, bytes], head: Head) -> Plan:
    """The older ones beside the newest: those that lie on its records are taken too."""
    for one in due:
        if spine.get(one.head.seq) == one.head.head:
            made.taken.append(one)
        else:
            made.diverged.append(_diverged(one.head, head))
    made.taken.sort(key=lambda one: one.head.order)
    return made


def _spine(reader: Reader, best: Candidate, others: Iterable[Candidate | Head]) -> dict[int, bytes]:
    """The hashes of the records that these versions end with, in the chain of the best one, which
    is verified whole."""
    reader.state(best.opened)
    reader.document(best.opened)
    return _hashes(reader, best.opened, others)


def _spine_of_head(reader: Reader, head: Head, others: Iterable[Candidate]) -> dict[int, bytes]:
    return _hashes(reader, reader.open(head.cid), others)


def _hashes(
    reader: Reader,
    opened: Opened,
    others: Iterable[Candidate | Head],
) -> dict[int, bytes]:
    wanted = {one.seq if isinstance(one, Head) else one.head.seq for one in others}
    found: dict[int, bytes] = {}
    for step in walk_back(reader, opened):
        numbered = enumerate(step.entries, step.segment.first)
        found |= {seq: entry.hash for seq, entry in numbered if seq in wanted}
    return found


def _refused(one: Candidate, why: str) -> Refused:
    return Refused(one.saved.cid, why, one.saved.chain, one.saved.seq)


def _diverged(one: Head, newest: Head) -> Refused:
    why = (
        f"its records are not those of {name_of(newest.cid)}: two owners went on from one place"
        f" (epochs {one.epoch} and {newest.epoch}, records {one.seq} and {newest.seq})"
    )
    return Refused(one.cid, why, one.chain, one.seq)
