"""From what a server answered to what the flow gets."""

from __future__ import annotations

import base64
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NoReturn

import anyio
import httpx2
import msgspec
from anyio import to_thread

from qflow.errors import StepError
from qflow.model import ErrorKind
from qflow.steps._limits import Limits
from qflow.steps._plain import parse_json
from qflow.steps._request import Prepared
from qflow.steps._scope import failed
from qflow.trust import MARK

BAD_GATEWAY: Final = 502
_INLINE_BYTES_MAX: Final = 64 * 1024
"""A longer JSON text is read in a worker thread."""
_FAILURE_BYTES_MAX: Final = 64 * 1024
"""How much of a failure's content is read for its excerpt."""
ACCEPT_ENCODING: Final = "gzip, deflate"
_ENCODINGS: Final = frozenset({"identity", "gzip", "deflate", ""})
"""One layer at most: each multiplies what a small answer unpacks to by a thousand."""
_HIDDEN: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"}
    | {"www-authenticate", "proxy-authenticate", "authentication-info", "x-auth-token"}
)
"""Headers that are credentials by their nature."""

Redact = Callable[[Any], Any]


class Answer(msgspec.Struct, kw_only=True):
    """A response, read as far as the bounds allow."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    sent: list[tuple[str, str]]
    """The headers that were really sent."""

    def header(self, name: str) -> str:
        """The first header of that name, or nothing."""
        return next((value for key, value in self.headers if key == name), "")


async def read_answer(response: httpx2.Response, made: Prepared, limits: Limits) -> Answer:
    """Read a streamed response within the bounds. Raises StepError at one, httpx2 errors else."""
    headers = [(name.lower(), value) for name, value in response.headers.multi_items()]
    if sum(len(name) + len(value) for name, value in headers) > limits.headers_bytes_max:
        _refuse_answer(f"its headers are longer than {limits.headers_bytes_max} bytes")
    if response.headers.get("content-encoding", "identity").strip().lower() not in _ENCODINGS:
        _refuse_answer("its content is encoded in a way that was not asked for")
    good = is_success(response.status_code, made.redirect)
    bound = limits.response_bytes_max if good else _FAILURE_BYTES_MAX
    body = await _read_body(response, bound)
    if good and len(body) > bound:
        _refuse_answer(f"its content is longer than {bound} bytes")
    return Answer(
        status=response.status_code,
        headers=headers,
        body=body[:bound],
        sent=[(name.lower(), value) for name, value in response.request.headers.multi_items()],
    )


async def _read_body(response: httpx2.Response, bound: int) -> bytes:
    """The content, or a little more than `bound` bytes of it.

    At the bound the reading is cancelled rather than left: only so do the generators inside the
    HTTP library end in order. What was already received and unpacks meanwhile is thrown away.
    """
    body = bytearray()
    with anyio.CancelScope() as reading:
        async for chunk in response.aiter_bytes():
            if len(body) <= bound:
                body += chunk
            else:
                reading.cancel()
    return bytes(body)


def is_success(status: int, redirect: bool) -> bool:
    """The specification's rule: 200 to 299, and 300 to 399 too when `redirect` is true."""
    return 200 <= status <= (399 if redirect else 299)


async def shape(answer: Answer, made: Prepared, redact: Redact) -> Any:
    """The output of the call in the form that the flow asks for."""
    if made.output == "raw":
        return base64.b64encode(answer.body).decode("ascii")
    content = await deserialize(answer)
    if made.output == "content":
        return content
    return {
        "request": {
            "method": made.method,
            "uri": redact(made.uri),
            "headers": _shown(answer.sent, redact),
        },
        "statusCode": answer.status,
        "headers": _shown(answer.headers, redact),
        "content": content,
    }


async def deserialize(answer: Answer) -> Any:
    """JSON as data, text as text, other bytes as base64, nothing as null."""
    if not answer.body:
        return None
    kind, _, parameters = answer.header("content-type").partition(";")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return await _json(answer.body)
    try:
        return answer.body.decode(_charset(parameters))
    except (LookupError, UnicodeDecodeError):
        if kind.startswith("text/"):
            _refuse_answer("its text is not in the encoding that it names")
        return base64.b64encode(answer.body).decode("ascii")


def failure(answer: Answer, made: Prepared, host: str, limits: Limits, redact: Redact) -> StepError:
    """The `communication` error for a status that is not success."""
    try:
        phrase = f" {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = ""
    # Redacted whole and cut then: a cut secret would not be recognised.
    text = redact(answer.body.decode("utf-8", "replace"))[: limits.excerpt_chars_max]
    title = f"{made.method} {host} answered {answer.status}{phrase}"
    return failed(ErrorKind.COMMUNICATION, title, text or None, status=answer.status)


async def _json(body: bytes) -> Any:
    try:
        if len(body) > _INLINE_BYTES_MAX:
            return await to_thread.run_sync(parse_json, body)
        return parse_json(body)
    except ValueError as error:
        _refuse_answer(f"its content is not the JSON that it says: {error}")


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or "utf-8"
    return "utf-8"


def _shown(headers: list[tuple[str, str]], redact: Redact) -> dict[str, str]:
    """Headers by name, in lower case; those that repeat are joined as RFC 9110 allows."""
    made: dict[str, str] = {}
    for name, value in headers:
        shown = MARK if name in _HIDDEN else redact(value)
        made[name] = f"{made[name]}, {shown}" if name in made else shown
    return made


def _refuse_answer(detail: str) -> NoReturn:
    raise failed(ErrorKind.COMMUNICATION, "The answer is refused", detail, status=BAD_GATEWAY)
