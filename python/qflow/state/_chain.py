"""The records of a version, walked back by their hashes to record 0, and given forward again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._commit import CHECKPOINT, GENESIS, SUMMARY_OF_META
from qflow.state._draft import Block
from qflow.state._reader import Opened, Reader, name_of
from qflow.state._segment import Segment
from qflow.state._version import Version

PAYLOADS_MAX: Final = 32
"""Payload blocks that are in memory at a time; one has at most 1 MiB."""


class Entry(NamedTuple):
    """A record that was verified."""

    data: bytes
    record: dict[str, Any]
    hash: bytes


class Step(NamedTuple):
    """A segment that was verified, with its records in order."""

    cid: bytes
    segment: Segment
    entries: list[Entry]


def walk_back(reader: Reader, opened: Opened) -> Iterator[Step]:
    """The segments of a version, the newest first, each verified before it is given.

    The last record is the checkpoint's and says what the version says; each other one has the hash
    that the record behind it names; the first of the last segment begins the chain. Raises
    VerificationError, which names segment and record.
    """
    version = opened.version
    cid: bytes | None = version.history
    expected, seq = version.head, version.seq
    while cid is not None:
        segment, records = _segment(reader, cid, opened)
        if segment.first + len(records) != seq + 1:
            raise VerificationError(f"segment {name_of(cid)} does not end with record {seq}")
        entries: list[Entry] = []
        for data in reversed(records):
            entry = _entry(cid, data, version, seq, expected)
            if seq == version.seq:
                _check_checkpoint(entry.record, opened)
            entries.append(entry)
            expected, seq = entry.record["prev"], seq - 1
        entries.reverse()
        _check_payloads(cid, segment, entries)
        yield Step(cid, segment, entries)
        cid = segment.previous
    if expected != GENESIS:
        raise VerificationError("record 0 names a record before it")


def records(reader: Reader, opened: Opened) -> Iterator[tuple[list[bytes], list[Block]]]:
    """The records of a version from number 0 on, with their payload blocks, in small pieces.

    The chain was verified when this returns; the payloads of a piece when it is given.
    """
    segments = [step.cid for step in walk_back(reader, opened)]
    return _forward(reader, segments[::-1], opened)


def _forward(
    reader: Reader, segments: list[bytes], opened: Opened
) -> Iterator[tuple[list[bytes], list[Block]]]:
    for cid in segments:
        _, data = _segment(reader, cid, opened)
        piece: list[bytes] = []
        payloads: list[bytes] = []
        for record in data:
            piece.append(record)
            if (payload := _core.decode_record(record)["payload"]) is not None:
                payloads.append(bytes(payload))
            if len(payloads) == PAYLOADS_MAX:
                yield piece, list(zip(payloads, reader.load(payloads), strict=True))
                piece, payloads = [], []
        if piece:
            yield piece, list(zip(payloads, reader.load(payloads), strict=True))


def _segment(reader: Reader, cid: bytes, opened: Opened) -> tuple[Segment, list[bytes]]:
    (data,) = reader.blocks([cid])
    try:
        segment = Segment.parse(data)
        if segment.chain != opened.version.chain:
            raise ValueError("it is of another execution")
        return segment, segment.unseal(opened.key)
    except (ValueError, VerificationError) as error:
        raise VerificationError(f"segment {name_of(cid)}: {error}") from None


def _entry(cid: bytes, data: bytes, version: Version, seq: int, expected: bytes) -> Entry:
    where = f"segment {name_of(cid)}: record {seq}"
    if (found := _core.record_hash(data)) != expected:
        raise VerificationError(f"{where} is not the one that what follows it names")
    try:
        record = _core.decode_record(data)
    except ValueError as error:
        raise VerificationError(f"{where}: {error}") from None
    if (record["chain"], record["seq"]) != (version.chain, seq):
        raise VerificationError(f"{where}: another record stands in its place")
    return Entry(data, record, found)


def _check_checkpoint(record: dict[str, Any], opened: Opened) -> None:
    """The record that binds the state to the chain says the same as the version."""
    saved, version, meta = opened.saved, opened.version, record["meta"]
    if record["type"] != CHECKPOINT:
        raise VerificationError(f"record {version.seq} is no checkpoint but {record['type']}")
    state = name_of(version.state)
    if (named := meta.get("state")) != state:
        raise VerificationError(f"record {version.seq} names the state {named}, not {state}")
    for name in ("epoch", "at", "node", "subnet"):
        if record[name] != getattr(version, name):
            raise VerificationError(f"record {version.seq} has another {name} than the version")
    said = {"flow": record["flow"], **{name: meta.get(name) for name in SUMMARY_OF_META}}
    for name, value in said.items():
        if value != getattr(saved, name):
            raise VerificationError(f"record {version.seq} has another {name} than the version")


def _check_payloads(cid: bytes, segment: Segment, entries: list[Entry]) -> None:
    named = [bytes(entry.record["payload"]) for entry in entries if entry.record["payload"]]
    if tuple(dict.fromkeys(named)) != segment.payloads:
        raise VerificationError(f"segment {name_of(cid)} links to other payloads than its records")
