"""The node's own chain: when it opened and closed its log, and what it keeps about schedules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import anyio

from qflow import _core
from qflow.audit._clocks import CLOCK, ClockWatch
from qflow.audit._index import Index
from qflow.audit._log import Log
from qflow.audit._read import GENESIS, History
from qflow.clock import Clock
from qflow.errors import BusyError, PoisonedError

OPENED: Final = "q.qflow.history.opened.v1"
CLOSED: Final = "q.qflow.history.closed.v1"
FLOW: Final = "qflow/node"
"""What stands for a flow in the records of the node itself (claim H10)."""
LOOK_EVERY_S: Final = 10.0
"""Between two looks at the clock while nothing is recorded."""

Row = tuple[str, str | None, int | None, tuple[Any] | None, Mapping[str, Any]]


def own_chain(public_key: bytes) -> bytes:
    """The id of the chain of the node with this key: 16 bytes."""
    return hashlib.sha256(b"qflow node chain\0" + public_key).digest()[:16]


class Signer(Protocol):
    """Whose records these are."""

    @property
    def node(self) -> str: ...

    @property
    def subnet(self) -> str: ...

    @property
    def epoch(self) -> int: ...


class OwnChain:
    """Makes the next records of the node's own chain. For one writer: the running node."""

    def __init__(
        self,
        log: Log,
        index: Index,
        history: History,
        clock: Clock,
        *,
        public_key: bytes,
        identity: Signer,
    ) -> None:
        self._log, self._clock = log, clock
        self._chain = own_chain(public_key)
        self._identity = identity
        last = history.last(self._chain)
        self._seq = -1 if last is None else last.seq
        self._prev = GENESIS if last is None else last.hash
        self._at = 0 if last is None else int(last.record["at"])
        tail = index.tail
        newest = 0 if tail is None else int(_core.decode_record(log.read(tail))["at"])
        self._watch = ClockWatch(clock, max(self._at, newest))
        self._before = (self._seq, self._prev, self._watch.anchor)

    @property
    def seq(self) -> int:
        """The number of the last record that was made, durable or on its way; -1 for none."""
        return self._seq

    def records(
        self, rows: Sequence[Row], actor: str
    ) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """The next records, with their payload blocks. They must go to the log at once, or be
        taken back.

        When the clock did not go on as time did, a record that says so comes before them. `at`
        never goes back: the order of the chain is that of `seq`, whatever a clock says.
        """
        self._before = (self._seq, self._prev, self._watch.anchor)
        moved = self._watch.look()
        self._at = max(self._at, self._clock.now_ms())
        try:
            if moved is None:
                return self._encode(rows, actor)
            clock, _ = self._encode([(CLOCK, None, None, None, moved.meta)], self._identity.node)
            records, blocks = self._encode(rows, actor)
        except BaseException:
            # What cannot be encoded leaves no gap: the clock's record is not in the log either.
            self.take_back()
            raise
        return [*clock, *records], blocks

    def _encode(
        self, rows: Sequence[Row], actor: str
    ) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        records, blocks, self._prev = _core.encode_records(
            self._chain,
            self._seq + 1,
            self._prev,
            FLOW,
            self._at,
            actor,
            self._identity.node,
            self._identity.subnet,
            self._identity.epoch,
            rows,
        )
        self._seq += len(records)
        return records, blocks

    def take_back(self) -> None:
        """The log did not take what `records` made last: the chain is where it was."""
        self._seq, self._prev, self._watch.anchor = self._before

    async def append(self, rows: Sequence[Row], actor: str) -> None:
        """Add records to the chain. Durable on return. Raises BusyError, or ValueError for what
        no record or append can be; then nothing was added."""
        records, blocks = self.records(rows, actor)
        if not records:
            return
        try:
            await self._log.append(records, blocks)
        except (BusyError, ValueError):
            self.take_back()
            raise

    async def watch_clock(self, every_s: float = LOOK_EVERY_S) -> None:
        """Look at the clock until cancelled, also while nothing else is recorded here."""
        while True:
            # Not `sleep_until`: of a clock that is set back it would wait for the old time.
            await anyio.sleep(every_s)
            try:
                if self._watch.has_moved():
                    await self.append([], self._identity.node)
            except BusyError:
                continue
            except PoisonedError:
                # The node stops, and says why itself.
                return
