"""One question to one witness, as C2SP tlog-witness has it.

https://c2sp.org/tlog-witness
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from qflow import _core
from qflow.audit._witness import CONFLICT, NOT_PROVEN, OK, SIZE_TYPE, Head
from qflow.errors import VerificationError

if TYPE_CHECKING:
    import httpx2

ANSWER_BYTES_MAX: Final = 16 << 10
"""Of an answer that is read; a few signature lines are far less."""
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,14})\n?")

Proof = Callable[[int], Awaitable[Sequence[bytes]]]
"""The consistency proof from an older size to that of the head."""


class Peer(msgspec.Struct, frozen=True):
    """A witness of a policy that can be asked."""

    name: str
    """In the policy."""
    vkey: str
    url: str
    """The submission prefix."""


class Cosigned(msgspec.Struct, frozen=True):
    """The witness's line under the head, verified."""

    line: bytes
    time_s: int


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no cosignature."""

    what: str
    is_fork: bool = False
    """The witness saw another history of this log, or a longer one: it was rolled back, copied or
    rewritten. Nothing that this node does will get a cosignature again."""


class _Reply(msgspec.Struct, frozen=True):
    status: int
    media: str
    body: bytes


async def ask(
    client: httpx2.AsyncClient, peer: Peer, head: Head, old: int, proof: Proof
) -> Cosigned | Trouble:
    """Ask for a cosignature of `head`; `old` is the size that the witness is believed to know.

    When it knows another, it is asked once more. Raises what the client raises when it cannot be
    reached, and what `proof` raises.
    """
    for _ in range(2):
        body = _core.format_add_checkpoint(old, await proof(old), head.note)
        reply = await _post(client, f"{peer.url.rstrip('/')}/add-checkpoint", body)
        if reply.status == OK:
            return _cosigned(reply.body, peer, head)
        known = _known_size(reply)
        if known is None:
            return _trouble(reply)
        if known > head.size:
            return Trouble(f"it knows {known} records of this log, which has {head.size}", True)
        if known == old:
            return Trouble(f"it knows another head of {known} records", True)
        old = known
    return Trouble("it changes its mind about the size that it knows")


def _known_size(reply: _Reply) -> int | None:
    if reply.status != CONFLICT or reply.media != SIZE_TYPE:
        return None
    found = _SIZE.fullmatch(reply.body)
    return None if found is None else int(found[1])


def _trouble(reply: _Reply) -> Trouble:
    if reply.status == NOT_PROVEN:
        return Trouble("it saw another history of this log: what it knows is no part of this", True)
    return Trouble(f"it answered {reply.status}")


def _cosigned(body: bytes, peer: Peer, head: Head) -> Cosigned | Trouble:
    """The one line of the answer that is this witness's, and good; the others are not kept."""
    for line in body.splitlines(keepends=True):
        try:
            time_s = _core.cosigned_at(head.note + line, peer.vkey)
        except VerificationError as error:
            return Trouble(f"its cosignature is bad: {error}")
        if time_s is not None:
            return Cosigned(line, time_s)
    return Trouble("its answer has no cosignature of its key")


async def _post(client: httpx2.AsyncClient, url: str, body: bytes) -> _Reply:
    headers = {"content-type": "text/plain; charset=utf-8"}
    async with client.stream("POST", url, content=body, headers=headers) as response:
        received = bytearray()
        # Cancelled rather than left at the bound: only so do the generators inside of it end.
        with anyio.CancelScope() as scope:
            async for part in response.aiter_raw():
                if len(received) > ANSWER_BYTES_MAX:
                    scope.cancel()
                else:
                    received += part
        media = response.headers.get("content-type", "").partition(";")[0].strip()
        return _Reply(response.status_code, media, bytes(received[:ANSWER_BYTES_MAX]))
