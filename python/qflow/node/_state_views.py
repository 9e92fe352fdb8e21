"""What is shown of stored states: versions with their blocks, pins and place in the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from qflow import _core, model
from qflow.api._states import Checkpoint, Detail, Fault, StoredState
from qflow.errors import CorruptError

if TYPE_CHECKING:
    from qflow.audit import History
    from qflow.node._state_carriers import Carriers
    from qflow.state import Finding, Saved, States
    from qflow.storage import SqliteBlocks

MATCHES: Final = "matches"
DIFFERS: Final = "differs"
ABSENT: Final = "absent"
_RAW: Final = 0x55
_CODEC_AT: Final = 1
"""Where a binary CIDv1 has its codec."""


def checkpoint_of(saved: Saved, *, erased: bool) -> Checkpoint:
    """A version as it is shown."""
    made = Checkpoint(
        cid=cid_text(saved.cid),
        execution=model.id_text(saved.chain),
        number=saved.number,
        epoch=saved.epoch,
        previous=None if saved.previous is None else cid_text(saved.previous),
        at=saved.at,
        node=saved.node,
        seq=saved.seq,
        head=saved.head.hex(),
        state=cid_text(saved.state),
    )
    if not saved.flow:
        why = model.Withheld.ERASED if erased else model.Withheld.SEALED
        return replace(made, payloads=why.value)
    return replace(
        made,
        flow=saved.flow,
        status=saved.status,
        label=saved.label,
        description=saved.description,
        why=saved.why,
        size=saved.size,
        frames=saved.frames,
    )


def fault_of(found: Finding, chain: bytes | None) -> Fault:
    """A finding of an execution, or of none."""
    execution = None if chain is None else model.id_text(chain)
    return Fault(where=found.where, what=found.what, execution=execution)


def cid_text(cid: bytes) -> str:
    """A CID as people write it."""
    return str(_core.Cid(cid))


def reach(db: sqlite3.Connection, blocks: SqliteBlocks, root: bytes) -> dict[bytes, int]:
    """The blocks beneath a root with their sizes, as far as they are here. Hashes nothing.

    Of raw blocks only the size is read: they are the bulk, and link to nothing.
    """
    found: dict[bytes, int] = {}
    due = [root]
    while due:
        cid = due.pop()
        if cid in found:
            continue
        if cid[_CODEC_AT] == _RAW:
            found[cid] = _size_of(db, cid)
            continue
        (data,) = blocks.load_blocks(db, [cid])
        if data is not None:
            found[cid] = len(data)
            due += _core.block_links(cid, data)
    return found


def _size_of(db: sqlite3.Connection, cid: bytes) -> int:
    row = db.execute("SELECT size FROM block WHERE cid = ?", (cid,)).fetchone()
    return 0 if row is None else int(row[0])


class Views:
    """Shows what `States` keeps. All calls block."""

    def __init__(
        self,
        states: States,
        blocks: SqliteBlocks,
        *,
        history: History | None,
        pinned: Carriers,
        is_trusted: Callable[[str], bool],
        is_erased: Callable[[bytes], bool],
    ) -> None:
        self._states, self._blocks, self._history = states, blocks, history
        self._pinned, self._is_trusted, self._is_erased = pinned, is_trusted, is_erased

    def checkpoint(self, saved: Saved) -> Checkpoint:
        """A version as it is shown."""
        return checkpoint_of(saved, erased=self._is_erased(saved.chain))

    def detail(self, saved: Saved) -> Detail:
        """A version with what it takes, what it shares and where it is."""
        others = [item.cid for item in self._states.history(saved.chain) if item.cid != saved.cid]

        def read(db: sqlite3.Connection) -> tuple[dict[bytes, int], set[bytes]]:
            own = reach(db, self._blocks, saved.cid)
            theirs: set[bytes] = set()
            for cid in others:
                theirs |= reach(db, self._blocks, cid).keys()
            return own, theirs

        own, theirs = self._blocks.database.read(read)
        shared = [size for cid, size in own.items() if cid in theirs]
        return Detail(
            checkpoint=self.checkpoint(saved),
            blocks=len(own),
            bytes=sum(own.values()),
            shared_blocks=len(shared),
            shared_bytes=sum(shared),
            trusted=self._is_trusted(saved.node),
            in_log=self.in_log(saved),
            pins=tuple(self._pinned.pins_of(saved.cid)),
        )

    def stored(self, newest: Saved) -> StoredState:
        """All that is stored of an execution."""
        versions = self._states.history(newest.chain)

        def read(db: sqlite3.Connection) -> dict[bytes, int]:
            whole: dict[bytes, int] = {}
            for version in versions:
                whole |= reach(db, self._blocks, version.cid)
            return whole

        whole = self._blocks.database.read(read)
        return StoredState(
            newest=self.checkpoint(newest),
            versions=len(versions),
            blocks=len(whole),
            bytes=sum(whole.values()),
            pins_owed=self._pinned.owed([version.cid for version in versions]),
            in_log=self.in_log(newest) == MATCHES,
        )

    def alone(self, chain: bytes, doomed: Sequence[Saved]) -> dict[bytes, int]:
        """The blocks of some versions that no other one of the chain needs, with their sizes."""
        gone = {saved.cid for saved in doomed}
        stay = [item.cid for item in self._states.history(chain) if item.cid not in gone]

        def read(db: sqlite3.Connection) -> dict[bytes, int]:
            kept: set[bytes] = set()
            for cid in stay:
                kept |= reach(db, self._blocks, cid).keys()
            found: dict[bytes, int] = {}
            for cid in gone:
                found |= reach(db, self._blocks, cid)
            return {cid: size for cid, size in found.items() if cid not in kept}

        return self._blocks.database.read(read)

    def in_log(self, saved: Saved) -> str:
        """Whether the record that binds a version is the one in the log of this home."""
        if self._history is None:
            return ABSENT
        try:
            last = self._history.last(saved.chain)
            if last is None or last.seq < saved.seq:
                return ABSENT
            found = self._history.records(saved.chain, after=saved.seq - 1, limit=1)
        except CorruptError:
            return DIFFERS
        if not found or found[0].seq != saved.seq:
            return ABSENT
        return MATCHES if found[0].hash == saved.head else DIFFERS
