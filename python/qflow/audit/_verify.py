"""Verifies a node's log with nothing but its files and a public key."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.audit._known import Head, load_head, load_state, save_head
from qflow.audit._policy import NOBODY, load_policy
from qflow.audit._verdict import Verdict
from qflow.errors import CorruptError, VerificationError

VKEY_BYTES_MAX: Final = 4096
FINDINGS_SHOWN_MAX: Final = 20

NOBODY_ASKED: Final = "the policy asks for no witness"

_VKEY: Final = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}")


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be."""

    where: str
    """The index, segment or tile."""
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification saw, and what it comes to."""

    verdict: Verdict = Verdict.UNANCHORED
    why: str = ""
    """The reason for the verdict, in one sentence."""
    size: int
    """Records."""
    root: str
    """The RFC 6962 root over them, base64 as in the signed head."""
    first: int = 0
    """Index of the first record that the log keeps: those before it were pruned."""
    started: int = 0
    """Records that an earlier run verified and that this one did not read."""
    whole: str | None = None
    """Why all was read although only what is new was asked for."""
    published: int
    """Records under the head that lies beside the journal for others."""
    witnessed: int | None = None
    """Records under the head that witnesses cosigned; None when there is no such head."""
    cosignatures: dict[str, int] = {}
    """Seconds since 1970, by the policy's names of the witnesses that cosigned that head."""
    known: int | None = None
    """Records under the known head that the log was compared with."""
    quorum: str | None = None
    """Whom the policy asks for; None when no policy was given."""
    met: bool | None = None
    """Whether the policy is met, as one that asks for no witness is; None without a policy."""
    chains: int
    """Begun among the records that the log keeps, or going on across the cut of a pruning."""
    heads: int
    """Signed heads, each checked."""
    blocks: int
    absent: int
    """Payloads that do not lie in the commit of the record that names them: stored with an earlier
    record, or erased. They are no finding."""
    bytes: int
    """Bytes of the journal that were read."""
    torn_bytes: int
    """Of a commit that a crash cut short at the end: it was never acknowledged."""
    findings: tuple[Finding, ...] = ()
    more_findings: int = 0
    """Those beyond the first, which are listed, are only counted."""

    @property
    def ok(self) -> bool:
        """Whether all holds that was asked for: with a policy, that it is met too."""
        return self.verdict not in _NO_HEAD and self.met is not False

    def __str__(self) -> str:
        """The report for a person: one line, and one for each finding."""
        seen = (
            f"{self.size} records in {self.chains} chains, {self.blocks} blocks, "
            f"{self.heads} signed heads, {self.bytes} bytes"
        )
        if self.started:
            seen += f" ({self.started} records were verified before, and not read)"
        if self.verdict is not Verdict.INVALID:
            said = "verified" if self.ok else str(self.verdict)
            return f"{said}: {seen}; root {self.root}; {self.verdict}: {self.why}"
        count = len(self.findings) + self.more_findings
        shown = self.findings[:FINDINGS_SHOWN_MAX]
        lines = [f"NOT verified: {count} {'finding' if count == 1 else 'findings'} in {seen}"]
        lines += [f"  {item.where}: {item.what}" for item in shown]
        if count > len(shown):
            lines.append(f"  and {count - len(shown)} more")
        return "\n".join(lines)


Progress = Callable[[int, int], None]


def verify(
    path: str | PathLike[str],
    vkey: str | PathLike[str],
    progress: Progress | None = None,
    *,
    policy: _core.Policy | str | PathLike[str] | None = None,
    known_head: str | PathLike[str] | None = None,
    incremental: bool = False,
) -> Report:
    """Check every byte of the log in the folder `path`. Asks no node, and changes nothing there.

    `vkey` is a verifier key (C2SP signed-note) or the file that holds one, such as `node.pub`:
    take it from whom you trust, not from the folder that you doubt. `progress` is called with
    (done, whole). `policy` says which witnesses must have cosigned (C2SP tlog-policy; its text or
    file). `known_head` is a file of yours with a signed head that you saw: the log must continue
    it, and when it does the file then holds the newest head, durably. `incremental` goes on from
    that head without reading again what was verified; where that cannot be, all is read, and
    `Report.whole` says why. What is wrong with the log is a verdict, never an exception.
    Raises VerificationError when there is no log, no key or no good known head to begin with,
    ConfigError for a policy that cannot be read, OSError when the known head cannot be written.
    """
    key = load_vkey(vkey)
    rules = policy if policy is None or isinstance(policy, _core.Policy) else load_policy(policy)
    file = None if known_head is None else Path(known_head)
    if incremental and file is None:
        raise VerificationError("only with a known head is there something to go on from")
    head = None if file is None else load_head(file, key)
    seen = _seen(path, key, progress, head, load_state(file) if incremental and file else None)
    report = _report(seen, key, rules, head)
    if file is not None and seen["head"] and report.verdict not in _NO_HEAD:
        save_head(file, seen["head"], seen["state"] if incremental else None)
    return report


def verify_or_raise(
    path: str | PathLike[str],
    vkey: str | PathLike[str],
    progress: Progress | None = None,
    **asked: Any,
) -> Report:
    """As `verify`, but raises VerificationError, which says why, unless all holds that is asked."""
    report = verify(path, vkey, progress, **asked)
    if not report.ok:
        raise VerificationError(str(report))
    return report


_NO_HEAD: Final = frozenset({Verdict.INVALID, Verdict.DIVERGED})
"""A head of such a log is not one to compare with later."""


def _seen(
    path: str | PathLike[str],
    key: str,
    progress: Progress | None,
    head: Head | None,
    state: bytes | None,
) -> dict[str, Any]:
    try:
        return _core.verify_log(
            os.fspath(path),
            key,
            progress,
            known=() if head is None else (head.size,),
            state=None if head is None or state is None else (state, head.note),
            keep=state is not None,
        )
    except (OSError, CorruptError) as error:
        raise VerificationError(f"there is no log to verify: {error}") from error
    except ValueError as error:
        raise VerificationError(f"the verifier key: {error}") from error


def _report(
    seen: dict[str, Any], key: str, policy: _core.Policy | None, known: Head | None
) -> Report:
    findings = [Finding(**item) for item in seen["findings"]]
    witnessed = None
    if seen["witnessed"] is not None:
        witnessed = Head(seen["witnessed"], *_core.parse_checkpoint(seen["witnessed"], key))
    cosignatures, met = dict[str, int](), False
    try:
        if policy is not None and witnessed is not None:
            cosignatures = policy.cosignatures(witnessed.note)
            met = policy.is_met(witnessed.note)
    except VerificationError as error:
        findings.append(Finding("witnessed", str(error)))
    if findings:
        count = len(findings) + seen["more_findings"]
        verdict, why = Verdict.INVALID, f"{count} findings"
    elif (
        other := _diverged(seen, known, "known") or _diverged(seen, witnessed, "witnessed")
    ) != "":
        verdict, why = Verdict.DIVERGED, other
    else:
        verdict, why = _anchored(seen, key, policy, witnessed, cosignatures, met=met)
        met = met or why == NOBODY_ASKED
    fields = {name: seen[name] for name in Report.__struct_fields__ if name in seen}
    return Report(
        **{
            **fields,
            "verdict": verdict,
            "why": why,
            "root": b64encode(seen["root"]).decode(),
            "witnessed": None if witnessed is None else witnessed.size,
            "cosignatures": cosignatures,
            "known": None if known is None else known.size,
            "quorum": None if policy is None else policy.quorum,
            "met": None if policy is None else met,
            "findings": tuple(findings),
        }
    )


def _diverged(seen: dict[str, Any], head: Head | None, how: str) -> str:
    """Why the log does not continue a head; empty when it does."""
    if head is None or seen["roots"].get(head.size) == head.root:
        return ""
    if head.size > seen["size"]:
        return (
            f"a head of {head.size} records is {how}, and the log has {seen['size']}: "
            "it was set back, or is a copy from before"
        )
    return (
        f"a head of {head.size} records is {how} whose root is {b64encode(head.root).decode()}, "
        "and the log has other records: its key signed two histories"
    )


def _anchored(
    seen: dict[str, Any],
    key: str,
    policy: _core.Policy | None,
    witnessed: Head | None,
    cosignatures: dict[str, int],
    *,
    met: bool,
) -> tuple[Verdict, str]:
    if policy is None:
        return Verdict.UNANCHORED, "no policy was given, so that no witness was asked for"
    listed = [vkey for _, vkey, _ in policy.logs]
    if listed and key not in listed:
        return Verdict.UNANCHORED, "the policy does not list this log"
    if policy.quorum == NOBODY:
        return Verdict.UNANCHORED, NOBODY_ASKED
    names = [name for name, _, _ in policy.witnesses]
    missing = [name for name in names if name not in cosignatures]
    counted = f"{len(cosignatures)} of {len(names)} witnesses cosigned"
    if witnessed is None:
        counted = f"no head was witnessed, and 0 of {len(names)} witnesses cosigned"
    elif met:
        after = seen["size"] - witnessed.size
        return Verdict.WITNESSED, (
            f"{counted} the first {witnessed.size} records, which is what the policy asks for; "
            f"{after} records came after"
        )
    lacking = f"; missing: {', '.join(missing)}" if missing else ""
    return Verdict.UNANCHORED, f"{counted}, the policy asks for {policy.quorum}{lacking}"


def is_vkey(text: str) -> bool:
    """Whether a text has the form of a verifier key, so that it names no file."""
    return _VKEY.fullmatch(text.strip()) is not None


def load_vkey(source: str | PathLike[str]) -> str:
    """A verifier key from its text, or from the file that holds one.

    Raises VerificationError, which names the file and quotes nothing of it.
    """
    if isinstance(source, str) and is_vkey(source):
        return source.strip()
    try:
        with Path(source).open("rb") as file:
            text = file.read(VKEY_BYTES_MAX).decode("ascii", "replace").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise VerificationError(f"{str(source)!r} is no verifier key, nor a file: {why}") from None
    if not _VKEY.fullmatch(text):
        raise VerificationError(f"{str(source)!r} holds no verifier key (name+hash+key)")
    return text
