"""Going on from a snapshot that members attest, in place of what a replica had: what it had written
and nobody had seen is written again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qflow import _core
from qflow.errors import TypeMismatchError, UnavailableError, VerificationError
from qflow.state._document_cut import operations_in, seen_of
from qflow.state._document_exchange import Exported
from qflow.state._document_form import About
from qflow.state._document_store import Added, added_blocks, base_block
from qflow.state._document_words import Applied

if TYPE_CHECKING:
    from qflow._core import CheckedChanges, CrdtDocument
    from qflow.state._document_live import Live

EVENTS_MAX: Final = 1 << 24
"""Operations in a log that are looked through for one's own."""


class Rejoined(NamedTuple):
    """A document as it will be, and the blocks that hold it."""

    core: CrdtDocument
    base: Added
    added: Added
    again: CheckedChanges | None
    """What was written again, to be applied once all of it is saved."""
    applied: Applied


def rejoin(live: Live, exported: Exported, members: Sequence[bytes]) -> Rejoined:
    """Make the document of an export whose snapshot is attested, with what this replica has beyond
    it. Nothing is written. Blocks.

    Raises VerificationError, ValueError, UnavailableError (there is nobody to sign)."""
    old, me, doc = live.core, live.me, live.row.id
    core = _core.CrdtDocument.load(exported.snapshot, replica=me.replica, hash_key=me.hash_key)
    cut = exported.cut or b""
    if core.id != doc or core.clock() != cut:
        raise VerificationError("the snapshot of the export is of another document or cut")
    refused: list[tuple[bytes, str]] = []
    applied = operations = 0
    packs = [(pack, members) for pack in exported.packs]
    stored = live.store.load(live.row, live.owner, live.tail)
    for pack, whose in [*packs, (old.delta(stored.about.cut), None)]:
        checked = _core.check_changes(pack, doc=doc, members=whose)
        taken = core.apply(checked)
        applied, operations = applied + taken.applied, operations + taken.operations
        if whose is not None:
            refused += [*checked.refused, *taken.refused]
    again, lost = _written_again(live, core)
    number = live.tail.number + 1
    about = About(
        name=live.row.name,
        created=live.row.created_ms,
        cut=cut,
        cid=bytes(_core.cid_of(exported.snapshot, "raw")),
        operations=operations_in(cut),
    )
    base = base_block(live.owner, number, about, exported.snapshot)
    rest = [(core.delta(cut), operations)] if core.stats()["changes"] else []
    if again is not None:
        rest.append((again.pack(), again.operations))
    added = added_blocks(live.owner, number + 1, base.blocks[0][0], rest)
    result = Applied(
        applied=applied,
        known=0,
        waiting=core.stats()["waiting"],
        refused=(*refused, *lost),
        operations=operations,
    )
    return Rejoined(core, base, added, again, result)


def _written_again(
    live: Live, core: CrdtDocument
) -> tuple[CheckedChanges | None, list[tuple[bytes, str]]]:
    me = live.me
    seen = seen_of(core.clock()).get(me.replica, 0)
    history = live.core.history("", EVENTS_MAX)
    mine = [one for one in history if one["replica"] == me.replica and one["seq"] >= seen]
    unsent = [one for one in mine if not core.knows_change(one["change"])]
    if not unsent:
        return None, []
    if me.seed is None:
        raise UnavailableError("nobody is there to sign what has to be written again")
    draft, lost = core.begin(), []
    for one in sorted(unsent, key=lambda one: int(one["seq"])):
        try:
            _write(draft, one)
        except TypeMismatchError as error:
            lost.append((bytes(one["change"]), str(error)))
    again = draft.close(me.seed)
    return (again if len(again) else None), lost


def _write(draft: Any, one: dict[str, Any]) -> None:
    path, kind, value = one["path"], one["kind"], one["value"]
    if kind == "set":
        draft.set(path, value)
    elif kind == "set map":
        draft.set(path, {})
    elif kind == "map":
        draft.merge(path, {})
    elif kind == "delete":
        draft.delete(path)
    elif kind == "increment":
        draft.increment(path, value)
    else:
        draft.append(path, *value)
