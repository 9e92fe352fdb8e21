"""A draft becomes a version: checked against its chain, sealed, signed, and written.

What one costs, in us of processor time, of a chain that has versions, with a state of 2 KiB and six
records, four of them with a payload: checking the records 15, the segment 20, summary and version
45, of which the signature is 20 to 30, SQLite 120: 50 statements for eight blocks, the pin and the
rows. Sealing the state before took 10. `benches/bench_checkpoints.py` has the whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from qflow import _core, model
from qflow.errors import ErasedError, StaleError, UnavailableError, VerificationError
from qflow.state import _index
from qflow.state._draft import Block, Draft
from qflow.state._form import HASH_BYTES
from qflow.state._index import Head
from qflow.state._ports import Pins, Signer
from qflow.state._saved import Saved
from qflow.state._segment import make_segments
from qflow.state._version import Summary, make_version
from qflow.storage import SqliteBlocks

CHECKPOINT: Final = "q.qflow.checkpoint.created.v1"
PIN_NAME: Final = "qflow.state"
"""How the names of versions' pins begin."""
GENESIS: Final = bytes(HASH_BYTES)
"""What the first record of a chain names as the hash before it."""
SUMMARY_OF_META: Final = ("why", "size", "frames", "label", "description")
"""What a version's summary has of the `meta` of its record."""


class Prepared(NamedTuple):
    """A version, made for one place in its chain and not written yet."""

    saved: Saved
    head: Head
    """What the chain's head will be."""
    expected: bytes | None
    """The CID of the head that it follows."""
    blocks: list[Block]


def prepare(
    draft: Draft, last: dict[str, Any], head: Head | None, *, subnet: str, signer: Signer
) -> Prepared:
    """Make the version that follows `head`, of a draft whose checkpoint's record is `last`.

    Nothing is written. Raises StaleError when the draft does not follow it, VerificationError when
    the draft contradicts itself, ValueError when a text in it is too long, UnavailableError.
    """
    chain: bytes = last["chain"]
    if (key := draft.key) is None:
        raise UnavailableError("there is no key to seal with: no state is kept")
    if head is not None and (last["epoch"] < head.epoch or last["seq"] <= head.seq):
        raise StaleError(
            f"{model.id_text(chain)} has a version of epoch {head.epoch} at record {head.seq}:"
            f" one of epoch {last['epoch']} at record {last['seq']} is too late"
        )
    added, hashed = _added(draft, last, head)
    blocks = [*draft.blocks, *(payload for _, payload in added if payload is not None)]
    _check_blocks(blocks)
    names = [(data, payload and payload[0]) for data, payload in added]
    first, before = last["seq"] - len(added) + 1, None if head is None else head.history
    segments = make_segments(chain, first, before, names, key)
    blocks += segments
    if head is None:
        flow, document = key.seal_state(draft.document, subnet=subnet, chain=chain)
        blocks += document
    else:
        flow = head.flow  # sealed once for a chain
    fields = _fields(last, head, key=key.number, head=hashed, state=draft.blocks[-1][0])
    fields |= {"history": segments[-1][0], "flow": flow}
    summary = _summary(last, draft.status)
    data = make_version(fields, summary, key, signer.seed)
    cid = bytes(_core.cid_of(data))
    blocks.append((cid, data))
    return Prepared(
        saved_of(cid, fields, summary), head_of(cid, fields), fields["previous"], blocks
    )


def insert(
    db: sqlite3.Connection, store: SqliteBlocks, pins: Pins | None, prepared: Prepared
) -> Saved:
    """Write a version within a transaction. Raises StaleError when the head moved meanwhile, and
    ErasedError when the chain was erased; nothing is written then."""
    saved = prepared.saved
    if pins is not None and pins.is_erased(db, saved.chain):
        raise erased(saved.chain)
    found = _index.head_of(db, saved.chain)
    if (None if found is None else found.cid) != prepared.expected:
        raise StaleError(f"{model.id_text(saved.chain)} has another newest version by now")
    store.put_blocks(db, prepared.blocks)
    name = pin_name(saved)
    store.pin_block(db, saved.cid, name)
    _index.put_version(db, saved)
    _index.put_head(db, prepared.head, saved.flow)
    if pins is not None:
        pins.want_pin(db, saved.cid, name)
    return saved


def erased(chain: bytes) -> ErasedError:
    """Why a checkpoint that waited longer than its execution lasted is not kept."""
    return ErasedError(f"{model.id_text(chain)} was erased: no version of it is kept")


def pin_name(saved: Saved) -> str:
    """What the pin of a version is called, here and at every endpoint."""
    return f"{PIN_NAME}/{model.id_text(saved.chain)}/{saved.number}"


def saved_of(cid: bytes, fields: dict[str, Any], summary: Summary) -> Saved:
    """The row of a version."""
    return Saved(
        cid=cid,
        chain=fields["chain"],
        flow=summary.flow,
        number=fields["number"],
        epoch=fields["epoch"],
        at=fields["at"],
        seq=fields["seq"],
        head=fields["head"],
        state=fields["state"],
        size=summary.size,
        frames=summary.frames,
        status=summary.status,
        why=summary.why,
        node=fields["node"],
        previous=fields["previous"],
        label=summary.label,
        description=summary.description,
    )


def head_of(cid: bytes, fields: dict[str, Any]) -> Head:
    """The head of a chain whose newest version this is."""
    rest = (fields[name] for name in Head._fields[2:-1])
    return Head(fields["chain"], cid, *rest)


def checkpoint(draft: Draft, *, subnet: str, did: str) -> dict[str, Any]:
    """The decoded record of the checkpoint, which names this state.

    Raises VerificationError when the draft contradicts it, or it is not of this node."""
    if not draft.records or not draft.blocks:
        raise VerificationError("a draft without records or without a state")
    data, _ = draft.records[-1]
    record = _decoded(data)
    if record["type"] != CHECKPOINT:
        raise VerificationError(f"the last record of a draft is {record['type']}")
    state = str(_core.Cid(draft.blocks[-1][0]))
    if (named := record["meta"].get("state")) != state:
        raise VerificationError(f"the checkpoint's record names the state {named}, not {state}")
    size, _ = _core.state_parts(draft.blocks[-1][1])
    if record["meta"].get("size") != size:
        raise VerificationError(f"the checkpoint's record names another size than {size} bytes")
    if record["subnet"] != subnet:
        raise VerificationError(f"a record of subnet {record['subnet']!r}, not of {subnet!r}")
    if record["node"] != did:
        raise VerificationError(f"the checkpoint's record is of {record['node']}, not of {did}")
    return record


def _added(
    draft: Draft, last: dict[str, Any], head: Head | None
) -> tuple[Sequence[tuple[bytes, Block | None]], bytes]:
    """The records that the head has not yet, checked to follow it; and the hash of the last."""
    expected, skip = (GENESIS, 0) if head is None else (head.head, head.seq + 1)
    first = last["seq"] - len(draft.records) + 1
    if first > skip:
        raise StaleError(f"the records from {skip} to {first - 1} are missing in the draft")
    known = skip - first
    if known and _core.record_hash(draft.records[known - 1][0]) != expected:
        raise StaleError(f"record {skip - 1} is another one than the newest version has")
    added = draft.records[known:]
    for seq, (data, payload) in enumerate(added, skip):
        record = _decoded(data)
        if (record["chain"], record["seq"]) != (last["chain"], seq):
            raise VerificationError(f"another record stands in the place of record {seq}")
        if record["prev"] != expected:
            kind = StaleError if seq == skip else VerificationError
            raise kind(f"record {seq} does not follow the record before it")
        named = record["payload"]
        if (None if payload is None else payload[0]) != (None if named is None else bytes(named)):
            raise VerificationError(f"record {seq} names another payload than the draft has")
        expected = _core.record_hash(data)
    return added, expected


def _fields(record: dict[str, Any], before: Head | None, **more: Any) -> dict[str, Any]:
    """What a version has of its checkpoint's record, and of the version before it."""
    fields = {name: record[name] for name in ("subnet", "chain", "epoch", "at", "node", "seq")}
    fields["number"] = 0 if before is None else before.number + 1
    fields["previous"] = None if before is None else before.cid
    return fields | more


def _check_blocks(blocks: Sequence[Block]) -> None:
    """What was read from the log, or given by the engine, is what its CID says."""
    for (cid, _), fits in zip(blocks, _core.check_blocks(blocks), strict=True):
        if not fits:
            raise VerificationError(f"a block of the draft is not what its CID says: {cid.hex()}")


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        return _core.decode_record(data)
    except ValueError as error:
        raise VerificationError(f"a record of the draft: {error}") from None


def _summary(record: dict[str, Any], status: str) -> Summary:
    meta = record["meta"]
    said = {name: meta.get(name) for name in SUMMARY_OF_META}
    return Summary(flow=record["flow"], status=status, **said)
