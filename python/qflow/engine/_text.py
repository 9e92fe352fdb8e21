"""Bytes and text to data: which of JSON and YAML it is, and in which encoding."""

from __future__ import annotations

import codecs
from typing import Any, Final

from qflow.engine import _document, _json, _yaml
from qflow.engine._document import DOCUMENT_BYTES_MAX, YAML_BYTES_MAX, Node, UnreadableError

_UTF16_OR_32: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def parse_text(text: str | bytes, *, json_only: bool = False) -> tuple[Any, Node]:
    """The data, and the nodes that know the places. Raises UnreadableError."""
    source = _decoded(text) if isinstance(text, bytes) else text.removeprefix("\ufeff")
    if len(source) > DOCUMENT_BYTES_MAX:
        raise _too_long("", DOCUMENT_BYTES_MAX)
    if json_only or _json.looks_like_json(source):
        root = _json.read(source)
    elif len(source) > YAML_BYTES_MAX:
        raise _too_long("YAML ", YAML_BYTES_MAX)
    else:
        root = _yaml.read(source)
    return _document.expand(root), root


def _too_long(kind: str, limit: int) -> UnreadableError:
    return UnreadableError(f"the {kind}document is longer than {limit} bytes")


def _decoded(data: bytes) -> str:
    """UTF-8, with or without its mark; every other encoding is refused by name."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise _too_long("", DOCUMENT_BYTES_MAX)
    # Every flow begins with ASCII: a NUL among the first bytes is half of a wider character.
    if data.startswith(_UTF16_OR_32) or b"\0" in data[:4]:
        raise UnreadableError("the text is UTF-16 or UTF-32", (1, 1), "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8", "replace")
        line = good.count("\n") + 1
        column = len(good) - (good.rfind("\n") + 1) + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise UnreadableError(message, (line, column), "save it as UTF-8") from None
