"""The bus: publishing never waits; who reads too slowly is told how much was lost."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from fnmatch import translate
from typing import Final

import anyio

from qflow.clock import Clock
from qflow.events._envelope import CloudEvent
from qflow.events._record import time_text

QUEUE_EVENTS_MAX: Final = 1000
"""Events a subscriber may be behind; then it loses the oldest and gets a gap event."""
GAP: Final = "q.qflow.history.gap.v1"


class Bus:
    """Events from the parts of one node to its subscribers, in order, at most once.

    Nothing is stored: what must not be lost is in the log. All calls belong to one event loop.
    """

    def __init__(
        self, *, clock: Clock, source: str, queue_events_max: int = QUEUE_EVENTS_MAX
    ) -> None:
        self._clock, self._source, self._bound = clock, source, queue_events_max
        self._subscribers: list[_Subscriber] = []
        self._gaps = 0

    @property
    def has_subscribers(self) -> bool:
        """Whether anybody reads: an event for nobody need not be made."""
        return bool(self._subscribers)

    def publish(self, event: CloudEvent) -> None:
        """Give an event to every subscriber whose pattern it fits. Never waits, never fails."""
        for subscriber in self._subscribers:
            subscriber.take(event)

    @asynccontextmanager
    async def subscribe(
        self, pattern: str = "*"
    ) -> AsyncGenerator[AsyncIterator[CloudEvent], None]:
        """The events, from now on, whose type fits a pattern: `*` any text, `?` any character.

        An async context manager giving an async iterator for one reader. A gap event,
        `q.qflow.history.gap.v1`, stands where events were lost, whatever the pattern.
        """
        subscriber = _Subscriber(re.compile(translate(pattern)), self._bound)
        self._subscribers.append(subscriber)
        reading = self._read(subscriber)
        try:
            yield reading
        finally:
            self._subscribers.remove(subscriber)
            subscriber.close()
            await reading.aclose()

    async def _read(self, subscriber: _Subscriber) -> AsyncGenerator[CloudEvent, None]:
        while await subscriber.wait():
            if lost := subscriber.lost:
                subscriber.lost = 0
                yield self._gap(lost)
            else:
                yield subscriber.queue.popleft()

    def _gap(self, count: int) -> CloudEvent:
        self._gaps += 1
        now = self._clock.now_ms()
        return CloudEvent(
            id=f"gap/{now}/{self._gaps}",
            source=self._source,
            type=GAP,
            time=time_text(now),
            datacontenttype="application/json",
            data={"count": count},
        )


class _Subscriber:
    def __init__(self, pattern: re.Pattern[str], bound: int) -> None:
        self._pattern, self._bound = pattern, bound
        self.queue: deque[CloudEvent] = deque()
        self.lost = 0
        self._closed = False
        self._ready = anyio.Event()

    def take(self, event: CloudEvent) -> None:
        if not self._pattern.match(event.type):
            return
        if len(self.queue) >= self._bound:
            self.queue.popleft()
            self.lost += 1
        self.queue.append(event)
        self._ready.set()

    async def wait(self) -> bool:
        """True when there is something to read; False when the subscription was left."""
        while not (self.queue or self.lost or self._closed):
            self._ready = anyio.Event()
            await self._ready.wait()
        return not self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.set()
