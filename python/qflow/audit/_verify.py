"""Verifies a node's log with nothing but its files and a public key."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Final

import msgspec

from qflow import _core
from qflow.errors import CorruptError, VerificationError

VKEY_BYTES_MAX: Final = 4096
FINDINGS_SHOWN_MAX: Final = 20

_VKEY: Final = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}")


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be."""

    where: str
    """The index, segment or tile."""
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification saw. Without findings the history is proven."""

    size: int
    """Records."""
    root: str
    """The RFC 6962 root over them, base64 as in the signed head."""
    published: int
    """Records under the head that lies beside the journal for others."""
    chains: int
    heads: int
    """Signed heads, each checked."""
    blocks: int
    absent: int
    """Payloads that are not in the commit of the record that names them."""
    bytes: int
    torn_bytes: int
    """Of a commit that a crash cut short at the end: it was never acknowledged."""
    findings: tuple[Finding, ...] = ()
    more_findings: int = 0
    """Those beyond the first, which are listed, are only counted."""

    @property
    def ok(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        """The report for a person: one line, and one for each finding."""
        seen = (
            f"{self.size} records in {self.chains} chains, {self.blocks} blocks, "
            f"{self.heads} signed heads, {self.bytes} bytes"
        )
        if self.ok:
            return f"verified: {seen}; root {self.root}"
        count = len(self.findings) + self.more_findings
        shown = self.findings[:FINDINGS_SHOWN_MAX]
        lines = [f"NOT verified: {count} findings in {seen}"]
        lines += [f"  {item.where}: {item.what}" for item in shown]
        if count > len(shown):
            lines.append(f"  and {count - len(shown)} more")
        return "\n".join(lines)


def verify(
    path: str | PathLike[str],
    vkey: str | PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check every byte of the log in the folder `path`. Only reads, and asks no node.

    `vkey` is a verifier key (C2SP signed-note) or the file that holds one, such as `node.pub`:
    take it from whom you trust, not from the folder that you doubt. `progress` is called with
    (done, whole). What is wrong with the log is a finding, never an exception.
    Raises VerificationError when there is no log or no key to begin with.
    """
    key = _read_vkey(vkey)
    try:
        seen = _core.verify_log(os.fspath(path), key, progress)
    except (OSError, CorruptError) as error:
        raise VerificationError(f"there is no log to verify: {error}") from error
    except ValueError as error:
        raise VerificationError(f"the verifier key: {error}") from error
    findings = tuple(Finding(**item) for item in seen["findings"])
    root = b64encode(seen["root"]).decode()
    return Report(**{**seen, "root": root, "findings": findings})


def verify_or_raise(
    path: str | PathLike[str],
    vkey: str | PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """As `verify`, but raises VerificationError, which says where, unless all is proven."""
    report = verify(path, vkey, progress)
    if not report.ok:
        raise VerificationError(str(report))
    return report


def _read_vkey(source: str | PathLike[str]) -> str:
    if isinstance(source, str) and _VKEY.fullmatch(source.strip()):
        return source.strip()
    try:
        with Path(source).open("rb") as file:
            text = file.read(VKEY_BYTES_MAX).decode("ascii", "replace").strip()
    except (OSError, ValueError) as error:
        raise VerificationError(
            f"{str(source)!r} is no verifier key, nor a file: {error}"
        ) from None
    if not _VKEY.fullmatch(text):
        raise VerificationError(f"{str(source)!r} holds no verifier key (name+hash+key)")
    return text
