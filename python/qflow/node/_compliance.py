"""Reports on the history, of a running node, or of its files while none runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import msgspec

from qflow.audit import History, Index, Log
from qflow.audit._own import OwnChain, own_chain
from qflow.clock import Clock, SystemClock
from qflow.engine import Identity
from qflow.errors import UnavailableError
from qflow.trust import NodeKey, load_or_create_key

if TYPE_CHECKING:
    from qflow.audit.compliance import Report, Rules, Scope, Signed, Stored
    from qflow.config import Config

PROGRESS: Final = "progress"
ENVELOPE: Final = "envelope"
BLOCK: Final = "block"

_Result = TypeVar("_Result")


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far it is, or a part of a signed report. Only what `what` names is given."""

    what: str
    """progress, envelope or block; the envelope comes before its blocks."""
    done: int = 0
    whole: int = 0
    """Records."""
    cid: str = ""
    data: bytes = b""


class Compliance:
    """Judges the history by rules, and keeps the signed reports in it. For its only writer."""

    def __init__(
        self,
        *,
        own: OwnChain,
        history: History,
        log: Log,
        path: Path,
        key: NodeKey,
        subnet: str,
        clock: Clock,
    ) -> None:
        self._own, self._history, self._log = own, history, log
        self._path, self._key, self._subnet, self._clock = path, key, subnet, clock

    async def comply(self, rules: Rules, scope: Scope, *, actor: str) -> AsyncGenerator[Part, None]:
        """Judge the whole history, sign the report and put it on record; then its parts.

        What comes after the progress is durable. Left before, nothing is stored.
        """
        # Imported with the first report: a node that makes none needs nothing of it.
        from qflow.audit.compliance import Subject, making_report, store_report

        await self._log.publish()
        steps = making_report(
            Subject(
                source=self._log,
                path=self._path,
                head=published_head(self._path),
                subnet=self._subnet,
            ),
            self._key,
            rules,
            scope,
            now_ms=self._clock.now_ms(),
        )
        made: tuple[Report, Signed] | None = None
        while made is None:
            done, made = await anyio.to_thread.run_sync(partial(_advance, steps))
            if done is not None:
                yield Part(what=PROGRESS, done=done[0], whole=done[1])
        await store_report(self._own, self._log, *made, actor=actor)
        for part in parts_of(made[1]):
            yield part

    async def reports(self) -> list[Stored]:
        """The reports on record, oldest first. Their signatures are not verified yet."""
        from qflow.audit.compliance import stored_reports

        chain = own_chain(self._key.public)
        return await anyio.to_thread.run_sync(lambda: list(stored_reports(self._history, chain)))

    async def report(self, name: str) -> AsyncGenerator[Part, None]:
        """The parts of a stored report, named by its id or a unique beginning, verified."""
        from qflow.audit.compliance import load_report

        chain, vkey = own_chain(self._key.public), self._key.vkey
        load = partial(load_report, self._history, chain, name, vkey)
        _, signed = await anyio.to_thread.run_sync(load)
        for part in parts_of(signed):
            yield part


def _advance(
    steps: Generator[tuple[int, int], None, _Result],
) -> tuple[tuple[int, int] | None, _Result | None]:
    """The next step, or what it came to."""
    try:
        return next(steps), None
    except StopIteration as end:
        return None, end.value


def parts_of(signed: Signed) -> list[Part]:
    """A signed report in parts that fit a message."""
    blocks = [Part(what=BLOCK, cid=cid, data=data) for cid, data in signed.blocks.items()]
    return [Part(what=ENVELOPE, data=signed.envelope), *blocks]


def published_head(path: Path) -> str:
    """The signed head in a log's folder. Raises UnavailableError when there is none yet."""
    try:
        return (path / "checkpoint").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UnavailableError(f"{path} has no signed head: nothing was recorded yet") from None


@asynccontextmanager
async def open_compliance(config: Config) -> AsyncIterator[Compliance]:
    """The history of a home, under the lock of its log. Raises LockedError when a node runs."""
    clock = SystemClock()
    key = load_or_create_key(config.home, passphrase=config.keys.passphrase_file)
    path = config.home / "log"
    async with Log(
        str(path),
        key,
        queue_bytes_max=config.log.queue_bytes_max,
        segment_bytes=config.log.segment_bytes,
    ) as log:
        with closing(Index(config.home / "index.db")) as index:
            await anyio.to_thread.run_sync(index.catch_up, log)
            history = History(index, log)
            identity = Identity(node=key.did, subnet=config.subnet)
            own = OwnChain(log, index, history, clock, public_key=key.public, identity=identity)
            yield Compliance(
                own=own,
                history=history,
                log=log,
                path=path,
                key=key,
                subnet=config.subnet,
                clock=clock,
            )
