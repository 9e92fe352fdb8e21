"""Receipts: one record with its proof as a small file, and checking such files anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._audit import key_given, rules_in
from qflow.cli._exit import DIVERGED, FAILED, NOT_FOUND, OK, UNANCHORED, USAGE, Refusal
from qflow.cli._output import plural, size
from qflow.cli._records import fact_of
from qflow.cli._target import check_own

if TYPE_CHECKING:
    from qflow._core import Policy
    from qflow.audit import Receipt
    from qflow.cli._session import Session

INVALID: Final = "INVALID"
_WORST_FIRST: Final = (FAILED, DIVERGED, UNANCHORED)
OWN_FLOW: Final = "qflow/node"
_WORDS: Final = {
    "created": "the execution was started",
    "step_completed": "STEP was completed",
    "step_failed": "STEP failed",
    "documents_read": "documents were read for STEP",
    "step_skipped": "STEP was skipped",
    "suspended": "the execution began to wait",
    "paused": "the execution was paused",
    "resumed": "the execution was resumed",
    "completed": "the execution ended with success",
    "faulted": "the execution failed",
    "aborted": "the execution was aborted",
}
_STYLES: Final = {"WITNESSED": "bold green", "UNANCHORED": "bold yellow"}
_MEANING: Final = {
    "WITNESSED": "in the log, and the witnesses that the policy asks for saw this head",
    "UNANCHORED": "in the log, by the word of the log's key alone",
    "DIVERGED": "in a history other than the known head's: the log has two",
}


def make(
    session: Session,
    execution: str | None,
    *,
    seq: int | None,
    index: int | None,
    log: Path | None,
    out: Path | None,
    force: bool = False,
) -> int | None:
    """Write one receipt. What it proves is checked by the home's own key before it is written."""
    from qflow.audit import RECEIPT_SUFFIX

    if index is None:
        if execution is None or log is not None:
            raise Refusal("name an execution of this home, or a record by --index", USAGE)
        execution, seq, index = session.run(_find, session, execution, seq)
    elif execution is not None or seq is not None:
        raise Refusal("--index names the record alone: give no execution and no --seq", USAGE)
    name = f"record-{index}" if execution is None else f"{execution}-{seq}"
    file = out or Path(f"{name}{RECEIPT_SUFFIX}")
    check_own(session, file)
    if file.is_dir() or file.is_block_device():
        raise Refusal(f"{file} is no place for a file", USAGE)
    if file.is_file() and not force:
        raise Refusal(f"{file} is there already", USAGE, "--force replaces it")
    data = _made(log if log is not None else session.home, index)
    key = session.home / "node.pub" if log is None else log.absolute().parent / "node.pub"
    receipt = _checked(data, key) if key.is_file() else None
    _write(file, data)
    if session.out.json:
        document = {} if receipt is None else _document(receipt)
        session.out.document({**document, "file": str(file), "index": index, "bytes": len(data)})
        return None
    session.out.line(f"{file}  {size(len(data))}")
    if receipt is not None:
        session.out.line(sentence(receipt))
    session.out.note(f"check it anywhere: qflow audit check-receipt {file} --key KEY")
    return None


def _made(where: Path, index: int) -> bytes:
    from qflow.audit import make_receipt
    from qflow.audit._receipt import INDEX_END

    if index >= INDEX_END:
        raise Refusal(f"--index {index} is in no log: an index is less than 2^63", USAGE)
    try:
        return make_receipt(where, index=index)
    except ValueError as error:
        first = _first_kept(where)
        if index < first:
            what = f"record {index} was pruned: the log keeps those from record {first} on"
            raise Refusal(what, NOT_FOUND) from error
        raise Refusal(
            str(error), NOT_FOUND, "a running node publishes what is new within seconds"
        ) from error


def _first_kept(where: Path) -> int:
    """Index of the first record that was not pruned."""
    from qflow import _core

    log = where / "log" if (where / "log").is_dir() else where
    return _core.LogReader(str(log)).first


def _write(file: Path, data: bytes) -> None:
    """Write a receipt whole or not at all; what is no regular file, as a pipe, straight."""
    from qflow.audit._known import replace_file

    if file.exists() and not file.is_file():
        file.write_bytes(data)
    else:
        replace_file(file, data)


async def _find(session: Session, execution: str, seq: int | None) -> tuple[str, int, int]:
    """The whole id of an execution, and number and index of a record of it: the newest."""
    async with session.either() as node:
        view = await node.show(execution)
        number = view.seq if seq is None else seq
        if number > view.seq:
            raise Refusal(f"{view.id} has no record {number}, its last is {view.seq}", NOT_FOUND)
        found = await node.history(view.id, after=number - 1, limit=1)  # type: ignore[union-attr]
    return view.id, number, found[0]["index"]


def _checked(data: bytes, key: Path) -> Receipt:
    from qflow.audit import check_receipt

    return check_receipt(data, key)


def check(
    session: Session,
    files: list[Path],
    *,
    key: str | None,
    policy: Path | None,
    known_head: Path | None,
) -> int | None:
    """Check receipts, each alone. The exit code is that of the worst."""
    from qflow.audit import load_vkey

    for file in files:
        if not file.is_file():
            raise Refusal(f"{file} is not there, or no file", NOT_FOUND)
    source = key_given(key) if key is not None else session.home / "node.pub"
    load_vkey(source)
    rules = None if policy is None else rules_in(policy)
    codes = [_check(session, file, source, rules, known_head) for file in files]
    if key is None and not session.out.json and OK in codes:
        session.out.note("note: the key is this home's own; to prove who wrote it, use --key")
    return next((code for code in _WORST_FIRST if code in codes), OK)


def _check(
    session: Session,
    file: Path,
    source: str | Path,
    rules: Policy | None,
    known_head: Path | None,
) -> int:
    from qflow.audit import check_receipt
    from qflow.audit._policy import NOBODY
    from qflow.errors import VerificationError

    try:
        receipt = check_receipt(file, source, rules, known_head)
    except VerificationError as error:
        if session.out.json:
            session.out.document({"file": str(file), "verdict": INVALID, "why": str(error)})
        else:
            session.out.line(f"{INVALID}  {file}", "bold red")
            session.out.line(f"  {error}", "red")
        return FAILED
    if session.out.json:
        session.out.document({"file": str(file), **_document(receipt)})
    else:
        _print(session, receipt, file, rules, str(source))
    if receipt.verdict.name == "DIVERGED":
        return DIVERGED
    asked = rules is not None and rules.quorum != NOBODY
    return UNANCHORED if asked and receipt.verdict.name == "UNANCHORED" else OK


def _print(
    session: Session, receipt: Receipt, file: Path, rules: Policy | None, source: str
) -> None:
    out, record, verdict = session.out, receipt.record, receipt.verdict.name
    out.line(f"{verdict}  {file}", _STYLES.get(verdict, "bold red"))
    out.line(f"  {_MEANING[verdict]}")
    out.line(f"  {sentence(receipt)}")
    fields = [
        ("record", f"{record['seq']} of its chain, {receipt.index:,} of the log"),
        ("flow", record["flow"]),
        ("by", record["actor"]),
        ("on node", record["node"]),
        ("log", receipt.origin),
        ("head", f"{plural(receipt.size, 'record')}, root {receipt.root}"),
        ("witnesses", _witnesses(receipt, rules)),
        ("payload", str(record["payload"] or "none")),
        ("key from", source),
    ]
    if receipt.known is not None:
        fields.append(("known head", "the same" if receipt.known else "of another history"))
    width = max(len(name) for name, _ in fields) + 2
    for name, value in fields:
        out.line(f"  {name:<{width}}{value}")


def _witnesses(receipt: Receipt, rules: Policy | None) -> str:
    from qflow.audit._policy import NOBODY
    from qflow.audit._verify import NOBODY_ASKED

    if rules is None:
        return "not asked for"
    if rules.quorum == NOBODY:
        return NOBODY_ASKED
    seen = [f"{name} ({moment_utc(at * 1000)})" for name, at in receipt.cosignatures.items()]
    return f"{', '.join(seen) or 'none'}; the policy asks for {rules.quorum}"


def sentence(receipt: Receipt) -> str:
    """Who did what, when, in which execution: for a person."""
    record = receipt.record
    if record["flow"] == OWN_FLOW:
        within = "in the node's own chain"
    else:
        within = f"in execution {receipt.execution} of {record['flow']}"
    what = _what(record)
    return f"{moment_utc(record['at'])}: {what}, {within}, on behalf of {record['actor']}"


def _what(record: dict[str, Any]) -> str:
    """The fact in words: for steps and ends in ours, for others the title of their schema."""
    from qflow.events import catalogue

    words = _WORDS.get(fact_of(record))
    if words is None:
        title = str(catalogue().get(record["type"], {}).get("title") or record["type"])
        words = title[0].lower() + title[1:]
    attempt = record.get("attempt")
    again = f" (attempt {attempt})" if attempt is not None and attempt > 1 else ""
    step = record.get("step")
    told = words.replace("STEP", f"step {step}") if step else words
    return told + ("" if step is None or "STEP" in words else f" at {step}") + again


def moment_utc(at_ms: int) -> str:
    """`2026-01-02 03:04:05 UTC`, since a receipt is read elsewhere; the number if no date fits."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms since 1970"


def _document(receipt: Receipt) -> dict[str, Any]:
    from qflow.api import to_plain

    plain: dict[str, Any] = to_plain(receipt)
    return {**plain, "verdict": receipt.verdict.name, "execution": receipt.execution}
