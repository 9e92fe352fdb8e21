"""From the `with` of a call to the request that is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

import httpx2
import msgspec

from qflow.model import ErrorKind
from qflow.steps._authentication import authenticate
from qflow.steps._plain import plain
from qflow.steps._scope import Scope, endpoint_of, failed

IDEMPOTENCY_KEY: Final = "idempotency-key"
URI_CHARS_MAX: Final = 16 * 1024
"""A longer URI is refused: servers do not take it either."""
_PORT_MAX: Final = 65_535
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_FORM: Final = "application/x-www-form-urlencoded"


class Prepared(msgspec.Struct, kw_only=True):
    """A request as the flow means it; where it really goes is the caller's business."""

    method: str
    uri: str
    headers: dict[str, str]
    """Names in lower case."""
    content: bytes | None = None
    auth: Any = None
    output: str = "content"
    redirect: bool = False


def prepare(scope: Scope) -> Prepared:
    """The request of `call: http`. Raises StepError or ExpressionError."""
    given = scope.attempt.task["with"]
    template, policy = _endpoint(given.get("endpoint"), scope)
    made = Prepared(
        method=_method(given.get("method"), scope),
        uri=with_query(scope.expand(template), scope.resolve(given.get("query"))),
        headers=_headers(scope.resolve(given.get("headers"))),
        output=given.get("output", "content"),
        redirect=given.get("redirect", False),
    )
    made.content = encode_body(scope.resolve(given.get("body")), made.headers)
    return complete(made, policy, scope)


def complete(made: Prepared, policy: Mapping[str, Any] | None, scope: Scope) -> Prepared:
    """Check the URI; add the credentials and the idempotency key, unless the flow sets one."""
    check_uri(made.uri)
    made.auth = authenticate(policy, scope, made.headers)
    made.headers.setdefault(IDEMPOTENCY_KEY, scope.attempt.step_key)
    return made


def check_uri(uri: str) -> httpx2.URL:
    """Refuse what is not an absolute http or https URI, or carries credentials."""
    if len(uri) > URI_CHARS_MAX:
        _refuse_uri(f"it is longer than {URI_CHARS_MAX} characters")
    try:
        url = httpx2.URL(uri)
    except httpx2.InvalidURL as error:
        _refuse_uri(str(error))
    if url.scheme not in ("http", "https") or not url.host:
        _refuse_uri("it must begin with http:// or https:// and a host")
    if url.port is not None and not 0 < url.port <= _PORT_MAX:
        _refuse_uri(f"there is no port {url.port}")
    if url.userinfo:
        _refuse_uri("it carries credentials; they belong under authentication")
    return url


def with_query(uri: str, query: Any) -> str:
    """The URI with more query parameters: a list repeats its name, null is left out."""
    if query is None:
        return uri
    if not isinstance(query, Mapping):
        raise failed(ErrorKind.VALIDATION, "The query is not an object")
    pairs = [
        (str(name), _word(item, f"query parameter {name}"))
        for name, value in query.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    if not pairs:
        return uri
    before, mark, fragment = uri.partition("#")
    joint = "&" if "?" in before else "?"
    return before + joint + urlencode(pairs) + mark + fragment


def encode_body(body: Any, headers: dict[str, str]) -> bytes | None:
    """A text as it is, other data as JSON, or as a form when the flow's headers say so."""
    if body is None:
        return None
    if isinstance(body, str):
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return body.encode()
    if headers.get("content-type", "").startswith(_FORM) and isinstance(body, Mapping):
        return with_query("", body).removeprefix("?").encode()
    headers.setdefault("content-type", "application/json")
    try:
        return json.dumps(plain(body), ensure_ascii=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise failed(ErrorKind.VALIDATION, "The body cannot be sent", str(error)) from None


def _endpoint(value: Any, scope: Scope) -> tuple[str, Mapping[str, Any] | None]:
    uri, policy = endpoint_of(value)
    if policy is not None and not isinstance(policy, Mapping):
        raise failed(ErrorKind.CONFIGURATION, "The authentication is not an object")
    return uri, policy


def _method(value: Any, scope: Scope) -> str:
    method = scope.resolve(value)
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise failed(ErrorKind.VALIDATION, "The method is not one of HTTP")
    return method.upper()


def _headers(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise failed(ErrorKind.VALIDATION, "The headers are not an object")
    made: dict[str, str] = {}
    for name, value in given.items():
        if not _TOKEN.fullmatch(name):
            raise failed(ErrorKind.VALIDATION, "A header's name is not a token", repr(name)[:80])
        if value is None:
            continue
        text = _word(value, f"header {name}")
        if not text.isascii() or not text.isprintable():
            raise failed(ErrorKind.VALIDATION, f"The header {name} is not printable ASCII")
        made[name.lower()] = text.strip()
    return made


def _word(value: Any, what: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise failed(ErrorKind.VALIDATION, f"The {what} is neither text nor number")


def _refuse_uri(detail: str) -> NoReturn:
    raise failed(ErrorKind.VALIDATION, "The endpoint is not a URI that can be called", detail)
