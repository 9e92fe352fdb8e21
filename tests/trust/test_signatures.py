"""Whatever a remote verifier says, a signature is good only when this node has verified it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from nacl.signing import SigningKey

from qflow.errors import UnavailableError, VerificationError
from qflow.trust import verify_signature

pytestmark = pytest.mark.anyio

PAIR = SigningKey(bytes(range(32)))
KEY, MESSAGE = bytes(PAIR.verify_key), b"the message"
GOOD = PAIR.sign(MESSAGE).signature
FORGED = bytes([GOOD[0] ^ 1]) + GOOD[1:]
AGREES: dict[str, Any] = {"valid": True, "details": {"keyValid": True}}


class Remote:
    """A verifier over a socket, one line of JSON for another, as its adapter would ask it."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def verify(self, key: bytes, message: bytes, signature: bytes) -> Any:
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            asked = {"key": key.hex(), "message": message.hex(), "signature": signature.hex()}
            await stream.send(json.dumps(asked).encode() + b"\n")
            return json.loads(await stream.receive())


class Liar:
    """A server that answers the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Remote]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._serve)
            yield Remote(listener.extra(anyio.abc.SocketAttribute.local_port))
            group.cancel_scope.cancel()

    async def _serve(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.receive()
            self.asked += 1
            await stream.send(json.dumps(self.answer).encode())


@pytest.mark.holds("M15")
async def test_a_verifier_that_says_valid_to_everything_proves_nothing() -> None:
    liar = Liar({**AGREES, "publicKey": KEY.hex()})
    stranger = bytes(SigningKey(b"s" * 32).verify_key)
    async with liar.serving() as remote:
        for key, message, signature in (
            (KEY, MESSAGE, FORGED),
            (KEY, MESSAGE + b"!", GOOD),
            (stranger, MESSAGE, GOOD),
            (KEY, MESSAGE, b""),
            (b"", MESSAGE, GOOD),
            (bytes(32), MESSAGE, bytes(64)),
        ):
            with pytest.raises(VerificationError, match="not good"):
                await verify_signature(key, message, signature, remote=remote)
        assert liar.asked == 0
        await verify_signature(KEY, MESSAGE, GOOD, remote=remote)
        assert liar.asked == 1


@pytest.mark.holds("M15")
@pytest.mark.parametrize(
    "answer",
    [{"valid": v} for v in (False, None, "true", 1, 1.0, [True], {"valid": True}, "")]
    + [{}, {"Valid": True}, {"data": {"valid": True}}, [], True, None, "valid"],
)
async def test_only_true_itself_is_agreement(answer: Any) -> None:
    async with Liar(answer).serving() as remote:
        with pytest.raises(VerificationError, match="remote verifier"):
            await verify_signature(KEY, MESSAGE, GOOD, remote=remote)


class Silent:
    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def verify(self, key: bytes, message: bytes, signature: bytes) -> Any:
        if self._error is not None:
            raise self._error
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.holds("M15")
async def test_a_verifier_that_does_not_answer_counts_as_no() -> None:
    for error in (UnavailableError("not there"), ConnectionRefusedError("refused")):
        with pytest.raises(VerificationError, match="cannot be asked"):
            await verify_signature(KEY, MESSAGE, GOOD, remote=Silent(error))
    with pytest.raises(VerificationError, match="within 0 s"):
        await verify_signature(KEY, MESSAGE, GOOD, remote=Silent(None), timeout_s=0)


async def test_no_remote_verifier_is_needed() -> None:
    await verify_signature(KEY, MESSAGE, GOOD)
    with pytest.raises(VerificationError):
        await verify_signature(KEY, MESSAGE, FORGED)
