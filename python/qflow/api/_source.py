"""A flow on its way from the client to the node.

The engine is imported where a flow is at hand: most calls of the command line have none, and
should not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from qflow.engine import Flow


class FlowSource(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The document as the client read it, and the folder that its `file:` resources are in."""

    document: dict[str, Any]
    base: str | None = None

    @classmethod
    def of(cls, flow: Any) -> FlowSource:
        """From whatever `load_flow` takes. Raises `FlowError` before anything is sent."""
        from qflow.engine import Flow, load_flow

        loaded = flow if isinstance(flow, Flow) else load_flow(flow)
        return cls(document=loaded.document, base=loaded.base)

    def load(self) -> Flow:
        """Validate again: what comes in over a socket is not trusted. Raises `FlowError`."""
        from qflow.engine import Flow, load_flow

        return Flow(load_flow(self.document).document, base=self.base)
