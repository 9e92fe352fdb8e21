"""Flows by the CID of their documents, from memory or from the log."""

from __future__ import annotations

from typing import Final

from qflow import _core
from qflow.engine._flow import Flow
from qflow.engine._ports import Archive
from qflow.errors import ReplayError

FLOWS_MAX: Final = 1024
"""Flows kept ready; at the bound all go, and come back from the log as they are needed."""


class Definitions:
    """Which flows are known, and whose documents the log holds."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._flows: dict[str, Flow] = {}
        self._stored: set[str] = set()

    def of(self, flow: Flow) -> tuple[str, tuple[bytes, bytes] | None]:
        """The CID of a flow's document, and its block when the log does not hold it yet."""
        data = _core.encode(flow.document)
        cid = _core.cid_of(data)
        text = str(cid)
        self._remember(text, flow)
        if text in self._stored:
            return text, None
        if self._archive.keeps(text):
            self._stored.add(text)
            return text, None
        return text, (bytes(cid), data)

    def note_stored(self, definition: str) -> None:
        """A document is on its way to the log."""
        self._stored.add(definition)

    def forget_stored(self) -> set[str]:
        """From now on, ask the archive again whether the log holds a flow's document. Gives those
        that executions on their way to the log count on."""
        stored, self._stored = self._stored, set()
        return stored

    def flow(self, definition: str) -> Flow:
        """The flow of a definition's CID. Raises ReplayError when the log does not hold it."""
        if (flow := self._flows.get(definition)) is None:
            data = self._archive.block(definition)
            if data is None:
                raise ReplayError(f"the log does not hold the flow {definition}")
            flow = Flow(_core.decode(data))
            self._remember(definition, flow)
        return flow

    def _remember(self, definition: str, flow: Flow) -> None:
        if len(self._flows) >= FLOWS_MAX:
            self._flows.clear()
        self._flows[definition] = flow
