"""Checking an export: every row of it, and what its manifest says of them."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from qflow import _core
from qflow.audit._verify import Finding, load_vkey
from qflow.audit.export._columns import DamagedError, embedded_manifest, read_columns
from qflow.audit.export._folder import LogFolder
from qflow.audit.export._formats import Format, format_of
from qflow.audit.export._manifest import (
    SUFFIX,
    Manifest,
    open_manifest,
    question_of,
)
from qflow.clock import Clock
from qflow.errors import VerificationError

MANIFEST_BYTES_MAX: Final = 8 << 20

Progress = Callable[[int, int], object]
Verdict = Literal["VERIFIED", "INVALID"]


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of an export saw. Without findings all that its manifest says is so."""

    verdict: Verdict
    file: str
    manifest: str
    """Where the manifest was: a file, or in the export itself."""
    format: Format
    rows: int
    first: int | None
    last: int | None
    links: int
    """Pairs of rows that were proven to follow each other in their chain."""
    completeness: str | None
    """This and what follows is None when the file is too damaged to give the manifest in it."""
    complete: str
    """Whether a row can be missing, in one sentence."""
    query: dict[str, Any] | None
    node: str | None
    made_at: int | None
    """UTC ms."""
    head_size: int | None
    """Records under the head that the export leads to."""
    compared: bool
    """Whether the rows were compared with a log."""
    pruned: int = 0
    """Rows that the log no longer keeps: only the manifest proves them."""
    findings: tuple[Finding, ...] = ()
    more_findings: int = 0

    @property
    def ok(self) -> bool:
        return self.verdict == "VERIFIED"


def verify_export(
    path: str | PathLike[str],
    vkey: str | PathLike[str],
    *,
    clock: Clock,
    manifest: str | PathLike[str] | None = None,
    log: str | PathLike[str] | None = None,
    form: Format | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Read an export back and check every row of it against its manifest and the log's key.

    `vkey` is the verifier key of the node, or the file that holds it. The manifest is beside the
    file, where `manifest` says, or in a file of Arrow or Parquet. With `log`, a log's folder or a
    node's home, the question is asked again and each missing or other row is found; rows that were
    pruned there are counted, and cannot be compared. Memory does not grow with the export. What is
    wrong with the export is a finding, never an exception.
    Raises VerificationError when there is nothing to check by: no manifest, or none of this key.
    """
    path, key = Path(path), load_vkey(vkey)
    form = form or _format(path)
    try:
        data, where = _manifest_of(path, form, None if manifest is None else Path(manifest))
    except DamagedError as error:
        return _damaged(path, form, error)
    said = open_manifest(data, _public(key), clock.now_ms())
    folder = None if log is None else LogFolder(log)
    check = _Check(path, key, form, said, folder, embedded=where == _INSIDE)
    return check.run(where, progress)


_INSIDE: Final = "in the file"
_STREAM_ERROR: Final = "C Data interface error: "
_PRODUCER: Final = "Producer error: "


def _format(path: Path) -> Format:
    try:
        return format_of(path)
    except ValueError as error:
        raise VerificationError(str(error)) from None


def _public(vkey: str) -> bytes:
    return b64decode(vkey.split("+", 2)[2])[1:]


def _manifest_of(path: Path, form: Format, given: Path | None) -> tuple[bytes, str]:
    beside = given or path.with_name(path.name + SUFFIX)
    try:
        with beside.open("rb") as file:
            return file.read(MANIFEST_BYTES_MAX + 1), str(beside)
    except FileNotFoundError:
        if given is not None:
            raise VerificationError(f"{given} is not there") from None
    except OSError as error:
        raise VerificationError(f"{beside} cannot be read: {error}") from None
    inside = None if form.is_text else embedded_manifest(path, form)
    if inside is None:
        raise VerificationError(f"{path} has no manifest: neither beside it nor in it")
    return inside, _INSIDE


def _damaged(path: Path, form: Format, error: DamagedError) -> ExportReport:
    """Of a file that holds its manifest, and cannot be read as far as that."""
    return ExportReport(
        verdict="INVALID",
        file=str(path),
        manifest=f"{_INSIDE}, which cannot be read",
        format=form,
        rows=0,
        first=None,
        last=None,
        links=0,
        completeness=None,
        complete="nothing is known of it",
        query=None,
        node=None,
        made_at=None,
        head_size=None,
        compared=False,
        findings=(Finding("the file", _reason(error)),),
    )


class _Check:
    def __init__(
        self,
        path: Path,
        vkey: str,
        form: Format,
        manifest: Manifest,
        folder: LogFolder | None,
        *,
        embedded: bool,
    ) -> None:
        self._path, self._vkey, self._form = path, vkey, form
        self._manifest, self._said = manifest, manifest.predicate
        self._folder, self._embedded = folder, embedded
        try:
            self._size, self._root = _core.parse_checkpoint(self._said.head.encode(), vkey)
        except ValueError as error:
            raise VerificationError(f"the head in the manifest: {error}") from None

    def run(self, where: str, progress: Progress | None) -> ExportReport:
        said = self._said
        try:
            if self._form is not said.format.name:
                raise ValueError(f"is read as {self._form}, written as {said.format.name}")
            seen = self._read(progress)
            findings = [_finding(item, seen["rows"]) for item in seen["findings"]]
            findings += self._findings(seen)
        except (ValueError, OSError, VerificationError) as error:
            seen = dict.fromkeys(("first", "last"), None)
            seen |= dict.fromkeys(("rows", "links", "more_findings", "pruned"), 0)
            findings = [Finding("the file", _reason(error))]
        return ExportReport(
            verdict="INVALID" if findings else "VERIFIED",
            file=str(self._path),
            manifest=where,
            format=self._form,
            rows=seen["rows"],
            first=seen["first"],
            last=seen["last"],
            links=seen["links"],
            completeness=said.completeness,
            complete=self._sentence(seen["pruned"]),
            query=said.query,
            node=said.node,
            made_at=said.made_at,
            head_size=self._size,
            compared=self._folder is not None,
            pruned=seen["pruned"],
            findings=tuple(findings),
            more_findings=seen["more_findings"],
        )

    def _read(self, progress: Progress | None) -> dict[str, Any]:
        said, span = self._said, self._said.span
        whole = max(1, self._path.stat().st_size if self._form.is_text else said.rows.count)
        step = None if progress is None else (lambda done: progress(min(done, whole), whole))
        query = question_of(self._manifest)
        before = said.proof.before if span.first < span.end else None
        source: Any = os.fspath(self._path)
        name = self._form.value
        if self._form is Format.CSV and said.format.spreadsheet:
            name = "csv-spreadsheet"
        contents = said.format.contents
        if not self._form.is_text:
            source = read_columns(self._path, self._form, contents=contents)
        return _core.check_rows(
            source,
            name if self._form.is_text else "arrow",
            first=span.first,
            end=span.end,
            complete=said.completeness,
            filter=query.filter() if said.query else None,
            contents=contents,
            before=None if before is None else [bytes.fromhex(one) for one in before],
            log=None if self._folder is None else os.fspath(self._folder.path),
            size=self._size,
            kept_from=0 if self._folder is None else self._folder.first,
            kept_after=[] if self._folder is None else self._folder.tree_before(),
            progress=step,
        )

    def _findings(self, seen: dict[str, Any]) -> Iterator[Finding]:
        said = self._said
        yield from self._digest(seen)
        rows = (seen["rows"], seen["first"], seen["last"])
        due = (said.rows.count, said.rows.first, said.rows.last)
        if rows != due:
            yield Finding("the file", f"has {_rows(*rows)}; the manifest says {_rows(*due)}")
        if said.completeness == "range":
            yield from self._range(seen)
        else:
            if seen["root"] != self._manifest.root:
                yield Finding("the records", "are not those that were signed")
            if said.completeness == "chain":
                yield from self._chain(seen)
        if self._folder is not None and not self._is_log(self._folder, seen["log_root"]):
            yield Finding("the log", f"is not the one of the export's head of {self._size} records")

    def _is_log(self, folder: LogFolder, root: bytes | None) -> bool:
        if root is not None:
            return root == self._root
        # Pruned beyond the export: nothing makes the root any more, but the log is this key's.
        try:
            _core.parse_checkpoint(folder.head, self._vkey)
        except ValueError:
            return False
        return folder.first > self._size

    def _digest(self, seen: dict[str, Any]) -> Iterator[Finding]:
        subject = self._manifest.file
        if subject is None:
            if not self._embedded:
                yield Finding("the manifest", "names no file")
            return
        found = seen["sha256"] or _core.digest_file(os.fspath(self._path))["sha256"]
        if found.hex() != subject.digest.sha256:
            yield Finding("the file", "has another SHA-256 than the manifest says")

    def _range(self, seen: dict[str, Any]) -> Iterator[Finding]:
        span, proof = self._said.span, self._said.proof
        if self._manifest.root != self._root or span.end > self._size:
            yield Finding("the manifest", "is of another tree than its head")
        if span.first == span.end:
            return
        if proof.before is None or proof.after is None or seen["end_root"] is None:
            yield Finding("the manifest", "has no proof of its range")
            return
        after = [bytes.fromhex(one) for one in proof.after]
        try:
            _core.verify_consistency(span.end, self._size, after, seen["end_root"], self._root)
        except VerificationError as error:
            yield Finding("the records", f"do not lead to the signed head: {error}")

    def _chain(self, seen: dict[str, Any]) -> Iterator[Finding]:
        proof = self._said.proof
        if set(self._said.query) != {"execution"} or proof.receipt is None:
            yield Finding("the manifest", "has no proof of a chain")
            return
        if seen["ended"] is not proof.ended:
            yield Finding("the records", "end otherwise than the manifest says")
        try:
            proven = _core.check_receipt(proof.receipt.encode(), self._vkey)
        except VerificationError as error:
            yield Finding("the receipt", str(error))
            return
        found = (_core.record_hash(proven["record"]), proven["index"], proven["size"])
        if found != (seen["last_hash"], seen["last"], self._size):
            yield Finding("the receipt", "is of another record than the last")

    def _sentence(self, pruned: int) -> str:
        said = self._said
        if self._folder is not None and not pruned and self._folder.first <= said.span.first:
            return "every record of the log that was asked for is there"
        if said.completeness == "range":
            return "every record of the range is there: together they make the signed root"
        if said.completeness == "chain" and said.proof.ended:
            return "every record of the execution is there, from its first to its end"
        if said.completeness == "chain":
            return "every record up to the last is there; that it was the newest, the exporter says"
        if self._folder is not None:
            return f"the exporter says it of what was pruned, before record {self._folder.first}"
        return "that no record is missing, the exporter says; --log finds out"


def _rows(count: int, first: int | None, last: int | None) -> str:
    counted = f"{count:,} row" if count == 1 else f"{count:,} rows"
    return counted if first is None else f"{counted}, {first} to {last}"


def _reason(error: Exception) -> str:
    """One line for a reader: libraries add the places in their own sources."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _finding(item: dict[str, str], rows: int) -> Finding:
    what = item["what"]
    if what.startswith(_STREAM_ERROR):
        # What pyarrow found, between what Arrow says of the way that it came and where it was made.
        cause = what.rpartition(_PRODUCER)[2].strip().splitlines()[0].partition(". Detail:")[0]
        return Finding(item["where"], f"is damaged, and cannot be read after row {rows}: {cause}")
    return Finding(**item)
