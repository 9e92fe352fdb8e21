"""What the expressions of one attempt see: its input, its variables and its secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from anyio import to_thread

from qflow import expressions
from qflow.errors import ConfigError, StepError
from qflow.model import Attempt, ErrorKind, problem
from qflow.trust import Secrets

_FILE: Final = re.compile(r"file:(?://)?(?P<path>.*)", re.DOTALL | re.IGNORECASE)


class Scope(Mapping[str, Any]):
    """The variables of an attempt and `secrets`. Names without `$`.

    `sensitive` collects what must not be shown although it is no secret by name: credentials
    that the flow computed, and the headers made of them.
    """

    __slots__ = ("_secrets", "attempt", "sensitive")

    def __init__(self, attempt: Attempt, secrets: Mapping[str, Any]) -> None:
        self.attempt, self._secrets = attempt, secrets
        self.sensitive: list[str] = []

    def __iter__(self) -> Iterator[str]:
        yield from self.attempt.variables
        if "secrets" not in self.attempt.variables:
            yield "secrets"

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Any:
        return self._secrets if name == "secrets" else self.attempt.variables[name]

    def resolve(self, template: Any) -> Any:
        """Evaluate the expressions in a value of the task against the attempt's input."""
        return expressions.resolve(template, self.attempt.input, self)

    def expand(self, template: str) -> str:
        """An endpoint: an expression's value as it is, a URI template filled from the input.

        What an expression gives is not expanded again: data must not name other data.
        """
        if expressions.is_expression(template):
            uri = self.resolve(template)
        else:
            uri = expressions.expand_uri(template, self.attempt.input)
        if not isinstance(uri, str):
            raise failed(
                ErrorKind.VALIDATION, "The endpoint is not a URI", f"it is {type(uri).__name__}"
            )
        return uri

    def secret(self, name: str) -> Any:
        """A secret that the flow names under `use.secrets`. Raises StepError for another."""
        if name not in self._secrets:
            detail = f"{name!r} is not listed under use.secrets"
            raise failed(ErrorKind.CONFIGURATION, "The flow does not declare this secret", detail)
        return self._secrets[name]


async def open_scope(attempt: Attempt, secrets: Secrets) -> Scope:
    """The scope of an attempt, with the secrets its flow names. StepError when one is missing."""
    names = attempt.use.get("secrets") or ()
    if not names:
        return Scope(attempt, {})
    try:
        values = await to_thread.run_sync(lambda: {name: secrets.get(name) for name in names})
    except ConfigError as error:
        raise failed(ErrorKind.CONFIGURATION, "A secret is missing", str(error)) from None
    return Scope(attempt, values)


def file_of(uri: str, base: str | None) -> Path | None:
    """The path that a `file:` URI names, inside the flow's folder; None for other schemes.

    Relative to the folder (`file://specs/pets.json`), or absolute and below it: a flow that comes
    from elsewhere must not read this machine. Raises StepError for what is outside.
    """
    match = _FILE.fullmatch(uri)
    if match is None:
        return None
    if base is None:
        raise failed(ErrorKind.CONFIGURATION, "A flow without a folder has no files", uri)
    folder = Path(base).resolve()
    path = (folder / unquote(match["path"])).resolve()
    if not path.is_relative_to(folder):
        raise failed(ErrorKind.CONFIGURATION, "The file is outside the flow's folder", uri)
    return path


def endpoint_of(value: Any) -> tuple[str, Mapping[str, Any] | None]:
    """The URI (still a template) and the authentication of an endpoint of the task."""
    if isinstance(value, str):
        return value, None
    if isinstance(value, Mapping) and isinstance(value.get("uri"), str):
        return value["uri"], value.get("authentication")
    raise failed(ErrorKind.CONFIGURATION, "The endpoint is neither a URI nor an object with one")


def failed(
    kind: tuple[str, int], title: str, detail: str | None = None, *, status: int | None = None
) -> StepError:
    """The failure of the attempt, as a standard problem."""
    return StepError(problem(kind, title, detail, status=status))
