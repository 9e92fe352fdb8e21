"""A Kubo as a blockstore, by its RPC: nothing it says about bytes is believed unhashed.

https://docs.ipfs.tech/reference/kubo/rpc/, read against v0.43.0
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import anyio
import msgspec

from qflow import _core
from qflow.errors import (
    BlockNotFoundError,
    UnavailableError,
    VerificationError,
)
from qflow.storage._blocks import (
    BLOCK_BYTES_MAX,
    Block,
    check_blocks,
    check_name,
    fits,
    get_each,
    text_of,
)
from qflow.storage._car import CarParser, write_car
from qflow.storage._rpc import PATIENCE, RefusedError, Rpc

TIMEOUT_S: Final = 10.0
CAR_BYTES: Final = 16 << 20
"""Of blocks that go in one CAR; one block more at most."""
EXPORT_BYTES_MAX: Final = 1 << 36
"""Of a CAR that is fetched; a longer one is refused."""
PINS_BYTES_MAX: Final = 64 << 20
"""Of a list of pins, some 600,000; a longer one is refused."""
ARGUMENTS_MAX: Final = 200
"""CIDs in one question: they stand in the request's first line."""
GETS_MAX: Final = 8
"""Blocks that are asked for at once."""

_OFFLINE: Final = ("offline", "true")
"""What is not there is not looked for on the network, so a missing block answers at once."""
_NOT_FOUND: Final = "could not find "
_NOT_PINNED: Final = "not pinned"

TakeBlocks = Callable[[list[Block]], Awaitable[object]]


class Identity(msgspec.Struct, frozen=True):
    """Who answers."""

    peer: str
    version: str


class RepoStat(msgspec.Struct, frozen=True):
    """How full its repository is, in bytes and blocks."""

    size_bytes: int
    size_bytes_max: int
    blocks: int


class Kubo:
    """A `Blockstore` in the Kubo at a URL, while entered.

    What is put without a pin may go with Kubo's next collection of garbage. Blocks go there as
    they are: whoever reaches that Kubo, or any node that it shares with, can read them, so only
    what is sealed or public is put there. For bounds and errors see `Rpc`. Raises ConfigError for
    a URL that is none.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._rpc = Rpc(url, timeout_s=timeout_s)
        self.url: Final = self._rpc.url

    async def __aenter__(self) -> Self:
        await self._rpc.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._rpc.__aexit__(kind, error, trace)

    async def put_many(self, blocks: Iterable[Block]) -> None:
        """See `Blockstore`. By CARs of about CAR_BYTES; without a pin.

        When it fails some may be there.
        """
        given = list(blocks)
        await anyio.to_thread.run_sync(check_blocks, given)
        for batch in _batches(given):
            await self.import_car([batch[0][0]], batch, pin_roots=False)

    async def get(self, cid: bytes) -> bytes:
        """See `Blockstore`. Other bytes stay there: `Replicated` marks the endpoint."""
        try:
            data = await self._rpc.ask("block/get", _of(cid), bytes_max=BLOCK_BYTES_MAX)
        except RefusedError as error:
            raise self._missing(cid, error) from error
        if not fits([(cid, data)])[0]:
            raise VerificationError(f"{self.url}: block {text_of(cid)} has other bytes there")
        return data

    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        """See `Blockstore`; GETS_MAX at once."""
        return await get_each(self.get, cids, GETS_MAX)

    async def has(self, cid: bytes) -> bool:
        """See `Blockstore`."""
        try:
            said = await self._rpc.ask_json("block/stat", _of(cid))
        except RefusedError as error:
            if isinstance(missing := self._missing(cid, error), BlockNotFoundError):
                return False
            raise missing from error
        if said.get("Key") != text_of(cid):
            self._fail("block/stat", f"it told of something else than {text_of(cid)}")
        return True

    async def delete(self, cids: Iterable[bytes]) -> None:
        """See `Blockstore`."""
        given = list(dict.fromkeys(cids))
        for cid in given:
            if await self._is_held(cid):
                raise ValueError(f"{self.url}: block {text_of(cid)} is pinned, or beneath a pin")
        if kept := await self.remove(given):
            raise ValueError(f"{self.url}: block {text_of(kept[0])} is pinned, or beneath a pin")

    async def remove(self, cids: Sequence[bytes]) -> list[bytes]:
        """Remove these blocks, except those that something there pins: they are returned."""
        kept = []
        for part in _parts(cids):
            arguments = [*_args(part), ("force", "true"), _OFFLINE]
            said = await self._rpc.ask_lines("block/rm", arguments)
            errors = {str(line.get("Hash")): line.get("Error") for line in said}
            for cid in part:
                if text_of(cid) not in errors:
                    self._fail("block/rm", f"it does not say what became of {text_of(cid)}")
                if error := errors[text_of(cid)]:
                    if not str(error).startswith("pinned"):
                        self._fail("block/rm", f"{text_of(cid)}: {error!s:.200}")
                    kept.append(cid)
        return kept

    async def pin(self, cid: bytes, name: str = "") -> None:
        """See `Blockstore`."""
        check_name(name)
        # A pin of what is not whole would wait for the network, however offline it is asked for.
        await self.check_whole(cid)
        named = [("name", name)] if name else []
        try:
            said = await self._rpc.ask_json("pin/add", [*_of(cid), *named])
        except RefusedError as error:
            raise self._missing(cid, error) from error
        if said.get("Pins") != [text_of(cid)]:
            self._fail("pin/add", f"it pinned something else than {text_of(cid)}")

    async def check_whole(self, cid: bytes) -> None:
        """Return when a block and all beneath it are there; it walks them there.

        Raises BlockNotFoundError.
        """
        try:
            await self._rpc.ask_lines("dag/stat", [*_of(cid), ("progress", "false")])
        except RefusedError as error:
            raise self._missing(cid, error) from error

    async def unpin(self, cid: bytes) -> None:
        """See `Blockstore`."""
        await self.unpin_many([cid])

    async def unpin_many(self, cids: Sequence[bytes]) -> None:
        """As `unpin` of each."""
        for part in _parts(cids):
            due = list(part)
            # Kubo stops at the first that has no pin: then one by one.
            if len(due) > 1 and await self._is_unpinned(due):
                continue
            for cid in due:
                await self._is_unpinned([cid])

    async def pins(self) -> AsyncIterator[tuple[bytes, str]]:
        """See `Blockstore`. Pins whose CIDs are of a kind that is not known here are left out."""
        asked = [("type", "recursive"), ("stream", "true"), ("names", "true")]
        found: dict[bytes, str] = {}

        def take(line: dict[str, Any]) -> None:
            cid, name = line.get("Cid"), line.get("Name") or ""
            if not isinstance(cid, str) or not isinstance(name, str):
                self._fail("pin/ls", "a line of its answer is not of Kubo")
            with suppress(ValueError):
                found[bytes(_core.Cid(cid))] = name

        await self._rpc.each_line("pin/ls", asked, take, bytes_max=PINS_BYTES_MAX)
        for pin in sorted(found.items()):
            yield pin

    async def import_car(
        self,
        roots: Sequence[bytes],
        blocks: Sequence[Block],
        *,
        pin_roots: bool,
        patience: int = PATIENCE,
    ) -> dict[bytes, str]:
        """Store blocks by one CAR, and pin its roots with all beneath; durable on return.

        The blocks are as their CIDs say: the caller has hashed them. Returns the roots that could
        not be pinned, and why. Raises UnavailableError unless Kubo says of each root what became
        of it, and counted the blocks that were sent: some may be there then. For each root Kubo
        reads all that is beneath it before it answers: `patience` is in units of the timeout.
        """
        size = sum(len(data) for _, data in blocks)
        asked = {"pin-roots": pin_roots, "stats": True, "fast-provide-root": False}
        arguments = [(name, str(value).lower()) for name, value in asked.items()]
        pieces = write_car(roots, blocks)
        said = await self._rpc.upload(
            "dag/import", arguments, pieces, size + 128 * len(blocks), patience=patience
        )
        counted = {"BlockCount": len(blocks), "BlockBytesCount": size}
        # The last line, so that it also says that the answer is whole.
        if not said or said[-1].get("Stats") != counted:
            self._fail("dag/import", "its answer broke off, or it took other blocks than were sent")
        if not pin_roots:
            return {}
        return self._unpinned(roots, [line.get("Root") for line in said[:-1]])

    def _unpinned(self, roots: Sequence[bytes], said: Sequence[object]) -> dict[bytes, str]:
        """The roots that Kubo says it could not pin. It must name each of them, and no other."""
        named = {}
        for root in said:
            try:
                line = msgspec.convert(root, _Root)
            except msgspec.ValidationError:
                self._fail("dag/import", "a line of its answer is not of Kubo")
            named[line.cid.text] = line.error
        wanted = {text_of(root): root for root in roots}
        if named.keys() != wanted.keys():
            self._fail("dag/import", "it pinned other roots than were sent")
        return {wanted[text]: error for text, error in named.items() if error}

    async def export_car(self, cid: bytes, take: TakeBlocks) -> None:
        """Give a block and all beneath it to `take`, in parts, each block hashed again.

        Raises BlockNotFoundError when something of it is missing at once; later the stream just
        ends, so whether all was there, pinning it says. VerificationError for other bytes.
        """
        parser = CarParser()

        async def feed(part: bytes) -> None:
            if blocks := await anyio.to_thread.run_sync(parser.feed, part):
                await take(blocks)

        try:
            await self._rpc.pour("dag/export", _of(cid), feed, bytes_max=EXPORT_BYTES_MAX)
            parser.finish()
        except RefusedError as error:
            raise self._missing(cid, error) from error
        except VerificationError as error:
            raise VerificationError(f"{self.url}: {error}") from error
        if parser.roots != [cid]:
            raise VerificationError(f"{self.url}: it exported something else than {text_of(cid)}")

    async def identity(self) -> Identity:
        """Its peer id and the version of its program."""
        said = await self._rpc.ask_json("id")
        peer, agent = said.get("ID"), said.get("AgentVersion")
        if not isinstance(peer, str) or not peer or not isinstance(agent, str):
            self._fail("id", "its answer is not of Kubo")
        return Identity(peer[:100], agent.removeprefix("kubo/").rstrip("/")[:100])

    async def repo_stat(self) -> RepoStat:
        """How full it is."""
        said = await self._rpc.ask_json("repo/stat")
        figures = [said.get(name) for name in ("RepoSize", "StorageMax", "NumObjects")]
        whole = [figure for figure in figures if isinstance(figure, int)]
        if len(whole) != len(figures):
            self._fail("repo/stat", "its answer is not of Kubo")
        return RepoStat(*whole)

    async def _is_held(self, cid: bytes) -> bool:
        """Whether it is pinned, or beneath a pin."""
        try:
            said = await self._rpc.ask_json("pin/ls", [*_of(cid), ("type", "all")])
        except RefusedError as error:
            if _NOT_PINNED in error.why:
                return False
            raise
        if not isinstance(said.get("Keys"), dict):
            self._fail("pin/ls", "its answer is not of Kubo")
        return True

    async def _is_unpinned(self, cids: Sequence[bytes]) -> bool:
        try:
            said = await self._rpc.ask_json("pin/rm", [*_args(cids), _OFFLINE])
        except RefusedError as error:
            if _NOT_PINNED in error.why:
                return False
            raise
        if said.get("Pins") != [text_of(cid) for cid in cids]:
            self._fail("pin/rm", "it released other pins than were named")
        return True

    def _missing(self, cid: bytes, error: RefusedError) -> BlockNotFoundError | RefusedError:
        if _NOT_FOUND not in error.why:
            return error
        return BlockNotFoundError(f"{self.url}: block {text_of(cid)}, or one beneath, is not there")

    def _fail(self, name: str, what: str) -> NoReturn:
        raise UnavailableError(f"{self.url}: {name}: {what}")


class _Link(msgspec.Struct):
    text: str = msgspec.field(name="/")


class _Root(msgspec.Struct):
    cid: _Link = msgspec.field(name="Cid")
    error: str = msgspec.field(name="PinErrorMsg", default="")


def _of(cid: bytes) -> list[tuple[str, str]]:
    return [*_args([cid]), _OFFLINE]


def _args(cids: Sequence[bytes]) -> list[tuple[str, str]]:
    return [("arg", text_of(cid)) for cid in cids]


def _parts(cids: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [cids[at : at + ARGUMENTS_MAX] for at in range(0, len(cids), ARGUMENTS_MAX)]


def _batches(blocks: Sequence[Block]) -> Iterable[list[Block]]:
    batch: list[Block] = []
    size = 0
    for cid, data in blocks:
        batch.append((cid, data))
        size += len(data)
        if size >= CAR_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
