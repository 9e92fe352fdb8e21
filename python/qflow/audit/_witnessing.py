"""Asks the witnesses of a policy to cosign the heads of a log, as it grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import msgspec

from qflow import _core
from qflow.audit._asking import Cosigned, Peer, Trouble, ask
from qflow.audit._witness import Head, public_of
from qflow.clock import Clock, random_bytes
from qflow.diagnostics import logger
from qflow.errors import LogError, QflowError, VerificationError

NOTE_BYTES_MAX: Final = 64 << 10
BACKOFF_S_MAX: Final = 300.0
"""Between two questions to a witness that keeps failing."""

_log = logger("qflow.witnessing")


class Published(Protocol):
    """The log whose heads are to be cosigned."""

    @property
    def path(self) -> Path:
        """Its folder."""
        ...

    @property
    def vkey(self) -> str:
        """Its verifier key."""
        ...

    async def grown(self, beyond: int) -> None:
        """Return as soon as more than `beyond` records are durable."""
        ...

    async def publish(self) -> None:
        """Write the newest head and its tiles."""
        ...

    async def save_witnessed(self, note: str) -> None:
        """Keep a head with its cosignatures, durably."""
        ...


class Standing(msgspec.Struct, frozen=True):
    """How one witness stands."""

    name: str
    url: str
    size: int
    """Of the newest head that it cosigned since the node started."""
    at_ms: int | None
    problem: str | None
    is_fork: bool = False


class WitnessStatus(msgspec.Struct, frozen=True):
    """How the newest head stands about which all witnesses were asked, or enough have answered."""

    quorum: str
    size: int
    met: bool
    cosignatures: int
    unmet_since_ms: int | None
    """Since when heads have had too few cosignatures."""
    witnesses: tuple[Standing, ...]


class _Witness:
    """What is known of one witness while the node runs."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.known = self.size = 0
        self.at_ms: int | None = None
        self.trouble: Trouble | None = None
        self.failures = 0
        self.due_ms = 0

    def standing(self) -> Standing:
        problem, is_fork = (
            (None, False) if self.trouble is None else (self.trouble.what, self.trouble.is_fork)
        )
        return Standing(self.peer.name, self.peer.url, self.size, self.at_ms, problem, is_fork)


class Witnessing:
    """Has the heads of a log cosigned, a round at a time. Neither the log nor a witness waits for
    another witness: each is asked by itself and within `timeout_s`.

    A round sends one head, the newest, to all witnesses of `policy` that have a URL; between two
    rounds are at least `every_s`. A witness with the log's own key is not asked: its word about
    itself counts for nothing. A witness that fails is asked again later and later, up to
    BACKOFF_S_MAX.
    """

    def __init__(
        self,
        log: Published,
        policy: _core.Policy,
        clock: Clock,
        *,
        every_s: float,
        timeout_s: float,
    ) -> None:
        self._log, self._policy, self._clock = log, policy, clock
        self._every_ms, self._timeout_s = round(every_s * 1000), timeout_s
        own = public_of(log.vkey)
        peers = [
            Peer(name, vkey, url)
            for name, vkey, url in policy.witnesses
            if url and public_of(vkey) != own
        ]
        self._witnesses = [_Witness(peer) for peer in peers]
        self._head: Head | None = None
        self._lines: dict[str, bytes] = {}
        """The cosignatures of the head, by the names of the witnesses."""
        self._saving = anyio.Lock()
        self._met: bool | None = None
        self._judged_size = self._count = 0
        self._unmet_since_ms: int | None = None

    async def run(self) -> None:
        """Until cancelled, or until the log takes no more."""
        import httpx2

        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
        # Witnesses are named by the policy: no proxy of the environment, no redirect elsewhere.
        async with httpx2.AsyncClient(trust_env=False, limits=limits, timeout=None) as client:
            try:
                while True:
                    await self._round(client)
                    await self._pause()
            except LogError as error:
                _log.warning("heads are sent to no witness any more", why=str(error))

    def status(self) -> WitnessStatus:
        """How it stands now."""
        return WitnessStatus(
            quorum=self._policy.quorum,
            size=self._judged_size,
            met=bool(self._met),
            cosignatures=self._count,
            unmet_since_ms=self._unmet_since_ms,
            witnesses=tuple(witness.standing() for witness in self._witnesses),
        )

    async def _round(self, client: Any) -> None:
        await self._log.publish()
        await self._take_head()
        async with anyio.create_task_group() as tasks:
            for witness in self._behind():
                if witness.due_ms <= self._clock.now_ms():
                    tasks.start_soon(self._ask, client, witness)
        self._compare(is_over=True)

    async def _take_head(self) -> None:
        """The published head is the one to be cosigned, with the lines that it has already."""
        folder = anyio.Path(self._log.path)
        note = await _read(folder / "checkpoint")
        if note is None or (self._head is not None and self._head.note == note):
            return
        _, size, root = _core.peek_checkpoint(note)
        self._head, self._lines = Head(size, root, note), {}
        witnessed = await _read(folder / "witnessed")
        if witnessed is not None and witnessed.startswith(note):
            for line in witnessed[len(note) :].splitlines(keepends=True):
                for witness in self._witnesses:
                    if _is_line_of(note, line, witness.peer.vkey):
                        self._lines[witness.peer.name] = line
                        witness.size = witness.known = size

    def _behind(self) -> Iterator[_Witness]:
        return (witness for witness in self._witnesses if witness.peer.name not in self._lines)

    async def _ask(self, client: Any, witness: _Witness) -> None:
        import httpx2

        assert self._head is not None
        head = self._head
        answer: Cosigned | Trouble = Trouble(f"no answer within {self._timeout_s:g} s")
        try:
            with anyio.move_on_after(self._timeout_s):
                proof = partial(self._proof, head.size)
                answer = await ask(client, witness.peer, head, witness.known, proof)
        except (httpx2.HTTPError, httpx2.InvalidURL, QflowError, OSError, ValueError) as error:
            answer = Trouble(str(error) or type(error).__name__)
        if isinstance(answer, Cosigned):
            await self._keep(witness, head, answer)
        else:
            self._put_off(witness, answer)

    async def _proof(self, size: int, old: int) -> Sequence[bytes]:
        if old in (0, size):
            return []
        return await anyio.to_thread.run_sync(
            _core.consistency_proof, str(self._log.path), old, size
        )

    async def _keep(self, witness: _Witness, head: Head, answer: Cosigned) -> None:
        witness.known = head.size
        # One after the other, so that what is told to be met has been saved.
        async with self._saving:
            lines = {**self._lines, witness.peer.name: answer.line}
            try:
                await self._save(head, lines)
            except (VerificationError, LogError, OSError) as error:
                self._put_off(witness, Trouble(f"its cosignature was not kept: {error}"))
                return
            self._lines = lines
            witness.size = head.size
            witness.at_ms, witness.failures, witness.due_ms = answer.time_s * 1000, 0, 0
            if witness.trouble is not None:
                _log.info("a witness cosigns again", witness=witness.peer.name)
            witness.trouble = None
            self._compare(is_over=False)

    async def _save(self, head: Head, lines: Mapping[str, bytes]) -> None:
        """Keep what there is, unless the head that is kept has its quorum and this one not yet."""
        note = head.note + b"".join(lines.values())
        kept = await _read(anyio.Path(self._log.path) / "witnessed")
        if kept is not None and self._is_met(kept) and not self._is_met(note):
            return
        await self._log.save_witnessed(note.decode())

    def _put_off(self, witness: _Witness, trouble: Trouble) -> None:
        if trouble != witness.trouble:
            say = _log.error if trouble.is_fork else _log.warning
            say("no cosignature", witness=witness.peer.name, why=trouble.what)
        witness.trouble = trouble
        witness.failures += 1
        longest_s = min(BACKOFF_S_MAX, float(2 ** min(witness.failures, 20)))
        # Between half of it and all: witnesses that failed together are not asked together.
        wait_s = longest_s * (0.5 + random_bytes(1)[0] / 510)
        witness.due_ms = self._clock.now_ms() + round(wait_s * 1000)

    def _compare(self, *, is_over: bool) -> None:
        """Say when there begin to be too few cosignatures, and when there are enough again.

        While a round is not over only enough of them are news.
        """
        if self._head is None:
            return
        note = self._head.note + b"".join(self._lines.values())
        met = self._is_met(note)
        if not met and not is_over:
            return
        self._judged_size, self._count = self._head.size, len(self._policy.cosignatures(note))
        if met == self._met:
            return
        facts = {"quorum": self._policy.quorum, "cosignatures": self._count}
        if not met:
            _log.warning("too few cosignatures", **facts)
        elif self._met is False:
            _log.info("enough cosignatures again", **facts)
        self._unmet_since_ms = None if met else self._clock.now_ms()
        self._met = met

    def _is_met(self, note: bytes) -> bool:
        try:
            return self._policy.is_met(note)
        except VerificationError:
            return False

    async def _pause(self) -> None:
        """Until there is something to ask, and never shorter than `every_s`."""
        await self._clock.sleep_until(self._clock.now_ms() + self._every_ms)
        size = 0 if self._head is None else self._head.size
        due_ms = min((witness.due_ms for witness in self._behind()), default=None)
        if due_ms is None:
            await self._log.grown(size)
            return
        async with anyio.create_task_group() as tasks:

            async def until(wait: Any, *arguments: Any) -> None:
                await wait(*arguments)
                tasks.cancel_scope.cancel()

            tasks.start_soon(until, self._log.grown, size)
            tasks.start_soon(until, self._clock.sleep_until, due_ms)


def _is_line_of(note: bytes, line: bytes, vkey: str) -> bool:
    try:
        return _core.cosigned_at(note + line, vkey) is not None
    except VerificationError:
        return False


async def _read(path: anyio.Path) -> bytes | None:
    try:
        async with await path.open("rb") as file:
            return await file.read(NOTE_BYTES_MAX)
    except FileNotFoundError:
        return None
