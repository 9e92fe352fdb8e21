"""What a flow says of the documents that its executions share, and where it mentions them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from qflow import expressions
from qflow.engine import _walk
from qflow.engine._flow import documents_of
from qflow.engine._problems import Findings, did_you_mean, listed
from qflow.engine._scope import DOCUMENTS
from qflow.engine._shared import CALL, NAME_CHARS_MAX, mentions
from qflow.engine._walk import Place, part
from qflow.model import pointer_token

DOCUMENTS_MAX: Final = 32
"""Documents of one flow."""
VERBS: Final = ("delete", "set", "merge", "increment", "append")
"""What a call may do, in the order in which it does it."""
_LOCAL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_HERE: Final = "/document/metadata/qflow"


def check_documents(document: dict[str, Any], findings: Findings) -> None:
    """Add what is wrong with `document.metadata.qflow` and with calls that write documents."""
    options = part(document, "document", "metadata", "qflow")
    if "qflow" in (part(document, "document", "metadata") or {}):
        _options(options, findings)
    if options is not None and not isinstance(options, Mapping):
        return
    if not isinstance(part(options, DOCUMENTS) or {}, Mapping):
        return
    known = documents_of(document)
    own = part(document, "use", "functions") or {}
    for place in _walk.tasks(document):
        if findings.full:
            return
        if known and DOCUMENTS in place.scope:
            fix = "give the variable another name"
            findings.add(place.pointer, "$documents is taken by the flow's documents", fix)
        if place.kind == "call" and place.task["call"] == CALL and CALL not in own:
            _call(place, known, findings)


def _options(options: Any, findings: Findings) -> None:
    if not isinstance(options, Mapping):
        findings.add(_HERE, "must be an object")
        return
    for name in options:
        if name != DOCUMENTS:
            fix = did_you_mean(name, (DOCUMENTS,)) or "the other options belong to tasks"
            where = f"{_HERE}/{pointer_token(name)}"
            findings.add(where, f"unknown option {name!r:.80} of metadata.qflow of a flow", fix)
    named, path = options.get(DOCUMENTS, {}), f"{_HERE}/{DOCUMENTS}"
    if not isinstance(named, Mapping):
        findings.add(path, "must be an object: names of documents by the names they have here")
        return
    if len(named) > DOCUMENTS_MAX:
        findings.add(path, f"{len(named)} documents; {DOCUMENTS_MAX} are allowed")
    for local, name in named.items():
        where = f"{path}/{pointer_token(local)}"
        if not _LOCAL.fullmatch(local):
            findings.add(where, f"{local!r:.80} is no name for a document", "letters, digits, _")
        if not isinstance(name, str) or not name:
            findings.add(where, "must be a text: the name of a document, or an expression")
        elif not expressions.is_expression(name) and len(name) > NAME_CHARS_MAX:
            findings.add(where, f"a name has at most {NAME_CHARS_MAX} characters")


def _call(place: Place, known: Mapping[str, str], findings: Findings) -> None:
    path, given = f"{place.pointer}/with", place.task.get("with") or {}
    local = given.get("document")
    if not isinstance(local, str) or local not in known:
        fix = did_you_mean(str(local), known) or (
            f"known are {', '.join(known)}" if known else "name it in document.metadata.qflow"
        )
        findings.add(f"{path}/document", "must be a name of metadata.qflow.documents", fix)
    for name, value in given.items():
        where = f"{path}/{pointer_token(name)}"
        if name == "document" or expressions.is_expression(value):
            continue
        if name not in VERBS:
            fix = did_you_mean(name, VERBS) or f"known are {listed(list(VERBS))}"
            findings.add(where, f"unknown field {name!r:.80}", fix)
        elif name == "delete" and not isinstance(value, list):
            findings.add(where, "must be a list of paths")
        elif name != "delete" and not isinstance(value, Mapping):
            findings.add(where, "must be an object: values by path")
    if not any(verb in given for verb in VERBS):
        findings.add(path, "the call changes nothing", f"add one of {listed(list(VERBS))}")


def check_mentions(document: dict[str, Any], findings: Findings) -> None:
    """Add each document that an expression names and that the flow does not."""
    known = documents_of(document)
    if not known:
        return
    for place in _walk.tasks(document):
        if findings.full:
            return
        for where, local, _ in mentions(place, document, known):
            if local not in known:
                fix = did_you_mean(local, known) or f"known are {', '.join(known)}"
                findings.add(where, f"there is no document {local!r:.80}", fix)
