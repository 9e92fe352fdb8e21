"""What a JSON Schema of a flow may be, so that asking it is bounded whatever value it is given.

A validator goes through `$ref` and `allOf` without remembering: thirty definitions that each name
the next one twice cost 2^30 steps. So the visits that one place of a value can get are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from qflow.errors import FlowError

VISITS_MAX: Final = 256
"""How often a schema may visit one place of a value."""
EDGES_MAX: Final = 20_000
"""Members and items of all schemas, each counted for every schema that sees the same value."""
_LEVELS: Final = 64
_REFUSED: Final = ("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor")
_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE: Final = ("not", "if", "then", "else")
_MAPS: Final = ("dependentSchemas", "dependencies")
_ITEMS: Final = ("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains")
_OTHERS: Final = ("additionalProperties", "unevaluatedProperties", "propertyNames")


def check_bounds(schema: Any) -> None:
    """Raise FlowError for a schema whose cost is not bounded, or that refers out of itself."""
    _Costs(schema).check()


class _Costs:
    """Visits of one place, by schema; schemas are told apart by identity."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._here: dict[int, list[Any]] = {}
        self._schemas: dict[int, Any] = {}

    def check(self) -> None:
        pending = [self._root]
        while pending:
            schema = pending.pop()
            if isinstance(schema, dict) and id(schema) not in self._schemas:
                self._schemas[id(schema)] = schema
                self._refuse(schema)
                pending.extend(self._in_place(schema))
                pending.extend(inner for _, inner in _below(schema))
        for schema in self._schemas.values():
            self._spread(schema, ())
        self._bound()

    def _refuse(self, schema: dict[str, Any]) -> None:
        for name in _REFUSED:
            if name in schema:
                raise FlowError(f"{name} is not supported in a schema")
        if "$id" in schema and schema is not self._root:
            raise FlowError("$id inside a schema is not supported")

    def _in_place(self, schema: dict[str, Any]) -> list[Any]:
        """The schemas that see the same value."""
        found = [schema[name] for name in _IN_PLACE if name in schema]
        for name in _IN_PLACE_LISTS:
            found.extend(schema[name] if isinstance(schema.get(name), list) else ())
        for name in _MAPS:
            found.extend(schema[name].values() if isinstance(schema.get(name), dict) else ())
        if "$ref" in schema:
            found.append(self._target(schema["$ref"]))
        return [item for item in found if isinstance(item, dict)]

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference[:2] == "#/"):
            raise FlowError(
                f"$ref {reference!r:.80} is not supported: only #/... in the same schema is"
            )
        target = self._root
        for name in reference.split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                raise FlowError(f"$ref {reference!r:.80} names nothing in the schema")
        return target

    def _spread(self, schema: dict[str, Any], path: tuple[int, ...]) -> list[Any]:
        """All schemas that see the same value as this one, itself first, as often as they do."""
        known = self._here.get(id(schema))
        if known is not None:
            return known
        if len(path) > VISITS_MAX:
            raise self._too_costly()
        if id(schema) in path:
            raise FlowError("a schema refers to itself without going into the value")
        found = [schema]
        for inner in self._in_place(schema):
            found.extend(self._spread(inner, (*path, id(schema))))
            # Unevaluated fields are found by asking the branches again.
            if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:
                found.extend(self._spread(inner, (*path, id(schema))))
            if len(found) > VISITS_MAX:
                raise self._too_costly()
        self._here[id(schema)] = found
        return found

    def _bound(self) -> None:
        below = self._edges()
        visits = {key: len(found) for key, found in self._here.items()}
        for _ in range(_LEVELS):
            deeper = {key: max(visits[key], _most(below[key], visits)) for key in visits}
            if max(deeper.values(), default=0) > VISITS_MAX:
                raise self._too_costly()
            if deeper == visits:
                return
            visits = deeper

    def _edges(self) -> dict[int, list[tuple[str, int]]]:
        """The schemas of members and items, by the schema of the value they are in."""
        made: dict[int, list[tuple[str, int]]] = {}
        left = EDGES_MAX
        for key, found in self._here.items():
            made[key] = [(name, id(inner)) for schema in found for name, inner in _below(schema)]
            left -= len(made[key]) + 1
            if left < 0:
                raise FlowError(f"a schema has more than {EDGES_MAX} parts")
        return made

    def _too_costly(self) -> FlowError:
        return FlowError(
            f"a schema visits one place of a value more than {VISITS_MAX} times: "
            "its references multiply"
        )


def _most(edges: list[tuple[str, int]], visits: dict[int, int]) -> int:
    """The most visits that one member or item gets."""
    named: dict[str, int] = {}
    any_member = items = 0
    for name, inner in edges:
        if name == "items":
            items += visits[inner]
        elif name == "":
            any_member += visits[inner]
        else:
            named[name] = named.get(name, 0) + visits[inner]
    return max(items, any_member + max(named.values(), default=0))


def _below(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas of members and items: `items`, the member's name, or "" for any member."""
    found: list[tuple[str, Any]] = []
    for name in _ITEMS:
        inner = schema.get(name)
        found += [("items", item) for item in (inner if isinstance(inner, list) else [inner])]
    found += [("", schema.get(name)) for name in _OTHERS]
    for section, is_any in (("patternProperties", True), ("properties", False)):
        members = schema.get(section)
        for name, inner in members.items() if isinstance(members, dict) else ():
            found.append(("" if is_any else f"/{name}", inner))
    yield from ((name, inner) for name, inner in found if isinstance(inner, dict))
