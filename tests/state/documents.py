"""Homes with documents, for tests: several nodes of one subnet, each with its own `state.db`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from qflow import _core
from qflow.errors import ErasedError, UnavailableError
from qflow.state import CompactionLimits, Document, Documents
from qflow.storage import Database, SqliteBlocks
from tests.state.executions import Pins, node

SUBNET = "default"
NAME = "shop/cart"


class Keys:
    """Stands for the keyring."""

    def __init__(self) -> None:
        self.made: dict[int, _core.SealingKey] = {}
        self.shredded: set[int] = set()

    def take(self) -> _core.SealingKey:
        number = len(self.made) + 1
        key = _core.SealingKey(number, number.to_bytes(2, "big") * 16)
        self.made[number] = key
        return key

    def has(self, number: int) -> bool:
        return number in self.made and number not in self.shredded

    def key_of(self, chain: bytes, number: int) -> _core.SealingKey:
        if number in self.shredded:
            raise ErasedError(f"key {number} was destroyed")
        try:
            return self.made[number]
        except KeyError:
            raise UnavailableError(f"no key {number}") from None

    def shred(self, numbers: Iterable[int]) -> None:
        self.shredded.update(numbers)


class Place:
    """One node: its files, its key, and what it told."""

    def __init__(self, path: Path, number: int = 1, *, members: Iterable[int] = ()) -> None:
        path.mkdir(exist_ok=True)
        self.path = path / "state.db"
        self.key = node(number)
        self.keys = Keys()
        self.members = [node(one).public for one in members]
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.pins = Pins()
        self.forgotten: list[tuple[bytes, int]] = []

    @asynccontextmanager
    async def opened(self, **more: Any) -> AsyncGenerator[Documents, None]:
        """Its documents, as after a restart."""
        with Database(self.path) as database:
            self.database, self.blocks = database, SqliteBlocks(database)
            given: dict[str, Any] = {
                "subnet": SUBNET,
                "keys": self.keys,
                "signer": self.key,
                "members": lambda _: self.members,
                "pins": self.pins,
                "tell": lambda kind, data: self.told.append((kind, data)),
                "forget": lambda doc, key: self.forgotten.append((doc, key)),
            }
            async with Documents(self.blocks, **(given | more)) as documents:
                yield documents

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What was told of one kind."""
        return [data for name, data in self.told if name == f"q.qflow.crdt.{kind}.v1"]


@asynccontextmanager
async def opened(places: Sequence[Place], **more: Any) -> AsyncGenerator[list[Document], None]:
    """The document at each place."""
    async with AsyncExitStack() as stack:
        made = []
        for place in places:
            documents = await stack.enter_async_context(place.opened(**more))
            made.append(await documents.open(NAME))
        yield made


async def exchange(carts: Sequence[Document]) -> None:
    """Each takes what it lacks of each other."""
    for one in carts:
        for other in carts:
            if one is not other:
                await one.apply(other.delta(one.clock))


NEVER = CompactionLimits(operations=10**9, size_bytes=1 << 40, blocks=10**9)
"""Compact only when asked."""
