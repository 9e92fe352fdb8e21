"""Values of documents as JSON has them, and back (DAG-JSON): for expressions, commands, the socket.

Bytes are `{"/": {"bytes": "<base64, unpadded>"}}`, links `{"/": "<CID>"}`. No member of a document
can be called "/", so nothing else looks like these.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from qflow import _core

SPECIAL: Final = "/"


def json_of(value: Any) -> Any:
    """A value of a document, as a fresh value of JSON."""
    if isinstance(value, Mapping):
        return {key: json_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(item) for item in value]
    if isinstance(value, bytes):
        return {SPECIAL: {"bytes": base64.b64encode(value).decode().rstrip("=")}}
    if isinstance(value, _core.Cid):
        return {SPECIAL: str(value)}
    return value


def value_of(given: Any) -> Any:
    """A value for a document from one of JSON. Raises ValueError for a "/" that says nothing."""
    if isinstance(given, Mapping):
        if SPECIAL in given:
            return _special(given)
        return {key: value_of(item) for key, item in given.items()}
    if isinstance(given, list | tuple):
        return [value_of(item) for item in given]
    return given


def _special(given: Mapping[str, Any]) -> bytes | _core.Cid:
    said = given[SPECIAL]
    if len(given) == 1:
        if isinstance(said, str):
            return _core.Cid(said)
        if isinstance(said, Mapping) and len(said) == 1 and isinstance(said.get("bytes"), str):
            return _bytes_of(said["bytes"])
    raise ValueError('"/" is for bytes and links: {"/": {"bytes": "..."}}, {"/": "baf..."}')


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"{text!r:.40} is not base64") from None
