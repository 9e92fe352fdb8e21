"""Where a document is cut: what all members have seen, and which of them attest the snapshot there.

All of it is pure, or works on a document that nobody else sees.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qflow import _core
from qflow.diagnostics import logger
from qflow.state._document_attestation import (
    Attestation,
    attested_by,
    cuts_proposed,
    enough_of,
)
from qflow.state._document_load import Identity
from qflow.trust import did_of_public

if TYPE_CHECKING:
    from qflow._core import CrdtDocument

WAITS_MAX: Final = 16
_log = logger("qflow.state")


class Cut(NamedTuple):
    """A cut, and the snapshot there."""

    clock: bytes
    snapshot: bytes
    cid: bytes
    attestation: Attestation | None
    """Of this replica."""
    missing: tuple[bytes, ...]
    """Members that have not attested it, when too few have; else none."""


def operations_in(clock: bytes | None) -> int:
    """How many operations a clock says were seen."""
    return 0 if clock is None else sum(seq for _, seq, _ in _entries(clock))


def covers(clock: bytes, other: bytes | None) -> bool:
    """Whether a clock has seen at least as much of each replica as another."""
    seen = seen_of(clock)
    return all(seq <= seen.get(replica, -1) for replica, seq in seen_of(other).items())


def holding_back(core: CrdtDocument, members: Collection[bytes]) -> tuple[str, ...]:
    """The members that have not shown to have seen all, the furthest behind first, at most
    WAITS_MAX, as did:key."""
    now = core.clock()
    shown = {member: core.stable([member]) for member in members}
    behind = [member for member in members if not covers(shown[member], now)]
    behind.sort(key=lambda member: (operations_in(shown[member]), member))
    return tuple(did_of_public(member) for member in behind[:WAITS_MAX])


def cut_for(
    core: CrdtDocument,
    before: bytes | None,
    *,
    members: Collection[bytes],
    attestations: Sequence[Attestation],
    me: Identity,
    doc: bytes,
    quorum: int | None,
) -> Cut | None:
    """The next cut behind `before`, and the snapshot; `core` is compacted there. None: all that
    members have shown to have seen is before it already.

    With several members the cut is one that was attested already, if there is one: each on its own
    would cut elsewhere, and no two snapshots would be equal.
    """
    enough = enough_of(members, quorum)
    stable = core.stable(sorted(members))
    proposed = [
        cut
        for cut in cuts_proposed(attestations, members)
        if enough > 1 and covers(stable, cut) and _is_behind(cut, before)
    ]
    clock = proposed[0] if proposed else stable
    if not _is_behind(clock, before):
        return None
    snapshot = core.compact(clock)
    cid = bytes(_core.cid_of(snapshot, "raw"))
    mine = None
    if me.seed is not None and enough > 1:
        mine = Attestation.made(doc, clock, cid, me.replica, me.seed)
    said = [*attestations, *([] if mine is None else [mine])]
    have = attested_by(said, (clock, cid), doc, members) | ({me.replica} if enough == 1 else set())
    _compare(said, clock, cid)
    missing = () if len(have) >= enough else tuple(sorted(set(members) - have))
    return Cut(clock, snapshot, cid, mine, missing)


def _compare(said: Sequence[Attestation], clock: bytes, cid: bytes) -> None:
    """Replicas that have the same operations make the same snapshot: another one is a fault."""
    for one in said:
        if one.cut == clock and one.snapshot != cid:
            _log.error(
                "a member has another snapshot at the same cut",
                member=did_of_public(one.replica),
                snapshot=str(_core.Cid(one.snapshot)),
                here=str(_core.Cid(cid)),
            )


def _is_behind(clock: bytes, before: bytes | None) -> bool:
    if before is None:
        return operations_in(clock) > 0
    return clock != before and covers(clock, before)


def _entries(clock: bytes) -> list[Any]:
    found: list[Any] = _core.decode(clock)
    return found


def seen_of(clock: bytes | None) -> dict[bytes, int]:
    """How many operations of each replica a clock says were seen."""
    seen: dict[bytes, int] = {}
    for replica, seq, _ in [] if clock is None else _entries(clock):
        seen[replica] = max(seq, seen.get(replica, 0))
    return seen
