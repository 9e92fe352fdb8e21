"""`call: openapi`: from an operation and its parameters to a request.

After the OpenAPI Specification 3.1 ("Parameter Object", "Request Body Object", "Server Object") and
Swagger 2.0 (`collectionFormat`, `in: body`, `in: formData`, `host`, `basePath`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import quote, urljoin

from qflow.model import ErrorKind
from qflow.steps._documents import Document, Documents, Fetch, Operation
from qflow.steps._request import Prepared, encode_body, with_query
from qflow.steps._scope import Scope, failed

_PLACE: Final = re.compile(r"\{([^{}]+)\}")
_JOINTS: Final = {
    "ssv": " ",
    "tsv": "\t",
    "pipes": "|",
    "spaceDelimited": " ",
    "pipeDelimited": "|",
}
_FORM: Final = "application/x-www-form-urlencoded"
_ACCEPT: Final = "application/json, */*;q=0.5"


async def prepare_operation(
    scope: Scope, documents: Documents, fetch: Fetch
) -> tuple[Prepared, Mapping[str, Any] | None]:
    """The request of `call: openapi`, and the authentication that its flow asks for.

    Members of `parameters` that no parameter of the operation takes are its body. Raises StepError:
    `configuration` for a document that does not fit, `validation` for parameters that do not.
    """
    given = scope.attempt.task["with"]
    endpoint = given["document"]["endpoint"]
    document = await documents.get(scope, endpoint, fetch)
    operation = document.operation(scope.resolve(given["operationId"]))
    values = scope.resolve(given.get("parameters")) or {}
    if not isinstance(values, Mapping):
        raise failed(ErrorKind.VALIDATION, "The parameters are not an object")
    made = _Request(document, operation, dict(values)).build()
    made.output = given.get("output", "content")
    made.redirect = given.get("redirect", False)
    return made, given.get("authentication")


class _Request:
    """A request in the making; `left` are the values that nothing has taken yet."""

    def __init__(self, document: Document, operation: Operation, values: dict[str, Any]) -> None:
        self.document, self.operation, self.left = document, operation, values
        self.path: dict[str, str] = {}
        self.query: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {"accept": _ACCEPT}
        self.cookies: list[str] = []
        self.form: list[tuple[str, str]] = []
        self.body: Any = None

    def build(self) -> Prepared:
        for parameter in self._parameters():
            self._take(parameter)
        content = self._content()
        if self.cookies:
            self.headers["cookie"] = "; ".join(self.cookies)
        return Prepared(
            method=self.operation.method,
            uri=self._uri(),
            headers=self.headers,
            content=content,
        )

    def _parameters(self) -> list[Mapping[str, Any]]:
        """Those of the path and of the operation; the operation's replace the path's."""
        made: dict[tuple[Any, Any], Mapping[str, Any]] = {}
        for holder in (self.operation.item, self.operation.body):
            for entry in holder.get("parameters") or ():
                parameter = self.document.resolve(entry)
                made[parameter.get("name"), parameter.get("in")] = parameter
        return list(made.values())

    def _take(self, parameter: Mapping[str, Any]) -> None:
        name, place = str(parameter.get("name")), parameter.get("in")
        if place == "body":
            self._take_body(name, parameter)
            return
        value = self.left.pop(name, None)
        if value is None:
            if parameter.get("required"):
                self._missing(name)
            return
        if place == "path":
            self.path[name] = ",".join(quote(text, safe="") for text in _words(name, value))
        elif place == "query":
            self.query += _pairs(name, value, parameter, v2=self.document.is_v2)
        elif place == "header":
            self.headers[name.lower()] = ",".join(_words(name, value))
        elif place == "cookie":
            self.cookies += [f"{name}={quote(text, safe='')}" for text in _words(name, value)]
        elif place == "formData" and parameter.get("type") != "file":
            self.form += _pairs(name, value, parameter, v2=True)
        else:
            detail = f"{name}: in {place}, type {parameter.get('type')}"
            raise failed(ErrorKind.CONFIGURATION, "The parameter's place is not supported", detail)

    def _take_body(self, name: str, parameter: Mapping[str, Any]) -> None:
        """Swagger 2.0: the body by its name, or else what is left once all else is taken."""
        if name in self.left:
            self.body = self.left.pop(name)
        else:
            taken = {one.get("name") for one in self._parameters() if one.get("in") != "body"}
            rest = {key: self.left.pop(key) for key in list(self.left) if key not in taken}
            self.body = rest or None
        if self.body is None and parameter.get("required"):
            self._missing(name)

    def _content(self) -> bytes | None:
        if self.document.is_v2:
            accepted = self.operation.body.get("consumes") or self.document.root.get("consumes")
            kinds = list(accepted or ())
        else:
            section = self.document.resolve(self.operation.body.get("requestBody")) or {}
            kinds = list(section.get("content") or ())
            if section:
                alone = self.left.keys() == {"body"}
                self.body = self.left.pop("body") if alone else (dict(self.left) or None)
                self.left = {}
                if self.body is None and section.get("required"):
                    self._missing("body")
        if self.left:
            detail = f"{', '.join(self.left)}: not of {self.operation.body.get('operationId')}"
            raise failed(ErrorKind.VALIDATION, "The operation does not have the parameter", detail)
        if self.form:
            self.headers["content-type"] = _FORM
            return with_query("", _gathered(self.form)).removeprefix("?").encode()
        if self.body is None:
            return None
        self.headers["content-type"] = _media_type(kinds, self.body)
        return encode_body(self.body, self.headers)

    def _uri(self) -> str:
        def fill(match: re.Match[str]) -> str:
            if match[1] not in self.path:
                self._missing(match[1])
            return self.path[match[1]]

        path = _PLACE.sub(fill, self.operation.path)
        return with_query(_server(self.document, self.operation) + path, _gathered(self.query))

    def _missing(self, name: str) -> NoReturn:
        detail = f"{self.operation.body.get('operationId')} needs {name}"
        raise failed(ErrorKind.VALIDATION, "A required parameter is missing", detail)


def _server(document: Document, operation: Operation) -> str:
    """The base of the operation's path, without a slash at its end."""
    root = document.root
    if document.is_v2:
        origin = urljoin(document.uri, "/")
        scheme, _, rest = origin.partition("://")
        schemes = operation.body.get("schemes") or root.get("schemes") or [scheme]
        chosen = scheme if scheme in schemes else schemes[0]
        base = f"{chosen}://{root.get('host') or rest.rstrip('/')}{root.get('basePath') or ''}"
    else:
        holders = (operation.body, operation.item, root)
        servers = next((one["servers"] for one in holders if one.get("servers")), [{"url": "/"}])
        base = urljoin(document.uri, _server_url(servers[0]))
    if not base.startswith(("http://", "https://")):
        raise failed(ErrorKind.CONFIGURATION, "The document does not say where its server is", base)
    return base.rstrip("/")


def _server_url(server: Mapping[str, Any]) -> str:
    variables = server.get("variables") or {}

    def fill(match: re.Match[str]) -> str:
        default = (variables.get(match[1]) or {}).get("default")
        if default is None:
            detail = f"{match[1]} has no default"
            raise failed(ErrorKind.CONFIGURATION, "The server's address is incomplete", detail)
        return str(default)

    return _PLACE.sub(fill, str(server.get("url", "/")))


def _pairs(
    name: str, value: Any, parameter: Mapping[str, Any], *, v2: bool
) -> list[tuple[str, str]]:
    """One parameter as query or form pairs, in the style that the document gives it."""
    if "content" in parameter:
        return [(name, json.dumps(value, separators=(",", ":")))]
    if isinstance(value, Mapping):
        deep = parameter.get("style") == "deepObject"
        return [
            (f"{name}[{key}]" if deep else str(key), _word(name, item))
            for key, item in value.items()
        ]
    words = _words(name, value)
    if v2:
        style = parameter.get("collectionFormat", "csv")
        apart = style == "multi"
    else:
        style = parameter.get("style", "form")
        apart = parameter.get("explode", style == "form")
    if apart or not isinstance(value, list):
        return [(name, word) for word in words]
    return [(name, _JOINTS.get(style, ",").join(words))]


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for name, word in pairs:
        made.setdefault(name, []).append(word)
    return made


def _words(name: str, value: Any) -> list[str]:
    """A scalar, the items of a list, or the `key,value` items of an object, as texts."""
    if isinstance(value, Mapping):
        return [text for key, item in value.items() for text in (str(key), _word(name, item))]
    return [_word(name, item) for item in (value if isinstance(value, list) else [value])]


def _word(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise failed(ErrorKind.VALIDATION, f"The parameter {name} does not fit", "it is nested or null")


def _media_type(kinds: list[str], body: Any) -> str:
    """The first type among the accepted that the body can be sent in, JSON before others."""
    if not kinds:
        return "application/json"
    json_first = sorted(kinds, key=lambda kind: "json" not in kind)
    for kind in json_first:
        if "json" in kind or (kind == _FORM and isinstance(body, Mapping)):
            return kind
        if isinstance(body, str) and "multipart" not in kind:
            return kind
        if kind == "*/*":
            return "application/json"
    detail = f"the operation takes {', '.join(kinds)}"
    raise failed(ErrorKind.CONFIGURATION, "The operation's body is not supported", detail)
