"""The decision of a witness about one request, as C2SP tlog-witness has it. Pure.

https://c2sp.org/tlog-witness
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from qflow import _core
from qflow.audit._policy import load_policy
from qflow.errors import ConfigError, VerificationError

BODY_BYTES_MAX: Final = 64 << 10
"""Of a request: an old size, 63 hashes and a signed note are far less."""

OK: Final = 200
MALFORMED: Final = 400
NOT_SIGNED: Final = 403
UNKNOWN_LOG: Final = 404
CONFLICT: Final = 409
NOT_PROVEN: Final = 422
OUT_OF_ORDER: Final = 503

_POLICY_WORDS: Final = frozenset({"log", "witness", "group", "quorum"})

SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


class Head(msgspec.Struct, frozen=True):
    """A head of a log that its key signed, with the note it came in."""

    size: int
    root: bytes
    note: bytes


EMPTY: Final = Head(0, sha256().digest(), b"")
"""What a witness knows of a log that it never saw: the empty tree (RFC 6962)."""


class Request(msgspec.Struct, frozen=True):
    """The body of an `add-checkpoint`: well-formed, and nothing in it verified."""

    old: int
    proof: Sequence[bytes]
    origin: str
    head: Head


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no cosignature."""

    status: int
    why: str
    known: int | None = None
    """The size that the witness knows, which a conflict teaches the log."""


class Answer(msgspec.Struct, frozen=True):
    """What goes back to the log."""

    status: int
    body: bytes
    media: str = TEXT_TYPE


def origin_of(vkey: str) -> str:
    """The origin of the log with this verifier key. Raises ConfigError for what is none."""
    try:
        ((origin, read, _),) = _core.Policy(f"log {vkey}\nquorum none\n").logs
    except ValueError as error:
        raise ConfigError(f"not the verifier key of a log: {vkey!r}") from error
    if read != vkey:
        raise ConfigError(f"more than the verifier key of a log: {vkey!r}")
    return origin


def read_vkeys(path: Path) -> list[str]:
    """The logs that a file names: verifier keys, one a line, or the `log` lines of a policy.

    Raises ConfigError, which names the file and the line and quotes nothing of it: it may be the
    file of a private key.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{str(path)!r} holds no verifier keys of logs: it is no text") from None
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    stripped = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    meant = [(number, line) for number, line in stripped if line and not line.startswith("#")]
    if any(line.split()[0] in _POLICY_WORDS for _, line in meant):
        return [vkey for _, vkey, _ in load_policy(path).logs]
    for number, line in meant:
        try:
            origin_of(line)
        except ConfigError:
            what = f"line {number} is not the verifier key of a log (name+hash+key)"
            raise ConfigError(f"{str(path)!r}: {what}") from None
    return [vkey for _, vkey in meant]


def doubts_about(policy: _core.Policy, vkey: str) -> Iterator[str]:
    """What makes a policy useless for the log with this verifier key, in words."""
    logs = [key for _, key, _ in policy.logs]
    if logs and vkey not in logs:
        yield "it lists logs, and not this one: no head of this log meets it"
    for name, key, url in policy.witnesses:
        if public_of(key) == public_of(vkey):
            yield f"the witness {name} has this log's own key, which does not count for itself"
        elif url is None:
            yield f"the witness {name} has no URL: it cannot be asked"


def public_of(vkey: str) -> bytes:
    """The public key inside of a verifier key, behind its type."""
    return b64decode(vkey.split("+", 2)[2])[1:]


def parse_request(body: bytes) -> Request | Refusal:
    """Read the body of a request, strictly."""
    if len(body) > BODY_BYTES_MAX:
        return Refusal(MALFORMED, f"more than {BODY_BYTES_MAX} bytes")
    try:
        old, proof, note = _core.parse_add_checkpoint(body)
        origin, size, root = _core.peek_checkpoint(note)
    except ValueError as error:
        return Refusal(MALFORMED, str(error))
    return Request(old, proof, origin, Head(size, root, note))


def signer_of(request: Request, keys: Sequence[str]) -> str | Refusal:
    """Which of the keys that are known for its origin signed the head."""
    if not keys:
        return Refusal(UNKNOWN_LOG, "this witness does not know that log")
    for vkey in keys:
        try:
            _core.parse_checkpoint(request.head.note, vkey)
        except ValueError:
            continue
        return vkey
    return Refusal(NOT_SIGNED, "no good signature of a key that is known for this log")


def judge(request: Request, latest: Head) -> Refusal | None:
    """Whether a signed head may be cosigned after `latest`, the newest that was; None: it may."""
    head = request.head
    if request.old > head.size:
        return Refusal(MALFORMED, "the old size is larger than the checkpoint's")
    if request.old != latest.size:
        return Refusal(CONFLICT, "another size is known", known=latest.size)
    if head.size == latest.size and head.root != latest.root:
        return Refusal(CONFLICT, "another root is known at this size", known=latest.size)
    if request.old == 0:
        return Refusal(NOT_PROVEN, "nothing is to be proven from size 0") if request.proof else None
    try:
        _core.verify_consistency(
            latest.size, head.size, list(request.proof), latest.root, head.root
        )
    except VerificationError as error:
        return Refusal(NOT_PROVEN, str(error))
    return None


def is_equivocation(head: Head, known: Head) -> bool:
    """Whether both, signed by one log, contradict each other: same size, other root."""
    return known.size == head.size and known.root != head.root


def answer_of(refusal: Refusal) -> Answer:
    """The HTTP answer for a refusal."""
    if refusal.known is not None:
        return Answer(refusal.status, b"%d\n" % refusal.known, SIZE_TYPE)
    return Answer(refusal.status, f"{refusal.why}\n".encode())
