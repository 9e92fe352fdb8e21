"""A document as a whole, given to another replica and taken from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from qflow.state._document_attestation import Attestation
from qflow.state._document_cut import covers
from qflow.state._document_exchange import Exported
from qflow.state._document_rejoin import rejoin
from qflow.state._document_words import Applied

if TYPE_CHECKING:
    from qflow.state._document_live import Live

BATCH_BYTES: Final = 1 << 20
"""Written in one transaction."""


async def export(live: Live) -> bytes:
    """See `Document.export`."""
    async with live.writing():
        return await anyio.to_thread.run_sync(_export, live)


def _export(live: Live) -> bytes:
    store, me, doc = live.store, live.me, live.row.id
    stored = store.load(live.row, live.owner, live.tail)
    cut, cid = stored.about.cut, stored.about.cid
    said = live.attestations_now()
    if cut is not None and cid is not None and me.seed is not None:
        said = [one for one in said if Attestation.parse(one).replica != me.replica]
        said.append(Attestation.made(doc, cut, cid, me.replica, me.seed).encode())
    snapshot, packs = b"".join(stored.snapshot), [live.core.delta(cut)]
    return Exported(store.subnet, doc, cut, snapshot, said, packs).encode()


async def take_export(live: Live, data: bytes) -> Applied:
    """See `Document.import_`."""
    exported = await anyio.to_thread.run_sync(Exported.parse, data)
    exported.check(live.store.subnet, live.row.id)
    if exported.cut is None or covers(live.core.clock(), exported.cut):
        return await live.apply(exported.packs)
    members = live.members
    exported.check_attested(members, live.me.replica, live.care.quorum)
    async with live.writing():
        made = await anyio.to_thread.run_sync(rejoin, live, exported, members)
        parts = [*made.base.parts, *made.added.parts]
        await anyio.to_thread.run_sync(live.store.put_parts, parts, BATCH_BYTES)
        with anyio.CancelScope(shield=True):
            await live.put_in_place(made.core, made.base, made.added)
            if made.again is not None:
                await live.show(made.again)
    live.watchers.tell([""], local=False, operations=made.applied.operations)
    await live.notice()
    live.care.wake()
    return made.applied
