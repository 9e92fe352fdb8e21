"""Values against the JSON Schemas that a flow gives for inputs, outputs and context."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from qflow import model
from qflow.engine._problems import shortened
from qflow.engine._schema_bounds import check_bounds
from qflow.engine._turn import Fault
from qflow.errors import FlowError

_CACHED_MAX: Final = 512
_REGEX_BYTES_MAX: Final = 1 << 20
_DRAFTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)
# By identity: a flow's sections are the same objects each time, and are not changed.
_by_identity: OrderedDict[int, tuple[Any, Any]] = OrderedDict()


def check_schema(section: Mapping[str, Any] | None, value: Any, what: str) -> None:
    """Check a value against a `schema` object of a flow; None takes everything.

    Raises Fault with a problem of kind validation that names the first field that does not fit.
    """
    if section is None:
        return
    validator = _validator_for(section)
    try:
        if validator.is_valid(value):
            return
        error = next(iter(validator.iter_errors(value)), None)
    except ValueError as refused:
        raise Fault(_problem(what, str(refused))) from None
    if error is not None:
        raise Fault(_problem(what, _in_words(error)))


def compile_schema(document: Any) -> Any:
    """The validator of a JSON Schema. Raises FlowError for one that is wrong or unbounded."""
    if not isinstance(document, bool | dict):
        raise FlowError("a JSON Schema is an object, true or false")
    if isinstance(document, dict):
        draft = document.get("$schema", _DRAFTS[0])
        if not isinstance(draft, str) or draft.rstrip("#") not in _DRAFTS:
            raise FlowError(f"$schema {draft!r:.80} is not supported; {_DRAFTS[0]} is")
        check_bounds(document)
    return _compiled(json.dumps(document))


@lru_cache(maxsize=_CACHED_MAX)
def _compiled(text: str) -> Any:
    import jsonschema_rs

    # A linear-time engine: look-around and back-references are refused, and nothing backtracks.
    options = jsonschema_rs.RegexOptions(
        size_limit=_REGEX_BYTES_MAX, dfa_size_limit=_REGEX_BYTES_MAX
    )
    try:
        return jsonschema_rs.validator_for(json.loads(text), pattern_options=options, offline=True)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        if first.endswith('is not a "regex"'):
            first += " of the linear-time kind: no look-around, no back-references, bounded size"
        raise FlowError(shortened(f"not a valid JSON Schema: {first}")) from None


def _validator_for(section: Mapping[str, Any]) -> Any:
    key = id(section)
    known = _by_identity.get(key)
    if known is not None and known[0] is section:
        return known[1]
    validator = compile_schema(section["document"])
    _by_identity[key] = (section, validator)
    if len(_by_identity) > _CACHED_MAX:
        _by_identity.popitem(last=False)
    return validator


def _problem(what: str, detail: str) -> dict[str, Any]:
    title = f"{what[:1].upper()}{what[1:]} does not fit its schema"
    return model.problem(model.ErrorKind.VALIDATION, title, shortened(detail))


def _in_words(error: Any) -> str:
    where = "".join(f"/{part}" for part in error.instance_path)
    return f"{where or 'the value itself'}: {error.message}"
