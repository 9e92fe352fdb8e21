"""The envelope: CloudEvents 1.0.2, in the JSON format."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from qflow.errors import EventError

SPEC_VERSION: Final = "1.0"
EVENT_BYTES_MAX: Final = 64 * 1024
"""The size that every intermediary must forward; a larger event is refused."""
_EXTENSION_CHARS_MAX: Final = 20
_EXTENSION: Final = re.compile(rf"[a-z0-9]{{1,{_EXTENSION_CHARS_MAX}}}")
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
)
_URI_REFERENCE: Final = re.compile(r"[^\s<>\"{}|\\^`\x00-\x1f\x7f]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x1f\x7f]+")
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[ -~]*)?", re.ASCII)
# C0 and C1 controls, surrogates and noncharacters: not allowed in a CloudEvents String.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INT_BOUND: Final = 1 << 31

Extension = str | int | bool


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is valid by construction. Raises EventError when it would not be.

    `data` of None is no data. Equal `source` and `id` mean the same event.
    """

    id: str
    source: str
    """A URI reference: who says so."""
    type: str
    time: str | None = None
    """RFC 3339."""
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    data: Any = None
    data_base64: str | None = None
    """Instead of `data`, for bytes."""
    extensions: Mapping[str, Extension] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("id", "source", "type"):
            _check_text(name, getattr(self, name))
        for name in ("time", "subject", "datacontenttype", "dataschema"):
            if (value := getattr(self, name)) is not None:
                _check_text(name, value)
        _check_form("source", self.source, _URI_REFERENCE)
        _check_form("datacontenttype", self.datacontenttype, _MEDIA_TYPE)
        _check_form("dataschema", self.dataschema, _URI)
        _check_time(self.time)
        _check_extensions(self.extensions)
        _check_data(self.data, self.data_base64)
        size = len(self.to_json())
        if size > EVENT_BYTES_MAX:
            raise EventError(f"the event has {size} bytes; {EVENT_BYTES_MAX} are allowed")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The event that a JSON object holds. Strict: what the format does not say is refused.

        Raises EventError, saying which attribute is at fault.
        """
        if not isinstance(mapping, Mapping):
            raise EventError("an event is an object")
        if mapping.get("specversion") != SPEC_VERSION:
            raise EventError(f"specversion must be {SPEC_VERSION!r}")
        if missing := [name for name in ("id", "source", "type") if name not in mapping]:
            raise EventError(f"{missing[0]} is missing")
        known = {name: value for name, value in mapping.items() if name in _ATTRIBUTES}
        extensions = {
            name: value
            for name, value in mapping.items()
            # null is the JSON format's way to leave an attribute out.
            if name not in _ATTRIBUTES and name != "specversion" and value is not None
        }
        return cls(**known, extensions=extensions)

    def to_mapping(self) -> dict[str, Any]:
        """The JSON object of the event; what is not set is not in it."""
        made: dict[str, Any] = {"specversion": SPEC_VERSION}
        made |= {name: value for name in _ATTRIBUTES if (value := getattr(self, name)) is not None}
        return made | dict(self.extensions)

    def to_json(self) -> bytes:
        """The event in `application/cloudevents+json`. Raises EventError when it is not JSON."""
        try:
            text = json.dumps(
                self.to_mapping(), ensure_ascii=False, separators=(",", ":"), allow_nan=False
            )
            return text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise EventError(f"the data is not JSON: {error}") from None


_ATTRIBUTES: Final = tuple(name for name in CloudEvent.__struct_fields__ if name != "extensions")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise EventError(f"{name} must be a text that is not empty")
    if found := _FORBIDDEN.search(value):
        raise EventError(f"{name} holds the character U+{ord(found[0]):04X}, which is not allowed")


def _check_form(name: str, value: str | None, form: re.Pattern[str]) -> None:
    if value is not None and not form.fullmatch(value):
        raise EventError(f"{name} is malformed: {value[:80]!r}")


def _check_time(value: str | None) -> None:
    if value is not None and not (_TIME.fullmatch(value) and _is_date(value[:19].upper())):
        raise EventError(f"time is not RFC 3339: {value[:80]!r}")


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_extensions(extensions: Mapping[Any, Any]) -> None:
    for name, value in extensions.items():
        if not isinstance(name, str) or not _EXTENSION.fullmatch(name) or name in _RESERVED:
            raise EventError(
                f"{name!r:.40} cannot be an attribute: 1 to {_EXTENSION_CHARS_MAX} of a-z and 0-9"
            )
        if isinstance(value, str):
            if found := _FORBIDDEN.search(value):
                raise EventError(f"{name} holds the character U+{ord(found[0]):04X}")
        elif not isinstance(value, int) or not -_INT_BOUND <= value < _INT_BOUND:
            raise EventError(f"{name} must be a text, a boolean or a 32-bit integer")


_RESERVED: Final = frozenset({*_ATTRIBUTES, "specversion"})


def _check_data(data: Any, data_base64: Any) -> None:
    if data_base64 is None:
        return
    if data is not None:
        raise EventError("data and data_base64 exclude each other")
    try:
        base64.b64decode(data_base64.encode("ascii"), validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error):
        raise EventError("data_base64 is not base64") from None
