"""One record that stands alone: made from a log's files, checked with nothing but a key."""

from __future__ import annotations

import os
from base64 import b64encode
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from qflow import _core, model
from qflow.audit._index import Index
from qflow.audit._policy import load_policy
from qflow.audit._verdict import Verdict
from qflow.audit._verify import load_vkey
from qflow.errors import UnavailableError, VerificationError

RECEIPT_SUFFIX: Final = ".tlog-proof"
RECEIPT_BYTES_MAX: Final = 256 << 10
"""Of a receipt, and of a known head; what is longer is refused unread."""

INDEX_END: Final = 1 << 63
"""No log has a record at this place."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt proves."""

    verdict: Verdict
    """UNANCHORED: in the log, by the log's key alone, as when no witness is asked for. WITNESSED:
    cosigned as the policy asks. DIVERGED: the head that is known has another history."""
    record: dict[str, Any]
    """As `_core.decode_record` gives it."""
    index: int
    """Its place in the log."""
    origin: str
    """The name of the log."""
    size: int
    """Records under the head."""
    root: str
    """The RFC 6962 root over them, base64 as in the signed head."""
    cosignatures: dict[str, int]
    """Seconds since 1970, by the policy's names of the witnesses that count."""
    known: bool | None = None
    """Whether the known head is this one; None when a head of another size cannot tell."""

    @property
    def execution(self) -> str:
        """The id of the execution, or of the node's own chain."""
        return model.id_text(self.record["chain"])


def make_receipt(
    source: str | PathLike[str],
    *,
    index: int | None = None,
    execution: str | None = None,
    seq: int | None = None,
    head: bytes | None = None,
) -> bytes:
    """The receipt of one record (C2SP tlog-proof), as a small file may hold it.

    `source` is a node's home or a log's folder. The record is the one at `index` of the log, or
    number `seq` of an execution (an id, or its beginning), its newest without a number; executions
    are looked up in the index of a home. `head` is a signed head of the log to prove it under:
    without one the newest that witnesses cosigned and that covers the record, or the published one.
    Raises ValueError when the record is not under that head, ExecutionNotFoundError,
    UnavailableError without an index, CorruptError, which names the damaged tile, and
    VerificationError when the head is not of this log.
    """
    path = Path(source)
    if index is None:
        if execution is None:
            raise ValueError("neither an index nor an execution")
        index = _index_of(path, execution, seq)
    if not 0 <= index < INDEX_END:
        raise ValueError(f"record {index} is in no log: an index is less than 2^63")
    log = path / "log" if (path / "log").is_dir() else path
    return _core.make_receipt(os.fspath(log), index, head=head)


def _index_of(home: Path, execution: str, seq: int | None) -> int:
    if not (home / "index.db").is_file():
        raise UnavailableError(f"{home} has no index of executions: name the record's index")
    with closing(Index(home / "index.db", read_only=True)) as found:
        view = found.execution(execution)
        number = view.seq if seq is None else seq
        places = found.places(model.id_bytes(view.id), number, 1)
    if not places or places[0].seq != number:
        raise ValueError(f"execution {view.id} has no record {number}, its last is {view.seq}")
    return places[0].log_index


def check_receipt(
    source: str | PathLike[str] | bytes,
    vkey: str | PathLike[str],
    policy: _core.Policy | str | PathLike[str] | None = None,
    known_head: str | PathLike[str] | bytes | None = None,
) -> Receipt:
    """Check a receipt, its bytes or its file, offline: nothing but the key is believed.

    `vkey` is the log's verifier key or the file that holds one: take it from whom you trust.
    `policy` says which witnesses must have cosigned; fewer is the verdict UNANCHORED. `known_head`
    is a signed head of the log, as bytes or a file; one of the same size and another root is the
    verdict DIVERGED. Raises VerificationError, which says why, for a receipt that does not hold,
    and ConfigError for a policy that cannot be read.
    """
    key, data = load_vkey(vkey), _read(source)
    rules = policy if policy is None or isinstance(policy, _core.Policy) else load_policy(policy)
    try:
        seen = _core.check_receipt(data, key, rules)
    except ValueError as error:
        raise VerificationError(f"the verifier key: {error}") from error
    known = None if known_head is None else _is_known(_read(known_head), key, seen)
    return Receipt(
        verdict=Verdict.DIVERGED if known is False else Verdict(seen["verdict"]),
        record=_core.decode_record(seen["record"]),
        index=seen["index"],
        origin=seen["origin"],
        size=seen["size"],
        root=b64encode(seen["root"]).decode(),
        cosignatures=seen["cosignatures"],
        known=known,
    )


def _is_known(note: bytes, key: str, seen: dict[str, Any]) -> bool | None:
    try:
        size, root = _core.parse_checkpoint(note, key)
    except ValueError as error:
        raise VerificationError(f"the known head: {error}") from error
    return root == seen["root"] if size == seen["size"] else None


def _read(source: str | PathLike[str] | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        with Path(source).open("rb") as file:
            data = file.read(RECEIPT_BYTES_MAX + 1)
    except OSError as error:
        raise VerificationError(f"{str(source)!r} cannot be read: {error.strerror}") from error
    if len(data) > RECEIPT_BYTES_MAX:
        raise VerificationError(f"{str(source)!r} is longer than a receipt can be")
    return data
