"""Writing an export: whole with its manifest, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._query import Query
from qflow.audit._read import TERMINAL, Unsealer
from qflow.audit.export._columns import write_columns
from qflow.audit.export._folder import Choice, LogFolder
from qflow.audit.export._formats import Format, format_of, load_pyarrow
from qflow.audit.export._manifest import (
    SUFFIX,
    Completeness,
    Digests,
    Layout,
    Predicate,
    Proof,
    Rows,
    Span,
    Subject,
    build_manifest,
    sign_manifest,
)
from qflow.clock import Clock, random_bytes
from qflow.errors import VerificationError
from qflow.trust._envelope import Signatory
from qflow.trust._files import sync

Progress = Callable[[int, int], object]

STDOUT: Final = "-"
STDOUT_DESCRIPTOR: Final = 1


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    path: str | None
    """None: it went to the standard output."""
    manifest: str | None
    format: Format
    rows: int
    bytes: int | None
    head_size: int
    """Records under the head that the export is proven by."""
    completeness: str


def export(
    source: LogFolder,
    path: str | PathLike[str],
    *,
    key: Signatory | None,
    clock: Clock,
    query: Query | None = None,
    first: int | None = None,
    end: int | None = None,
    form: Format | None = None,
    spreadsheet: bool = False,
    unsealer: Unsealer | None = None,
    expires_at: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the records that a question takes into a file, and its signed manifest beside it.

    Both are durable and have their names on return; when anything fails, neither is there, and what
    had the names before is as it was. `path` may be `-`, the standard output, which has no
    manifest; neither has an export without a `key`. With `unsealer`, payloads are written too.
    Raises FileExistsError unless `force`, ValueError, UnavailableError (without pyarrow for its
    formats), CorruptError, OSError.
    """
    choice = source.choose(query, first=first, end=end)
    form = form or format_of(Path(path))
    if not form.is_text:
        load_pyarrow()
    layout = Layout(name=form, spreadsheet=spreadsheet, contents=unsealer is not None)
    job = _Job(source, choice, layout, key, clock.now_ms(), expires_at)
    scan = source.rows(
        choice,
        unsealer=unsealer,
        hashed=choice.completeness != "range",
        for_file=form is Format.ARROW,
    )
    if os.fspath(path) == STDOUT:
        job.write(scan, None, progress)
        return job.exported(scan, None, None, None)
    return _write_both(job, scan, Path(path), force, progress)


def _write_both(
    job: _Job, scan: _core.Scan, path: Path, force: bool, progress: Progress | None
) -> Exported:
    beside = path.with_name(path.name + SUFFIX)
    if not force:
        for taken in (path, beside):
            if taken.exists():
                raise FileExistsError(17, "is there already", str(taken))
    mark = random_bytes(6).hex()
    spare, spare_beside = (one.with_name(f".{one.name}.{mark}.part") for one in (path, beside))
    try:
        digest = job.write(scan, spare, progress)
        file = Subject(name=path.name, digest=Digests(sha256=digest["sha256"].hex()))
        sync(spare)
        manifest = job.manifest(scan, file)
        if manifest is not None:
            spare_beside.write_bytes(manifest)
            sync(spare_beside)
        elif force:
            beside.unlink(missing_ok=True)
        _publish(spare, path, force)
        if manifest is not None:
            _publish(spare_beside, beside, force)
        sync(path.parent)
    except OSError as error:
        # The name that was asked for says more than that of the spare beside it.
        if error.filename in (None, str(spare)):
            error.filename = str(path)
        raise
    finally:
        for left in (spare, spare_beside):
            with suppress(FileNotFoundError):
                left.unlink()
    return job.exported(scan, path, None if manifest is None else beside, digest["bytes"])


def _publish(spare: Path, path: Path, force: bool) -> None:
    if force:
        spare.replace(path)
    else:
        # Unlike a rename, a link never replaces what came to be there meanwhile.
        os.link(spare, path)


class _Job:
    """One export on its way: what is written, and what will be said about it."""

    def __init__(
        self,
        source: LogFolder,
        choice: Choice,
        layout: Layout,
        key: Signatory | None,
        made_at: int,
        expires_at: int | None,
    ) -> None:
        self._source, self._choice, self._layout, self._key = source, choice, layout, key
        self._made_at, self._expires_at = made_at, expires_at
        self._head, self._size = source.head_for(choice.end)
        if key is not None:
            _check_signer(self._head, key)
        self._said: tuple[Predicate, bytes] | None = None

    def write(
        self, scan: _core.Scan, path: Path | None, progress: Progress | None
    ) -> dict[str, Any]:
        """Write the rows; the digest of the file."""
        first, whole = self._choice.first, self._choice.end - self._choice.first
        step = None if progress is None else (lambda at: progress(at - first, whole))
        form = self._layout.name
        if form.is_text:
            name = "csv-spreadsheet" if self._layout.spreadsheet else form.value
            return scan.write(name, None if path is None else os.fspath(path), step)
        if path is None:
            with FileIO(STDOUT_DESCRIPTOR, "wb", closefd=False) as file:
                return write_columns(scan, form, file, lambda: None, step)
        with FileIO(path, "xb") as file:
            return write_columns(scan, form, file, lambda: self.manifest(scan, None), step)

    def manifest(self, scan: _core.Scan, file: Subject | None) -> bytes | None:
        """The signed manifest, after the last row; None without a key."""
        if self._key is None:
            return None
        if self._said is None:
            self._said = self._predicate(scan, self._key)
        return sign_manifest(build_manifest(*self._said, file), self._key)

    def exported(
        self, scan: _core.Scan, path: Path | None, manifest: Path | None, size: int | None
    ) -> Exported:
        said = self._choice.completeness if self._said is None else self._said[0].completeness
        return Exported(
            path=None if path is None else str(path),
            manifest=None if manifest is None else str(manifest),
            format=self._layout.name,
            rows=scan.rows,
            bytes=size,
            head_size=self._size,
            completeness=said,
        )

    def _predicate(self, scan: _core.Scan, key: Signatory) -> tuple[Predicate, bytes]:
        """What is said about the rows, and the root over the records."""
        choice, folder = self._choice, os.fspath(self._source.path)
        end = scan.position if choice.query.limit is not None else choice.end
        completeness, proof = choice.completeness, Proof()
        records = scan.root
        if completeness == "range":
            proof = _range_proof(folder, choice.first, end, self._size)
            records = _core.peek_checkpoint(self._head)[2]
        elif completeness == "chain":
            completeness, proof = self._chain_proof(scan, folder, key)
        predicate = Predicate(
            head=self._head.decode(),
            query=choice.query.canonical(),
            span=Span(first=choice.first, end=end),
            rows=Rows(count=scan.rows, first=scan.first, last=scan.last),
            completeness=completeness,
            proof=proof,
            format=self._layout,
            node=key.did,
            made_at=self._made_at,
            expires_at=self._expires_at,
        )
        return predicate, records

    def _chain_proof(
        self, scan: _core.Scan, folder: str, key: Signatory
    ) -> tuple[Completeness, Proof]:
        """A chain that is there from its first record on is proven by its last."""
        whole = (self._choice.first, self._choice.end) == (0, self._source.size)
        if scan.last is None or not whole:
            return "claimed", Proof()
        receipt = _core.make_receipt(folder, scan.last, head=self._head)
        proven = _core.check_receipt(receipt, key.vkey)
        last = _core.decode_record(proven["record"])
        return "chain", Proof(receipt=receipt.decode(), ended=last["type"] in TERMINAL)


def _check_signer(head: bytes, key: Signatory) -> None:
    try:
        _core.parse_checkpoint(head, key.vkey)
    except ValueError as error:
        raise VerificationError(
            f"the log's head is not signed by this node's key: {error}"
        ) from None


def _range_proof(folder: str, first: int, end: int, size: int) -> Proof:
    # The path to the record behind a tree is made of that tree's complete subtrees.
    if first == end:
        return Proof(before=[], after=[])
    before = _core.inclusion_proof(folder, first, first + 1) if first > 0 else []
    after = _core.consistency_proof(folder, end, size) if end < size else []
    return Proof(before=[one.hex() for one in before], after=[one.hex() for one in after])
