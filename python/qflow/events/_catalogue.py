"""The events that Qflow itself makes, each with the JSON Schema of its data."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from qflow.errors import EventError
from qflow.events._envelope import CloudEvent

OWN: Final = "q.qflow."
_SUFFIX: Final = ".json"


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The JSON Schema (2020-12) of the data of each type, by type, sorted. Not to be changed."""
    from importlib.resources import files

    folder = files("qflow.events").joinpath("schemas")
    return {
        entry.name.removesuffix(_SUFFIX): json.loads(entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(_SUFFIX)
    }


def validate(event: CloudEvent) -> None:
    """Check the data of one of Qflow's own events. Events of others are left as they are.

    Raises EventError for a type `q.qflow.` that is not in the catalogue, or data unlike its schema.
    """
    if not event.type.startswith(OWN):
        return
    if event.type not in catalogue():
        raise EventError(f"{event.type} is not in the catalogue")
    problem = next(_validator(event.type).iter_errors(event.data), None)
    if problem is not None:
        where = "/".join(map(str, problem.instance_path)) or "data"
        raise EventError(f"{event.type}: {where}: {problem.message[:200]}")


@cache
def _validator(name: str) -> Any:
    # Imported with the first check: most programs that import Qflow make none.
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(catalogue()[name], validate_formats=True)
