"""OpenAPI documents: read once, kept for a while, found their way around in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from anyio import to_thread

from qflow.clock import Clock
from qflow.model import ErrorKind
from qflow.steps._limits import Limits
from qflow.steps._plain import parse_json
from qflow.steps._scope import Scope, endpoint_of, failed

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_HOPS_MAX: Final = 32
"""References that lead to references; a longer way is taken for a circle."""

Fetch = Callable[[Any, int], Awaitable[bytes]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a document."""

    method: str
    path: str
    item: Mapping[str, Any]
    """The path item that it stands in."""
    body: Mapping[str, Any]


class Document:
    """An OpenAPI 3.x or Swagger 2.0 document."""

    def __init__(self, uri: str, root: Mapping[str, Any]) -> None:
        self.uri, self.root = uri, root
        self.is_v2 = str(root.get("swagger", "")).startswith("2.")
        if not self.is_v2 and not str(root.get("openapi", "")).startswith("3."):
            detail = "it says neither openapi: 3.x nor swagger: 2.0"
            raise failed(ErrorKind.CONFIGURATION, "The document is not OpenAPI", detail)

    def operation(self, wanted: str) -> Operation:
        """The operation of that id. StepError when there is none, or more than one."""
        found = [one for one in self._operations() if one.body.get("operationId") == wanted]
        if len(found) != 1:
            detail = f"{wanted!r} is in it {len(found)} times"
            raise failed(
                ErrorKind.CONFIGURATION, "The document does not name the operation", detail
            )
        return found[0]

    def resolve(self, value: Any) -> Any:
        """What a local `$ref` refers to; anything else as it is."""
        for _ in range(_HOPS_MAX):
            if not isinstance(value, Mapping) or not isinstance(value.get("$ref"), str):
                return value
            value = self._at(value["$ref"])
        raise failed(ErrorKind.CONFIGURATION, "The document refers in a circle")

    def _operations(self) -> Iterator[Operation]:
        for path, entry in _mapping(self.root.get("paths")).items():
            item = _mapping(self.resolve(entry))
            for method in METHODS:
                if isinstance(item.get(method), Mapping):
                    yield Operation(method=method.upper(), path=path, item=item, body=item[method])

    def _at(self, reference: str) -> Any:
        value: Any = self.root
        if not reference.startswith("#/"):
            detail = f"{reference}: only references inside the document are followed"
            raise failed(ErrorKind.CONFIGURATION, "The document refers outside itself", detail)
        for token in reference[2:].split("/"):
            name = unquote(token).replace("~1", "/").replace("~0", "~")
            if not isinstance(value, Mapping) or name not in value:
                raise failed(ErrorKind.CONFIGURATION, "The document refers to nothing", reference)
            value = value[name]
        return value


class Documents:
    """The documents read last, each for a bounded time."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits, self._clock = limits, clock
        self._kept: OrderedDict[tuple[str, str], tuple[int, Document]] = OrderedDict()

    async def get(self, scope: Scope, endpoint: Any, fetch: Fetch) -> Document:
        """The document at an endpoint of the flow. StepError when it cannot be had or read."""
        template, policy = endpoint_of(endpoint)
        uri = scope.expand(template)
        # Relative files differ from flow to flow.
        key = (uri, scope.attempt.base or "")
        # What one flow's credentials opened is not for another.
        kept = self._kept.get(key) if policy is None else None
        now = self._clock.now_ms()
        if kept is not None and 0 <= now - kept[0] < self._limits.document_age_s_max * 1000:
            self._kept.move_to_end(key)
            return kept[1]
        content = await fetch(endpoint, self._limits.document_bytes_max)
        root = await to_thread.run_sync(_parse, content, self._limits.document_yaml_bytes_max)
        document = Document(uri, root)
        if policy is None:
            self._kept[key] = (now, document)
            self._kept.move_to_end(key)
            if len(self._kept) > self._limits.documents_max:
                self._kept.popitem(last=False)
        return document


def _parse(content: bytes, yaml_bytes_max: int) -> Mapping[str, Any]:
    try:
        root = (
            parse_json(content) if content.lstrip()[:1] == b"{" else _yaml(content, yaml_bytes_max)
        )
    except ValueError as error:
        raise failed(
            ErrorKind.CONFIGURATION, "The document cannot be read", str(error)[:200]
        ) from None
    if not isinstance(root, Mapping):
        raise failed(ErrorKind.CONFIGURATION, "The document is not an object")
    return root


def _yaml(content: bytes, bytes_max: int) -> Any:
    # Imported with the first document in YAML: most are JSON.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(content) > bytes_max:
        raise ValueError(f"in YAML it may have {bytes_max} bytes, it has {len(content)}")
    try:
        return YAML(typ="safe", pure=True).load(content.decode())
    except (YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML: {error}") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
