"""Lines of JSON over a stream, and errors that survive the way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import anyio
import msgspec
from anyio.abc import AsyncResource, ByteStream
from anyio.streams.buffered import BufferedByteStream

from qflow import errors
from qflow._core import Cid
from qflow.errors import QflowError, UnavailableError

LINE_BYTES_MAX: Final = 8 << 20
"""A longer line is not read: the connection ends with an error. A payload has 1 MiB at most."""


def parse_json(text: str | bytes) -> Any:
    """Read JSON from outside. Duplicate keys, NaN and bottomless nesting are a ValueError."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_object_of,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r:.80} occurs twice in one object")
        made[key] = value
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def to_json(value: Any) -> bytes:
    """Compact JSON of plain data, structs and CIDs; no line break inside."""
    return msgspec.json.encode(value, enc_hook=_text_of_cid)


def to_plain(value: Any) -> Any:
    """The same data as `to_json`, as dicts, lists, texts and numbers."""
    return msgspec.to_builtins(value, enc_hook=_text_of_cid)


def _text_of_cid(value: Any) -> str:
    if isinstance(value, Cid):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not plain data")


class Lines(AsyncResource):
    """Newline-delimited JSON over a byte stream. Owns the stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._received = BufferedByteStream(stream)
        self._sending = anyio.Lock()

    async def receive(self) -> Any:
        """The next line's value. EndOfStream at the end; ValueError for what is not JSON."""
        try:
            line = await self._received.receive_until(b"\n", LINE_BYTES_MAX)
        except anyio.DelimiterNotFound:
            raise ValueError(f"a line has more than {LINE_BYTES_MAX} bytes") from None
        except anyio.IncompleteRead:
            raise anyio.EndOfStream from None
        return parse_json(line)

    async def send(self, value: Any) -> None:
        """Send one line. ValueError, and nothing sent, if it is too long."""
        line = to_json(value)
        if len(line) >= LINE_BYTES_MAX:
            raise ValueError(f"the answer has more than {LINE_BYTES_MAX} bytes")
        async with self._sending:
            await self._stream.send(line + b"\n")

    async def aclose(self) -> None:
        await self._stream.aclose()


_CARRIED: Final = ("problem", "problems", "execution", "status")
"""What errors carry besides their message."""


def error_document(error: BaseException) -> dict[str, Any]:
    """An error as data: `type`, `message` and what it carries."""
    known = isinstance(error, QflowError)
    carried = {name: to_plain(getattr(error, name)) for name in _CARRIED if hasattr(error, name)}
    return {
        "type": type(error).__name__ if known else "QflowError",
        "message": str(error) if known else f"{type(error).__name__}: {error}",
        **({"data": carried} if carried else {}),
    }


def error_of(document: Mapping[str, Any]) -> QflowError:
    """The inverse of `error_document`: the class of `qflow.errors` with that name."""
    kind = getattr(errors, str(document.get("type")), None)
    message, data = str(document.get("message")), document.get("data") or {}
    if not (isinstance(kind, type) and issubclass(kind, QflowError)):
        return UnavailableError(f"the node answered {message!r}")
    made = kind.__new__(kind, message)
    Exception.__init__(made, message)
    for name in _CARRIED:
        if name in data:
            setattr(made, name, data[name])
    return made
