"""What is shown of executions that stay shut: why they do not go on."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from qflow import model


def with_shut(view: model.Execution, shut: Mapping[str, Exception]) -> model.Execution:
    """The execution, with the reason when the node does nothing with it."""
    error = shut.get(view.id)
    return view if error is None else replace(view, shut=str(error) or type(error).__name__)
