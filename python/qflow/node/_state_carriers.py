"""The endpoints of a home: what they have of its states, and what they are owed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Final

from qflow.api._states import OWED, PINNED, Endpoint, Pin, StateStep, Synced
from qflow.storage import Kubo

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.node._stored import Stored
    from qflow.state import Saved
    from qflow.storage import Block, EndpointStatus
    from qflow.trust import Signers


class Carriers:
    """What goes to other places, and comes from there."""

    def __init__(self, stored: Stored, config: Config) -> None:
        self._stored, self._timeout_s = stored, config.storage.timeout_s
        self._outbox = stored.elsewhere.outbox
        self.subnet: Final = config.subnet
        self.urls: Final = [endpoint.url for endpoint in self._outbox.endpoints]
        """Of the settings."""

    @property
    def signers(self) -> Signers:
        """Whose versions and keys are believed."""
        return self._stored.signers

    def envelope(self, saved: Saved) -> Block:
        """The envelope of the key of a version's execution; blocks. Raises ErasedError,
        UnavailableError, VerificationError."""
        number = self._stored.states.version(saved.cid).key
        return self._stored.elsewhere.make(saved.chain, number)

    def owed(self, cids: Sequence[bytes]) -> int:
        """How much endpoints are still to be told about these; blocks."""
        return self._outbox.owed(cids)

    def pins_of(self, cid: bytes) -> list[Pin]:
        """Where a version is pinned, or is to be; blocks."""
        return [
            Pin(endpoint=pin.endpoint, status=OWED if pin.is_owed else PINNED, error=pin.problem)
            for pin in self._outbox.pins_of(cid)
        ]

    def open_kubo(self, url: str) -> Kubo:
        """An endpoint, to be entered."""
        return Kubo(url, timeout_s=self._timeout_s)

    async def sync(self) -> AsyncGenerator[StateStep, None]:
        """Tell every endpoint all that it is owed; the one step has a `Synced`."""
        before = {status.url: status for status in self._outbox.status()}
        after = await self._outbox.catch_up()
        told = tuple(_told(before.get(status.url), status) for status in after)
        yield StateStep(result=Synced(endpoints=told))


def _told(before: EndpointStatus | None, after: EndpointStatus) -> Endpoint:
    owed = after.pins + after.releases
    return Endpoint(
        endpoint=after.url,
        pinned=0 if before is None else max(0, before.pins - after.pins),
        released=0 if before is None else max(0, before.releases - after.releases),
        owed=owed,
        error=(after.problem or after.stuck) if owed else None,
    )
