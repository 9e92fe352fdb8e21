"""The documents of a node, for whoever uses them: open while they are used, and a while longer.

Fills the ports of the engine, which reads before a step begins, and of the runner, which writes.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from qflow import errors, model
from qflow.errors import BusyError, DocumentNotFoundError, QflowError, StepError
from qflow.node._document_values import json_of, value_of
from qflow.steps._write import VERBS

if TYPE_CHECKING:
    from qflow.state import Document, Documents
    from qflow.steps._write import Change

_ABSENT: Final = object()


class SharedDocuments:
    """The documents of this node by name. The ones used longest ago make room for others."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self._uses: OrderedDict[str, int] = OrderedDict()
        """How many use each open one now; the one used longest ago is first."""
        self._open: dict[str, Document] = {}

    @asynccontextmanager
    async def opened(self, name: str, *, create: bool = False) -> AsyncGenerator[Document, None]:
        """A document, which stays open within. Raises as `Documents.open`."""
        self._uses[name] = self._uses.get(name, 0) + 1
        self._uses.move_to_end(name)
        try:
            found = self._open[name] = await self._opened(name, create)
            yield found
        finally:
            self._uses[name] -= 1
            if name not in self._open and not self._uses[name]:
                del self._uses[name]

    async def _opened(self, name: str, create: bool) -> Document:
        while True:
            try:
                return await self.documents.open(name, create=create)
            except BusyError:
                idle = next((other for other, uses in self._uses.items() if not uses), None)
                if idle is None:
                    raise
                del self._uses[idle]
                await self._open.pop(idle).close()

    # -- for the engine --------------------------------------------------------------------

    async def read(self, document: str, parts: Sequence[Sequence[str]]) -> Mapping[str, Any]:
        """See `engine.Documents`."""
        try:
            async with self.opened(document) as found:
                value: Any = {}
                for keys in parts:
                    value = _with(value, keys, _part(found, tuple(keys)))
                return {"document": document, "clock": text_of(found.clock), "value": value}
        except DocumentNotFoundError:
            return {"document": document, "clock": None, "value": {}}
        except (QflowError, ValueError) as error:
            raise _refused("The document cannot be read", document, error) from error

    # -- for the runner --------------------------------------------------------------------

    async def write(self, document: str, changes: Sequence[Change], *, operation: str) -> None:
        """See `steps.Writer`."""
        try:
            await self.change(document, changes, operation=operation)
        except (QflowError, ValueError) as error:
            raise _refused("The document cannot be written", document, error) from error

    async def change(
        self, document: str, changes: Sequence[Change], *, operation: str | None = None
    ) -> bytes:
        """Make all changes in one transaction, in their order; the clock then. Durable on return.

        An operation that was done before is not done again. Raises as `Document` does."""
        from qflow.state._document import made_anew  # with the home, as in `shared_documents`

        made = [(verb, path, value_of(value)) for verb, path, value in changes]
        async with self.opened(document, create=True) as found:

            async def write() -> None:
                # What was done may not be possible any more, and need not be.
                if operation is None or not found.knows(operation):
                    await _apply(found, made, operation)

            await made_anew(write)
            return found.clock


async def _apply(document: Document, changes: Sequence[Change], operation: str | None) -> None:
    async with document.transaction(op=operation) as draft:
        for verb, path, value in changes:
            if verb not in VERBS:
                raise ValueError(f"{verb!r:.40} is none of {', '.join(VERBS)}")
            try:
                if verb == "delete":
                    draft.delete(path)
                elif verb == "append":
                    draft.append(path, *_elements(value))
                elif verb == "increment":
                    draft.increment(path, _amount(value))
                else:
                    getattr(draft, verb)(path, value)
            except TypeError as error:
                raise ValueError(f"{verb} of {path or 'the root'}: {error}") from error


def _elements(value: Any) -> Sequence[Any]:
    """A text is one element, not one for each letter."""
    if not isinstance(value, list):
        raise TypeError(f"what is appended is a list, not {type(value).__name__}")
    return value


def _amount(value: Any) -> int:
    """Only a whole number: none at all is no 1, and 2.0 may be the rest of a sum."""
    if type(value) is not int:
        raise TypeError(f"an increment is a whole number, not {type(value).__name__}")
    return value


def clock_of(text: str) -> bytes:
    """The clock of a document in a record or an answer. Raises ValueError."""
    return base64.b64decode(text, validate=True)


def text_of(clock: bytes) -> str:
    """A clock as records have it, and as `qflow doc get --at` takes it."""
    return base64.b64encode(clock).decode()


def _part(document: Document, keys: tuple[str, ...]) -> Any:
    try:
        return json_of(document.get(keys, _ABSENT)) if keys else json_of(document.get("", {}))
    except ValueError:
        return _ABSENT  # no document can have such a member


def _with(value: Any, keys: Sequence[str], part: Any) -> Any:
    """The value, and in it a part of the document at its place."""
    if part is _ABSENT:
        return value
    if not keys:
        return part
    at = value
    for key in keys[:-1]:
        at = at.setdefault(key, {})
    at[keys[-1]] = part
    return value


_KINDS: Final[tuple[tuple[type[Exception], tuple[str, int]], ...]] = (
    (ValueError, model.ErrorKind.VALIDATION),
    (errors.ErasedError, model.ErrorKind.CONFIGURATION),
)


def _refused(title: str, document: str, error: Exception) -> StepError:
    """What a flow can catch."""
    kind = next((kind for known, kind in _KINDS if isinstance(error, known)), None)
    detail = f"{document}: {error}"[:1000]
    return StepError(model.problem(kind or model.ErrorKind.RUNTIME, title, detail))
