"""Makes a report from a node's log: judge all of it, collect the receipts, sign."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import msgspec

from qflow import _core, model
from qflow.audit._source import Source
from qflow.audit.compliance._evaluate import Scope, evaluating
from qflow.audit.compliance._parse import Rules
from qflow.audit.compliance._report import Collected, Report, Signed, compose, sign
from qflow.errors import VerificationError
from qflow.trust import NodeKey


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is about."""

    source: Source
    path: Path
    """The log's folder: its tiles prove records."""
    head: str
    """A signed head of it, published."""
    subnet: str


def making_report(
    subject: Subject,
    key: NodeKey,
    rules: Rules,
    scope: Scope,
    *,
    now_ms: int,
) -> Generator[tuple[int, int], None, tuple[Report, Signed]]:
    """Judge every record under the head and sign what came of it. Stores nothing.

    Yields (records done, in all) part by part; a part is not for the event loop. Raises
    CorruptError and VerificationError when the log is not what the head says.
    """
    try:
        head = _core.parse_checkpoint(subject.head.encode(), key.vkey)
    except ValueError as error:
        raise VerificationError(f"the head of the log: {error}") from error
    collected = Collected()
    outcome = yield from evaluating(
        subject.source,
        rules.rules,
        head=head,
        scope=scope,
        now_ms=now_ms,
        tell=collected.tell,
    )
    report, blocks = compose(
        outcome,
        collected,
        rules,
        id=model.id_text(model.new_id(now_ms)),
        made_at=now_ms,
        node=key.did,
        subnet=subject.subnet,
        head=subject.head,
        scope=scope,
        receipts=make_receipts(subject.path, sorted(collected.wanted)),
    )
    return report, sign(report, blocks, head[1], key)


def make_receipts(path: Path, indexes: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """The receipts of records by their place in the log, under its published head."""
    for index in indexes:
        yield index, _core.make_receipt(os.fspath(path), index)
