"""What tests of the outbox share: a home's store, and what it wants of endpoints."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qflow import _core
from qflow.clock import Clock
from qflow.errors import CorruptError, ErasedError
from qflow.events import CloudEvent, validate
from qflow.storage import Block, Database, Outbox, SqliteBlocks
from qflow.storage._catch_up import PINNED
from qflow.storage._endpoint import BACK, LOST
from qflow.testing import ManualClock

TIMEOUT_S = 20.0


def raw(data: bytes) -> Block:
    return bytes(_core.cid_of(data, "raw")), data


def node(*parts: Block, text: str = "") -> Block:
    data = _core.encode({"links": [_core.Cid(cid) for cid, _ in parts], "text": text})
    return bytes(_core.cid_of(data)), data


def text(block: Block) -> str:
    return str(_core.Cid(block[0]))


class Envelopes:
    """Of executions: `make` one, `rotate` it, `erase` its key."""

    def __init__(self) -> None:
        self.epochs: dict[bytes, int] = {}
        self.erased: set[bytes] = set()
        self.damaged: set[bytes] = set()

    def __call__(self, chain: bytes) -> Block | None:
        if chain in self.damaged:
            raise CorruptError("its slot is damaged")
        if chain in self.erased:
            raise ErasedError("its key was destroyed")
        epoch = self.epochs.get(chain)
        return None if epoch is None else node(text=f"key of {chain.hex()} in {epoch}")


class Home:
    """A store with an outbox, and what it told."""

    def __init__(
        self, path: Path, urls: Sequence[str], clock: Clock, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.database = Database(path)
        self.blocks = SqliteBlocks(self.database)
        self.envelopes = Envelopes()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.outbox = Outbox(
            self.database,
            urls,
            clock=clock,
            timeout_s=timeout_s,
            envelope=self.envelopes,
            tell=self._tell,
        )

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        validate(CloudEvent(id="1", source="did:key:z6Mk", type=kind, data=data))
        self.told.append((kind, data))

    def keep(self, *roots: Block, parts: Iterable[Block] = ()) -> None:
        """Store and pin roots, as a version is."""

        def job(db: Any) -> None:
            self.blocks.put_blocks(db, [*parts, *roots])
            for cid, _ in roots:
                self.blocks.pin_block(db, cid, "a name that stays here")
                self.outbox.want_pin(db, cid, "a name that stays here")

        self.database.write(job)

    def drop(self, *roots: Block) -> None:
        """Take pins back."""

        def job(db: Any) -> None:
            for cid, _ in roots:
                self.blocks.unpin_block(db, cid)
                self.outbox.want_unpin(db, cid)

        self.database.write(job)

    def want_key(self, chain: bytes, epoch: int = 0) -> Block:
        self.envelopes.epochs[chain] = epoch
        self.database.write(lambda db: self.outbox.want_key(db, chain))
        made = self.envelopes(chain)
        assert made is not None
        return made

    def erase(self, chain: bytes) -> None:
        self.envelopes.erased.add(chain)
        self.database.write(lambda db: self.outbox.want_no_key(db, chain))

    @property
    def owed(self) -> list[int]:
        return [status.pins + status.releases for status in self.outbox.status()]

    def events(self) -> list[str]:
        names = {PINNED: "pinned", LOST: "lost", BACK: "back"}
        return [names[kind] for kind, _ in self.told]


@contextmanager
def home(
    folder: Path, *urls: str, clock: Clock | None = None, timeout_s: float = TIMEOUT_S
) -> Iterator[Home]:
    made = Home(folder / "state.db", urls, clock or ManualClock(), timeout_s)
    with made.database:
        yield made


@contextmanager
def kept_by_another(path: Path) -> Iterator[None]:
    """As when another process writes to a `state.db` all the time."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()
