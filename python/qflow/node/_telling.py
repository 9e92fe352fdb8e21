"""What happens to stored states, as events on the node's bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio.lowlevel import EventLoopToken, current_token

from qflow.clock import Clock
from qflow.events import Bus, CloudEvent
from qflow.events._record import time_text


class Telling:
    """Makes events of it. To be made in the event loop that the bus belongs to."""

    def __init__(self, bus: Bus, clock: Clock, source: str) -> None:
        self._bus, self._clock, self._source = bus, clock, source
        self._soon = _soon(current_token())
        self._count = 0

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Something of the catalogue happened. From any thread."""
        if self._bus.has_subscribers:
            self._soon(lambda: self._publish(name, data))

    def _publish(self, name: str, data: dict[str, Any]) -> None:
        self._count += 1
        now = self._clock.now_ms()
        event = CloudEvent(
            id=f"state/{now}/{self._count}",
            source=self._source,
            type=name,
            subject=data.get("execution"),
            time=time_text(now),
            datacontenttype="application/json",
            data=data,
        )
        self._bus.publish(event)


def _soon(token: EventLoopToken) -> Callable[[Callable[[], object]], None]:
    """Has a function called by the event loop, from any thread."""
    loop: Any = token.native_token
    wake = getattr(loop, "run_sync_soon", None) or loop.call_soon_threadsafe

    def soon(call: Callable[[], object]) -> None:
        try:
            wake(call)
        except RuntimeError:  # the loop has ended: nobody listens
            return

    return soon
