"""A report as one file, which proves itself with nothing but the public key of the node."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Final

import msgspec

from qflow import _core, model
from qflow.audit.compliance._report import (
    Report,
    Signed,
    findings_of,
    open_report,
    public_of,
    receipts_of,
)
from qflow.errors import VerificationError

FORMAT: Final = "qflow compliance report 1"
FILE_BYTES_MAX: Final = 4 << 30


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    envelope: msgspec.Raw
    """DSSE, verbatim."""
    blocks: dict[str, str]
    """By CID, in base64."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A report of which everything was verified."""

    report: Report
    signed: Signed
    receipts: int
    """Receipts that came with it, each good."""


def report_file(signed: Signed) -> bytes:
    """The file: JSON, with the envelope and the blocks that the report names."""
    blocks = {cid: b64encode(data).decode() for cid, data in signed.blocks.items()}
    envelope = msgspec.Raw(signed.envelope)
    return msgspec.json.encode(_File(format=FORMAT, envelope=envelope, blocks=blocks))


def check_report(source: bytes | Path, vkey: str) -> Checked:
    """Verify a report file offline: signature, head, each finding, each receipt.

    `vkey` is the verifier key of the node's log; take it from whom you trust. Raises
    VerificationError, which says what does not hold.
    """
    data = source if isinstance(source, bytes) else _read(source)
    if data[:15].lower() == b"<!doctype html>":
        raise VerificationError("this is the page, to read; check the report itself, the .json")
    try:
        file = msgspec.json.decode(data, type=_File)
        blocks = {cid: b64decode(text, validate=True) for cid, text in file.blocks.items()}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise VerificationError(f"this is no report: {error}") from error
    if file.format != FORMAT:
        raise VerificationError(f"this is {file.format!r:.60}, not {FORMAT!r}")
    signed = Signed(envelope=bytes(file.envelope), blocks=blocks)
    return verify_signed(signed, vkey)


def verify_signed(signed: Signed, vkey: str) -> Checked:
    """Verify a report with its blocks. Raises VerificationError."""
    report = open_report(signed.envelope, public_of(vkey), vkey)
    named = {chunk.cid for chunk in (*report.chunks, *report.receipts)}
    if stray := signed.blocks.keys() - named:
        raise VerificationError(f"the block {min(stray)} is none of the report's")
    told = dict.fromkeys((result.rule.id for result in report.results), 0)
    records: set[tuple[int, str, int]] = set()
    for finding in findings_of(report, signed.blocks.__getitem__):
        if finding.rule not in told:
            raise VerificationError(f"a finding names the rule {finding.rule!r:.70}")
        told[finding.rule] += 1
        records |= {(named.index, named.execution, named.seq) for named in finding.records}
    for result in report.results:
        if told[result.rule.id] != result.findings:
            raise VerificationError(f"findings of the rule {result.rule.id!r} are missing")
    return Checked(report=report, signed=signed, receipts=_receipts(report, signed, vkey, records))


def _receipts(report: Report, signed: Signed, vkey: str, records: set[tuple[int, str, int]]) -> int:
    count = 0
    for index, data in receipts_of(report, signed.blocks.__getitem__):
        seen: dict[str, Any] = _core.check_receipt(data, vkey, None)
        record = _core.decode_record(seen["record"])
        name = (index, model.id_text(record["chain"]), record["seq"])
        if seen["index"] != index or name not in records:
            raise VerificationError(f"a receipt is of record {index}, which no finding names so")
        count += 1
    return count


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise VerificationError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise VerificationError(f"{path} is longer than a report can be")
    return data
