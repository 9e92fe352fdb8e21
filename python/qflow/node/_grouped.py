"""Errors as they were raised, out of the groups that the node's task groups make of them."""

from __future__ import annotations

from collections.abc import Iterator


def alone(group: BaseException, inside: BaseException | None) -> BaseException:
    """What was wrapped: a single error, or `inside`, that of the `async with` block.

    Who writes `except ExecutionFailedError` around a node need not know of its tasks.
    """
    errors = list(_errors(group))
    if inside is not None and errors == list(_errors(inside)):
        return inside
    return errors[0] if len(errors) == 1 else group


def _errors(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for item in error.exceptions:
            yield from _errors(item)
    else:
        yield error
