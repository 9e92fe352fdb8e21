"""What an exporter signs: an in-toto Statement about a file and the records in it."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from qflow import _core
from qflow.audit._query import Query
from qflow.audit.export._formats import Format
from qflow.errors import VerificationError
from qflow.trust._envelope import Signatory, open_envelope, sign_envelope

SUFFIX: Final = ".manifest.json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:qflow:export:v1"
RECORDS: Final = "records"
"""The subject that is the records, whatever file they are in: by the root of the tree over them."""
LOG: Final = "log"
"""In its place for a range: the log itself, by the root of the head that the range leads to."""
EMBEDDED: Final = b"qflow.manifest"
"""The key of the metadata of Arrow and Parquet under which the manifest is."""

Hex = str
Completeness = Literal["range", "chain", "claimed"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of the JSON: a field that is not declared is refused."""


class Digests(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Of a file `sha256`; of records `rfc6962`, the root of the tree over them."""

    sha256: Hex | None = None
    rfc6962: Hex | None = None


class Subject(_Part, frozen=True, kw_only=True):
    """A thing that the statement is about."""

    name: str
    digest: Digests


class Layout(_Part, frozen=True, kw_only=True):
    """How the file is written."""

    name: Format
    version: Literal[1] = 1
    spreadsheet: bool
    """Whether text cells are guarded against formulas."""
    contents: bool
    """Whether payloads are in it, as far as they could be read."""


class Span(_Part, frozen=True, kw_only=True):
    """Places in the log that were looked at: from `first` to before `end`."""

    first: int
    end: int


class Rows(_Part, frozen=True, kw_only=True):
    """The rows of the file."""

    count: int
    first: int | None
    last: int | None


class Proof(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """What leads from the rows to the head.

    `before` and `after`, of a range: the subtree roots of the tree before it, the smallest first,
    and the consistency proof from its end to the head. `receipt`, of a chain: a receipt (C2SP
    tlog-proof) of its last record. `ended`: whether the chain can have no more records.
    """

    before: list[Hex] | None = None
    after: list[Hex] | None = None
    receipt: str | None = None
    ended: bool | None = None


class Predicate(_Part, frozen=True, kw_only=True):
    """What is said about the subjects."""

    head: str
    """The signed head of the log (C2SP tlog-checkpoint), with the cosignatures that it has."""
    query: dict[str, str | int | bool]
    span: Span
    rows: Rows
    completeness: Completeness
    proof: Proof
    format: Layout
    node: str
    """The did:key of the node that made the export."""
    made_at: int
    """UTC ms."""
    expires_at: int | None


class Manifest(_Part, frozen=True, kw_only=True):
    """The statement."""

    type: str = msgspec.field(name="_type")
    subject: list[Subject]
    predicate_type: str
    predicate: Predicate

    @property
    def root(self) -> bytes | None:
        """The root of the tree that the records are, or are in."""
        roots = [one.digest.rfc6962 for one in self.subject if one.digest.rfc6962 is not None]
        return bytes.fromhex(roots[0]) if len(roots) == 1 else None

    @property
    def file(self) -> Subject | None:
        """The subject that is the file; the manifest inside a file has none."""
        return next((one for one in self.subject if one.digest.sha256 is not None), None)


def build_manifest(predicate: Predicate, records: bytes, file: Subject | None) -> Manifest:
    """The statement about these records, and the file that they are in."""
    name = LOG if predicate.completeness == "range" else RECORDS
    own = Subject(name=name, digest=Digests(rfc6962=records.hex()))
    subjects = [own] if file is None else [file, own]
    return Manifest(type=STATEMENT, subject=subjects, predicate_type=PREDICATE, predicate=predicate)


def sign_manifest(manifest: Manifest, key: Signatory) -> bytes:
    """The envelope, as JSON."""
    return sign_envelope(PAYLOAD_TYPE, msgspec.json.encode(manifest), key)


def open_manifest(data: bytes, public: bytes, now_ms: int) -> Manifest:
    """The manifest in an envelope that the key with this public half signed.

    Raises VerificationError for any other, for one with an unknown field or a field of another
    type, and for one that has expired.
    """
    payload = open_envelope(data, PAYLOAD_TYPE, public)
    try:
        manifest = msgspec.json.decode(payload, type=Manifest)
        complete = chosen(question_of(manifest))[1]
    except (ValueError, TypeError) as error:
        raise VerificationError(f"the manifest: {error}") from None
    said = manifest.predicate
    if (manifest.type, manifest.predicate_type) != (STATEMENT, PREDICATE):
        raise VerificationError(f"a statement of {manifest.predicate_type!r}: another is needed")
    if said.expires_at is not None and said.expires_at <= now_ms:
        raise VerificationError(f"the manifest expired at {said.expires_at} (UTC ms)")
    if said.completeness not in (complete, "claimed"):
        raise VerificationError(f"the manifest: the answer to its query is no {said.completeness}")
    if not 0 <= said.span.first <= said.span.end < 1 << 48:
        raise VerificationError("the manifest: a span of the log that cannot be")
    return manifest


def question_of(manifest: Manifest) -> Query:
    """The question that the export answers. Raises ValueError or TypeError."""
    asked: dict[str, Any] = manifest.predicate.query
    query = Query(**asked)
    if query.canonical() != asked:
        raise ValueError("its query is not in the one form that queries have")
    query.filter()
    return query


def chosen(query: Query) -> tuple[_core.Filter | None, Completeness]:
    """What decides for each record, and what the answer to this question is complete as."""
    asked = query.canonical()
    asked.pop("limit", None)
    if not asked:
        return None, "range"
    if set(asked) == {"execution"} and query.limit is None:
        return query.filter(), "chain"
    return query.filter(), "claimed"
