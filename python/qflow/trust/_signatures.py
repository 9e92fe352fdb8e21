"""A signature is good when this node has verified it. A remote verifier can only say no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import anyio

from qflow import _core
from qflow.errors import QflowError, VerificationError

REMOTE_TIMEOUT_S: Final = 10.0
"""How long a remote verifier may take; then its answer counts as no."""


class RemoteVerifier(Protocol):
    """A service that may know more of a key than its bytes: Qlock knows which were revoked."""

    async def verify(self, key: bytes, message: bytes, signature: bytes) -> Any:
        """The service's answer as it came: an object, in which `valid` is its verdict.

        Raises a QflowError when there is no answer. Nothing is retried after it has returned.
        """
        ...


async def verify_signature(
    key: bytes,
    message: bytes,
    signature: bytes,
    *,
    remote: RemoteVerifier | None = None,
    timeout_s: float = REMOTE_TIMEOUT_S,
) -> None:
    """Return when an Ed25519 signature by `key` is good. Raises VerificationError otherwise.

    `key` is the one that the caller knows already, 32 bytes, never one that came with the
    signature or in an answer. The proof is made here, by the strict rules. Where there is a
    `remote` it must agree: its answer counts only when `valid` is true itself, not some other
    value; no answer, a late one and one without `valid` count as no. It is not asked about a
    signature that is bad anyway.
    """
    if not _core.verify_signature(key, message, signature):
        raise VerificationError("the signature is not good")
    if remote is None:
        return
    verdict = await _verdict(remote, (key, message, signature), timeout_s)
    if verdict is not True:
        raise VerificationError(
            f"the remote verifier does not agree: its `valid` is {verdict!r:.40}"
        )


async def _verdict(
    remote: RemoteVerifier, asked: tuple[bytes, bytes, bytes], timeout_s: float
) -> Any:
    try:
        with anyio.fail_after(timeout_s):
            answer = await remote.verify(*asked)
    except TimeoutError:
        raise VerificationError(
            f"the remote verifier did not answer within {timeout_s:g} s"
        ) from None
    except (QflowError, OSError) as error:
        raise VerificationError(f"the remote verifier cannot be asked: {error}") from error
    if not isinstance(answer, Mapping) or "valid" not in answer:
        raise VerificationError("the remote verifier gave no verdict")
    return answer["valid"]
