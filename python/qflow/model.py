"""The words of Qflow as data: what a trigger, an attempt and a problem are."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from qflow.clock import random_bytes

ERRORS: Final = "https://serverlessworkflow.io/spec/1.0.0/errors/"
"""The base of the standard error types (Open Workflow Specification 1.0.3)."""

_ERROR_BASES: Final = (ERRORS, "https://serverlessworkflow.io/dsl/errors/types/")
_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"


class ErrorKind:
    """The standard errors: short name and HTTP-like status."""

    CONFIGURATION: Final = ("configuration", 400)
    VALIDATION: Final = ("validation", 400)
    EXPRESSION: Final = ("expression", 400)
    AUTHENTICATION: Final = ("authentication", 401)
    AUTHORIZATION: Final = ("authorization", 403)
    TIMEOUT: Final = ("timeout", 408)
    COMMUNICATION: Final = ("communication", 500)
    RUNTIME: Final = ("runtime", 500)


def problem(
    kind: tuple[str, int], title: str, detail: str | None = None, *, status: int | None = None
) -> dict[str, Any]:
    """An RFC 7807 object of a standard kind. `instance` is filled in by the engine."""
    made: dict[str, Any] = {
        "type": ERRORS + kind[0],
        "status": kind[1] if status is None else status,
        "title": title,
    }
    if detail is not None:
        made["detail"] = detail
    return made


def aborted(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The problem of an execution that was aborted, from the meta of the record that says so."""
    return {**problem(ErrorKind.RUNTIME, "Aborted", meta.get("reason")), "instance": "/do"}


def canonical_error_type(uri: str) -> str:
    """One spelling for the standard error types, whose base was renamed between releases."""
    for base in _ERROR_BASES:
        if uri.startswith(base):
            return ERRORS + uri[len(base) :]
    return uri


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of one step. `key` is the same whenever this very attempt is made again."""

    execution: str
    step: str
    """JSON-pointer-like path of the step, with the index of each iteration it is in."""
    number: int
    """1 for the first try; a retry that the flow asked for counts up."""
    key: str
    """Idempotency key: 32 hex digits from execution, step and number."""
    task: Mapping[str, Any]
    """The task as the flow has it."""
    input: Any
    """The transformed task input."""
    variables: Mapping[str, Any]
    """What expressions see, without `$`; `secrets` is added by the runner alone."""
    use: Mapping[str, Any]
    """The `use` section of the flow: authentications, secrets, ..."""
    base: str | None = None
    """The folder of the flow's file, for relative `file:` resources; None when it has none."""
    document: str | None = None
    """The document that `call: document` writes, by its whole name."""

    @property
    def step_key(self) -> str:
        """One key for all tries of the step: what an `Idempotency-Key` header wants, so that a try
        that timed out here but succeeded there is not done twice by its retry."""
        return idempotency_key(self.execution, self.step, 0)


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as it is shown: where it stands, not all that it holds. Times: UTC ms."""

    id: str
    flow: str
    """namespace/name/version"""
    status: str
    """running, waiting, paused, completed, faulted or aborted."""
    started_at: int
    updated_at: int
    seq: int
    """The number of its last record."""
    definition: str = ""
    """The CID of the flow's document."""
    parent: str | None = None
    """`id:frame` of the execution that waits for this one."""
    wake_at: int | None = None
    listens: tuple[str, ...] = ()
    """Types of the events that it waits for; `*` is any."""
    output: Any = None
    problem: Mapping[str, Any] | None = None
    payloads: str | None = None
    """Why neither output nor problem is shown: `erased`, or `sealed` where the key is not."""
    checkpoint: int | None = None
    """The number of the record of its newest checkpoint."""
    shut: str | None = None
    """Why the node that runs does nothing with it; a node that is started tries again."""


class Withheld(enum.StrEnum):
    """What stands in the place of a payload that cannot be read."""

    ERASED = "erased"
    """Its key was destroyed on purpose."""
    SEALED = "sealed"
    """Its key is not here."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that starts by itself. Times: UTC ms."""

    key: str
    """namespace/name of the flow."""
    flow: str
    definition: str
    rule: Mapping[str, Any]
    """The flow's `schedule` section: every, cron or after; and `base`, the folder of its file."""
    since: int
    """When it was added."""
    fired_at: int | None = None
    """The due time of the last start."""
    execution: str | None = None
    """The last execution that it started."""
    next_at: int | None = None


def pointer_token(name: str) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def idempotency_key(execution: str, step: str, number: int) -> str:
    """The key of an attempt: equal on every node and after every restart."""
    return hashlib.sha256(f"{execution}\0{step}\0{number}".encode()).hexdigest()[:32]


def new_id(now_ms: int) -> bytes:
    """16 bytes that sort by time: 48 bits of milliseconds, 80 of chance (the ULID layout)."""
    return now_ms.to_bytes(6, "big") + random_bytes(10)


def id_text(raw: bytes) -> str:
    """26 letters and digits (Crockford's base 32, lower case) for 16 bytes."""
    number = int.from_bytes(raw, "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def id_bytes(text: str) -> bytes:
    """The inverse of `id_text`. Raises ValueError for anything else."""
    if len(text) != 26 or text[0] > "7":
        raise ValueError(f"{text!r} is not an id of 26 letters and digits")
    number = 0
    for letter in text:
        number = number << 5 | _CROCKFORD.index(letter)
    return number.to_bytes(16, "big")
