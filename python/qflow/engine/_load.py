"""From a file, a text or data to a `Flow` that can run, or to an error that says why not (E1).

In this order, each only when the one before found nothing: the text is a document; the document
fits the specification's schema; everything in it is supported; names, references, durations,
schedules and schemas make sense, and every expression compiles.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qflow.engine import _document, _spec
from qflow.engine._check import check_sense
from qflow.engine._document import DOCUMENT_BYTES_MAX, UnreadableError
from qflow.engine._expressions import check_expressions
from qflow.engine._flow import Flow
from qflow.engine._problems import Findings, Locate, Problem, flow_error, shortened
from qflow.engine._references import IsFunction, check_references
from qflow.engine._resources import inline_schemas
from qflow.engine._shared_check import check_documents, check_mentions
from qflow.engine._support import check_support
from qflow.engine._text import parse_text

Source = str | bytes | os.PathLike[str] | Mapping[str, Any]


def load_flow(
    source: Source, *, base: str | None = None, is_function: IsFunction | None = None
) -> Flow:
    """Read and check a flow. Nothing is stored or started.

    `source` is a path; YAML or JSON as bytes, or as a text of several lines or beginning with
    `{`; or data. `base` is the folder of `file:` resources, for a flow that is not a file itself;
    schemas among them are read now and become part of the document. `is_function` says whether a
    Python function of that name exists; without it any name is taken.

    Raises FlowError with every `Problem` (at most `PROBLEMS_MAX`, all of one kind) in `problems`.
    Bounds are named in `_document`; time and memory are linear in the text.
    """
    name, document, locate, folder = _read(source)
    folder = base if folder is None else folder
    findings = Findings(name, locate)
    _check_shape(document, findings)
    _spec.check_document(document, findings)
    findings.settle()
    check_support(document, findings)
    findings.settle()
    inline_schemas(document, folder, findings)
    findings.settle()
    check_sense(document, findings)
    check_documents(document, findings)
    check_references(document, is_function, findings)
    findings.settle()
    check_expressions(document, findings)
    findings.settle()
    check_mentions(document, findings)
    findings.settle()
    return Flow(document, folder)


def _read(source: Source) -> tuple[str, Any, Locate, str | None]:
    """A name for messages, the data, where its parts stand, and the folder it came from."""
    name, folder, json_only = "flow", None, False
    try:
        if isinstance(source, Mapping):
            return name, _document.plain_copy(source), lambda pointer: None, None
        if isinstance(source, bytes) or (isinstance(source, str) and _is_text(source)):
            text: str | bytes = source
        else:
            path = Path(source)
            name, json_only = shortened(str(path)), path.suffix.lower() == ".json"
            text = _content(path)
            folder = str(path.resolve().parent)
        data, root = parse_text(text, json_only=json_only)
    except UnreadableError as error:
        line, column = error.position or (None, None)
        problem = Problem(
            file=name, line=line, column=column, path="", message=error.message, fix=error.fix
        )
        raise flow_error(name, [problem]) from None
    return name, data, lambda pointer: _document.locate(root, pointer), folder


def _is_text(source: str) -> bool:
    return "\n" in source or source.lstrip().startswith("{")


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device may never end, or never begin.
            raise UnreadableError("the path is no regular file")
        # One byte more than is allowed tells that there is more.
        with path.open("rb") as file:
            return file.read(DOCUMENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UnreadableError(f"the file cannot be read: {reason}") from None


def _check_shape(document: Any, findings: Findings) -> None:
    """A flow is an object; nothing else can be looked at any further."""
    if not isinstance(document, dict):
        findings.add("", "a flow is an object with `document` and `do`")
        findings.settle()
