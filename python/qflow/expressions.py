"""Runtime expressions in the places where a flow may have them.

Two forms exist (Open Workflow Specification 1.0.3, "Runtime expressions"): fields that always hold
an expression (`if`, `when`, `in`, `from`, `as`, ...), which may be bare or in `${ }`; and values,
where only a string that is wholly `${ ... }` is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from qflow._core import Expression
from qflow.errors import ExpressionError

_WRAPPED = re.compile(r"^\s*\$\{(.+)\}\s*$", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CACHE_ENTRIES_MAX = 8192


def is_expression(text: object) -> bool:
    """Whether a value is a string that is wholly `${ ... }`."""
    return isinstance(text, str) and _WRAPPED.match(text) is not None


def source_of(text: str) -> str:
    """The jq source of an expression field, bare or wrapped."""
    match = _WRAPPED.match(text)
    return (match.group(1) if match else text).strip()


@lru_cache(maxsize=_CACHE_ENTRIES_MAX)
def compile_expression(source: str, variables: tuple[str, ...]) -> Expression:
    """Compile jq `source`; `variables` are the names in scope, without `$`."""
    return Expression(source, variables)


def evaluate(text: str, value: Any, variables: Mapping[str, Any]) -> Any:
    """Evaluate an expression field, bare or wrapped. Raises `ExpressionError`."""
    expression = compile_expression(source_of(text), tuple(variables))
    return expression.evaluate(value, {name: variables[name] for name in expression.variables})


def resolve(template: Any, value: Any, variables: Mapping[str, Any]) -> Any:
    """Evaluate each string that is wholly an expression in `template`; copy the rest."""
    if isinstance(template, str):
        return evaluate(template, value, variables) if is_expression(template) else template
    if isinstance(template, Mapping):
        return {key: resolve(item, value, variables) for key, item in template.items()}
    if isinstance(template, list | tuple):
        return [resolve(item, value, variables) for item in template]
    return template


def transform(template: Any, value: Any, variables: Mapping[str, Any]) -> Any:
    """Apply a `from` or `as`: a string is an expression, an object holds wrapped ones."""
    if isinstance(template, str):
        return evaluate(template, value, variables)
    return resolve(template, value, variables)


def is_truthy(text: str, value: Any, variables: Mapping[str, Any]) -> bool:
    """Evaluate a condition. true is yes; false and null are no; anything else is refused."""
    answer = evaluate(text, value, variables)
    if answer is not None and not isinstance(answer, bool):
        raise ExpressionError(f"{text!r} must give true or false, it gave {answer!r:.40}")
    return bool(answer)


def expand_uri(template: str, value: Any) -> str:
    """Fill `{name}` of a URI template (RFC 6570 level 1) from the members of an object."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if not isinstance(value, Mapping) or name not in value:
            raise ExpressionError(f"{template!r} names {{{name}}}, which the input does not have")
        member = value[name]
        if member is None or isinstance(member, list | dict):
            raise ExpressionError(f"{{{name}}} in {template!r} must be a text, number or boolean")
        text = str(member).lower() if isinstance(member, bool) else str(member)
        return quote(text, safe="")

    return _PLACEHOLDER.sub(fill, template)
