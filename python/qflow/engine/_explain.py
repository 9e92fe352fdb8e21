"""Errors of jsonschema-rs about a flow, turned into the few that a person can act on.

Of a failed `oneOf` or `anyOf` the branch that was meant is the one whose errors lie deepest in the
value, without a mismatch of type at its root. Fields that are "unevaluated" only because something
inside them is wrong are no findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from qflow.engine._problems import did_you_mean, listed, shortened
from qflow.model import pointer_token

_HINTS: Final = (
    ("timeout/oneOf", "a timeout such as {after: PT30S}, or the name of one in use.timeouts"),
    ("retry/oneOf", "a retry policy, or the name of one in use.retries"),
    ("raise/properties/error/oneOf", "an error with type and status, or one named in use.errors"),
    ("until/oneOf", "a condition, or an object with one, any or all"),
    ("$defs/duration", "a duration such as PT30S, or an object such as {seconds: 30}"),
    ("$defs/endpoint", "a URL such as https://example.com/path, an expression, or {uri: ...}"),
    ("$defs/uriTemplate", "a URL such as https://example.com/path"),
    ("$defs/error/properties/type/oneOf", "a URI such as https://example.com/errors/sold-out"),
    ("properties/source/oneOf", "a URI such as https://example.com/orders"),
    ("properties/dataschema/oneOf", "a URI such as https://example.com/schema"),
    ("$defs/runtimeExpression", "an expression in ${ }"),
    ("referenceableAuthenticationPolicy", "an object with one of use, basic, bearer"),
    ("authenticationPolicy", "an object with one of basic, bearer"),
    ("eventConsumptionStrategy", "an object with one of one, any, all"),
    ("untilStrategy", "an object with one of one, any, all"),
    ("runTask/allOf/1/properties/run/oneOf", "an object with one of script, workflow"),
    ("properties/script/oneOf", "an object with one of code, source"),
    ("$defs/schema/oneOf", "an object with one of document, resource"),
    ("backoff", "an object with one of constant, exponential, linear"),
    ("properties/version", "a semantic version such as 1.0.0"),
    ("properties/dsl", "a semantic version such as 1.0.3"),
    ("properties/name", "a name of letters, digits and '-', at most 63 characters"),
    ("properties/namespace", "a name of letters, digits and '-', at most 63 characters"),
    ("properties/set/oneOf", "an object with at least one field, or an expression in ${ }"),
)
_TYPES: Final = {
    "string": "a text",
    "object": "an object",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}

Finding = tuple[str, str, str | None]


def explain(definitions: dict[str, Any], errors: Iterable[Any]) -> list[Finding]:
    """Path, message and fix of each mistake that the errors are about; never empty for errors."""
    errors = list(errors)
    leaves = [leaf for error in errors for leaf in _leaves(error, definitions)]
    found = [_say(leaf, definitions) for leaf in leaves if _is_telling(leaf, definitions)]
    # An unknown field that is nearly the missing one says it all.
    told = {path.rpartition("/")[0] for path, _, fix in found if fix and "did you mean" in fix}
    found = [item for item in found if item[0] not in told] or found
    if not found and errors:
        found = [(_path(errors[0]), shortened(str(errors[0].message)), None)]
    return found


def _kind(error: Any) -> str:
    return type(error.kind).__name__


def _path(error: Any) -> str:
    return "".join(f"/{pointer_token(str(part))}" for part in error.instance_path)


def _is_telling(error: Any, definitions: dict[str, Any]) -> bool:
    if _kind(error) not in ("UnevaluatedProperties", "AdditionalProperties"):
        return True
    return bool(_unknown(error, definitions))


def _leaves(error: Any, definitions: dict[str, Any]) -> list[Any]:
    """The errors of the branch that was meant; the error itself when none stands out."""
    if _kind(error) not in ("OneOfNotValid", "AnyOf"):
        return [error]
    base = len(error.instance_path)
    branches = []
    for context in error.kind.context:
        leaves = [leaf for inner in context for leaf in _leaves(inner, definitions)]
        leaves = [leaf for leaf in leaves if _is_telling(leaf, definitions)]
        if leaves:
            branches.append((_rank(leaves, base), leaves))
    branches.sort(key=lambda branch: branch[0], reverse=True)
    if not branches or (len(branches) > 1 and branches[0][0] == branches[1][0]):
        return [error]
    fits, depth, _ = branches[0][0]
    return branches[0][1] if fits or depth > 0 else [error]


def _rank(leaves: list[Any], base: int) -> tuple[bool, int, int]:
    fits = not any(_kind(leaf) == "Type" and len(leaf.instance_path) == base for leaf in leaves)
    depth = max(len(leaf.instance_path) for leaf in leaves) - base
    return fits, depth, -len(leaves)


# -- words ---------------------------------------------------------------------------------


def _say(error: Any, definitions: dict[str, Any]) -> Finding:
    kind, path, hint = _kind(error), _path(error), _hint(error)
    if kind in ("UnevaluatedProperties", "AdditionalProperties"):
        return _unknown_field(error, definitions)
    if kind == "Required":
        return path, f"the field {error.kind.property!r} is missing", "add it"
    if kind == "Type":
        return path, *_type_message(error)
    if kind == "Enum":
        options = [str(option) for option in error.kind.options]
        fix = did_you_mean(error.instance, options)
        return path, f"{error.instance!r:.80} is not one of {listed(options)}", fix
    if kind == "MaxProperties" and "$defs/taskList/" in _schema_path(error):
        fix = "begin each task with its own '-'"
        return path, f"an item of the list holds {len(error.instance)} tasks", fix
    if kind in ("MinProperties", "MinItems", "MinLength"):
        return path, "must not be empty", None if hint is None else f"write {hint}"
    if kind == "OneOfMultipleValid":
        return path, "two choices are made where one is allowed", hint and f"write {hint}"
    if kind == "FalseSchema":
        return path, "is not allowed here", "remove it"
    if hint is not None:
        return path, f"must be {hint}, not {_shown(error.instance)}", None
    return path, shortened(str(error.message)), None


def _type_message(error: Any) -> tuple[str, str | None]:
    types = list(error.kind.types)
    wanted = " or ".join(_TYPES.get(name, name) for name in types)
    value = error.instance
    fix = None
    if "string" in types and isinstance(value, bool | int | float):
        fix = "write it in quotes"
    return f"must be {wanted}, not {_shown(value)}", fix


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        noun = "an object" if isinstance(value, dict) else "a list"
        return noun if value else f"an empty {noun.partition(' ')[2]}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value!r:.80}"


def _schema_path(error: Any) -> str:
    return "/".join(str(part) for part in error.schema_path)


def _hint(error: Any) -> str | None:
    """What belongs there, by the innermost definition that the error comes from."""
    where = _schema_path(error)
    places = [(where.rfind(name), text) for name, text in _HINTS if name in where]
    return max(places)[1] if places else None


# -- fields that are not known -------------------------------------------------------------


def _unknown_field(error: Any, definitions: dict[str, Any]) -> Finding:
    unknown = _unknown(error, definitions)
    known = _names(_holder(error, definitions), definitions)
    near = next(((name, fix) for name in unknown if (fix := did_you_mean(name, known))), None)
    name, fix = near or (unknown[0], f"known are {', '.join(sorted(known))}")
    return f"{_path(error)}/{pointer_token(name)}", f"unknown field {name!r:.80}", fix


def _unknown(error: Any, definitions: dict[str, Any]) -> list[str]:
    known = _names(_holder(error, definitions), definitions)
    return [name for name in error.kind.unexpected if name not in known]


def _holder(error: Any, definitions: dict[str, Any]) -> Any:
    """The schema that forbids unknown fields."""
    schema: Any = {"$defs": definitions}
    for part in error.schema_path[:-1]:
        schema = schema[part]
    return schema


def _names(schema: Any, definitions: dict[str, Any]) -> set[str]:
    """The fields that a schema knows, whichever branch of it."""
    found: set[str] = set()
    for part in _in_place(schema, definitions):
        found.update(part.get("properties", ()))
    return found


def _in_place(schema: Any, definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not isinstance(schema, dict):
        return
    yield schema
    if "$ref" in schema:
        yield from _in_place(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for name in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(name, ()):
            yield from _in_place(inner, definitions)
