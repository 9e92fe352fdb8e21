"""Schemas that a flow keeps in files beside it: read once, when the flow is loaded.

The flow that is stored holds the schema itself. A replay must not depend on a file that somebody
changed in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qflow.engine import _walk
from qflow.engine._document import DOCUMENT_BYTES_MAX, UnreadableError
from qflow.engine._problems import Findings
from qflow.engine._support import uri_of
from qflow.engine._text import parse_text
from qflow.engine._walk import part
from qflow.errors import FlowError


def inline_schemas(document: dict[str, Any], base: str | None, findings: Findings) -> None:
    """Put the content of each schema's `file:` resource in its place, in the document itself."""
    for path, schema in _schemas(document):
        if "resource" not in schema:
            continue
        try:
            content = _read(uri_of(schema["resource"]["endpoint"]), base)
        except FlowError as error:
            findings.add(f"{path}/resource/endpoint", str(error))
            continue
        del schema["resource"]
        schema["document"] = content


def _schemas(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    owners = [("", document)]
    for place in _walk.tasks(document):
        owners.append((place.pointer, place.task))
        owners.append((f"{place.pointer}/foreach", place.task.get("foreach") or {}))
    for path, owner in owners:
        for section in ("input", "output", "export"):
            if isinstance(schema := part(owner, section, "schema"), dict):
                yield f"{path}/{section}/schema", schema


def _read(uri: str, base: str | None) -> Any:
    path = _path_of(uri, base)
    try:
        if path.stat().st_size > DOCUMENT_BYTES_MAX:
            raise FlowError(f"{path.name} is longer than {DOCUMENT_BYTES_MAX} bytes")
        value, _ = parse_text(path.read_bytes(), json_only=path.suffix == ".json")
    except UnreadableError as error:
        line, column = error.position or (1, 1)
        raise FlowError(f"{path.name}:{line}:{column}: {error.message}") from None
    except OSError as error:
        raise FlowError(f"{path.name} cannot be read: {error.strerror}") from None
    if not isinstance(value, bool | Mapping):
        raise FlowError(f"{path.name} holds no JSON Schema")
    return value


def _path_of(uri: str, base: str | None) -> Path:
    """The file of a URI, which must be in the flow's folder: a flow may come from elsewhere."""
    if base is None:
        raise FlowError("a flow that is no file has no files beside it")
    folder = Path(base).resolve()
    relative = uri.removeprefix("file:").removeprefix("//")
    path = (folder / unquote(relative)).resolve()
    if "\0" in relative or "%00" in relative or not path.is_relative_to(folder):
        raise FlowError("the file is outside the flow's folder")
    return path
