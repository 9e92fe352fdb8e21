"""A report: what was judged, by which rules, about which head, and what was found. Signed."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit.compliance._evaluate import Outcome, Result, Scope
from qflow.audit.compliance._finding import Finding
from qflow.audit.compliance._parse import Rules
from qflow.audit.compliance._rules import SEVERITIES
from qflow.errors import CorruptError, VerificationError
from qflow.trust import NodeKey
from qflow.trust._envelope import open_envelope, sign_envelope

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:qflow:compliance-report:v1"
CHUNK_BYTES: Final = 512 << 10
"""About what a block of findings or receipts has; the report names each by its CID."""
RECEIPTS_MAX: Final = 20
"""Findings of each rule whose records carry their receipts with the report."""

Block = Callable[[str], bytes]
"""Gives the bytes of a block by its CID, whether or not they are those."""


class Chunk(msgspec.Struct, frozen=True):
    """A block of findings or receipts: a canonical list."""

    cid: str
    count: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the findings themselves, which are in the blocks that it names."""

    id: str
    made_at: int
    """UTC ms."""
    node: str
    subnet: str
    origin: str
    """Of the log."""
    head: str
    """The signed head (C2SP tlog-checkpoint) whose records were judged, all of them."""
    scope: Scope
    rules_from: str
    rules_sha256: str
    outcome: Outcome
    findings: int
    by_severity: dict[str, int]
    chunks: tuple[Chunk, ...]
    receipts: tuple[Chunk, ...]
    """Lists of [index of the record, its receipt]."""

    @property
    def ok(self) -> bool:
        """Whether nothing of severity error was found."""
        return self.by_severity["error"] == 0

    @property
    def results(self) -> tuple[Result, ...]:
        """What came of each rule."""
        return self.outcome.results


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A report as it is stored and passed on."""

    envelope: bytes
    """DSSE, of an in-toto statement about the head."""
    blocks: dict[str, bytes]
    """By CID."""


class Collected:
    """Findings in the order in which they come, as blocks. None is dropped, at any number."""

    def __init__(self) -> None:
        self.count = 0
        self.by_severity = Counter(dict.fromkeys(SEVERITIES, 0))
        self.wanted: dict[int, None] = {}
        """Indexes of records whose receipts are to come with the report."""
        self._by_rule: Counter[str] = Counter()
        self._chunks = Chunks()

    def tell(self, finding: Finding) -> None:
        """Take a finding."""
        self.count += 1
        self.by_severity[finding.severity] += 1
        self._by_rule[finding.rule] += 1
        if self._by_rule[finding.rule] <= RECEIPTS_MAX:
            self.wanted |= dict.fromkeys(named.index for named in finding.records)
        self._chunks.add(msgspec.to_builtins(finding))

    def close(self) -> Chunks:
        """The blocks."""
        self._chunks.close()
        return self._chunks


class Chunks:
    """Items cut into blocks of a size that the log takes."""

    def __init__(self) -> None:
        self.made: list[Chunk] = []
        self.blocks: dict[str, bytes] = {}
        self._items: list[bytes] = []
        self._bytes = 0

    def add(self, item: Any) -> None:
        """Take an item."""
        data = _core.encode([item])[1:]
        if self._items and self._bytes + len(data) > CHUNK_BYTES:
            self.close()
        self._items.append(data)
        self._bytes += len(data)

    def close(self) -> None:
        """Make a block of what is there."""
        if not self._items:
            return
        # A list of as many items, which are encoded already: only its head is missing.
        head = _core.encode([None] * len(self._items))[: -len(self._items)]
        block = head + b"".join(self._items)
        cid = str(_core.cid_of(block))
        self.blocks[cid] = block
        self.made.append(Chunk(cid, len(self._items)))
        self._items, self._bytes = [], 0


def compose(
    outcome: Outcome,
    collected: Collected,
    rules: Rules,
    *,
    id: str,
    made_at: int,
    node: str,
    subnet: str,
    head: str,
    scope: Scope,
    receipts: Iterable[tuple[int, bytes]],
) -> tuple[Report, dict[str, bytes]]:
    """The report, and the blocks that it names."""
    chunks, proofs = collected.close(), Chunks()
    for index, receipt in receipts:
        proofs.add([index, receipt])
    proofs.close()
    report = Report(
        id=id,
        made_at=made_at,
        node=node,
        subnet=subnet,
        origin=head.partition("\n")[0],
        head=head,
        scope=scope,
        rules_from=rules.source,
        rules_sha256=rules.sha256,
        outcome=outcome,
        findings=collected.count,
        by_severity=dict(collected.by_severity),
        chunks=tuple(chunks.made),
        receipts=tuple(proofs.made),
    )
    return report, chunks.blocks | proofs.blocks


def sign(report: Report, blocks: dict[str, bytes], root: bytes, key: NodeKey) -> Signed:
    """A report in its envelope. What cannot be signed is not there to be stored."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": report.origin, "digest": {"sha256": root.hex()}}],
        "predicateType": PREDICATE,
        "predicate": report,
    }
    envelope = sign_envelope(PAYLOAD_TYPE, msgspec.json.encode(statement), key)
    return Signed(envelope=envelope, blocks=blocks)


def open_report(envelope: bytes, public: bytes, vkey: str) -> Report:
    """The report in an envelope, when `public` signed it and the head that it is about is good.

    `vkey` is the verifier key of the log, whose key signs both. Raises VerificationError.
    """
    payload = open_envelope(envelope, PAYLOAD_TYPE, public)
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        size, root = _core.parse_checkpoint(statement.predicate.head.encode(), vkey)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise VerificationError(f"the report is malformed: {error}") from error
    report = statement.predicate
    about = [{"name": report.origin, "digest": {"sha256": root.hex()}}]
    if statement.subject != about or report.outcome.size != size:
        raise VerificationError("the report is not about the head that it names")
    told = sum(result.findings for result in report.results)
    listed = sum(chunk.count for chunk in report.chunks)
    if not told == listed == report.findings == sum(report.by_severity.values()):
        raise VerificationError("the report does not count its own findings")
    return report


def findings_of(report: Report, block: Block) -> Iterator[Finding]:
    """All findings, in order. Raises VerificationError for one that was changed or is missing."""
    for item in _items(report.chunks, block):
        try:
            yield msgspec.convert(item, Finding)
        except msgspec.ValidationError as error:
            raise VerificationError(f"a finding is malformed: {error}") from error


def receipts_of(report: Report, block: Block) -> Iterator[tuple[int, bytes]]:
    """The receipts that came with a report, by the index of the record."""
    for item in _items(report.receipts, block):
        try:
            yield msgspec.convert(item, tuple[int, bytes])
        except msgspec.ValidationError as error:
            raise VerificationError(f"a receipt is malformed: {error}") from error


def _items(chunks: Sequence[Chunk], block: Block) -> Iterator[Any]:
    for chunk in chunks:
        try:
            data = block(chunk.cid)
        except (KeyError, CorruptError) as error:
            raise VerificationError(f"the block {chunk.cid} of the report is missing") from error
        if str(_core.cid_of(data)) != chunk.cid:
            raise VerificationError(f"the block {chunk.cid} of the report was changed")
        try:
            items = _core.decode(data)
        except ValueError as error:
            raise VerificationError(f"the block {chunk.cid} is not canonical: {error}") from error
        if not isinstance(items, list) or len(items) != chunk.count:
            raise VerificationError(f"the block {chunk.cid} does not have {chunk.count} items")
        yield from items


def public_of(vkey: str) -> bytes:
    """The Ed25519 key in a verifier key (C2SP signed-note): 32 bytes."""
    return b64decode(vkey.split("+", 2)[2])[1:]


class _Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str = msgspec.field(name="_type")
    subject: list[dict[str, Any]]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: Report

    def __post_init__(self) -> None:
        if self.type != STATEMENT or self.predicate_type != PREDICATE:
            raise ValueError(f"it is of type {self.predicate_type!r:.60}")
