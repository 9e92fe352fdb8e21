"""Stored states back from Kubo endpoints: what is pinned there, of this subnet and trusted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio
from msgspec.structs import replace

from qflow import _core, model
from qflow.api._states import Brought, Endpoint, Refused, StateStep
from qflow.errors import BlockNotFoundError, QflowError, UnavailableError, VerificationError
from qflow.node._state_files import Adopt, Putting, brought, is_envelope, take_keys
from qflow.node._state_views import cid_text
from qflow.state._version import Version, is_version
from qflow.storage import Kubo
from qflow.trust import parse_envelope

if TYPE_CHECKING:
    from qflow.node._state_views import Views
    from qflow.state import States
    from qflow.storage import Block, SqliteBlocks
    from qflow.trust import Signers

ROOTS_AT_ONCE: Final = 64
"""Pinned blocks that are asked for together, to see what they are."""
BLOCKS_AT_ONCE: Final = 64
"""Blocks that are hashed here, and fetched when they lack, together."""
_DAG_CBOR: Final = 0x71
_CODEC_AT: Final = 1


class Recovery:
    """One recovery from the endpoints of the settings."""

    def __init__(
        self,
        states: States,
        blocks: SqliteBlocks,
        views: Views,
        *,
        subnet: str,
        signers: Signers,
        adopt: Adopt,
        open_kubo: Callable[[str], Kubo],
    ) -> None:
        self._states, self._blocks, self._views = states, blocks, views
        self._subnet, self._signers, self._adopt = subnet, signers, adopt
        self._open_kubo = open_kubo
        self._versions: dict[bytes, Version] = {}
        self._keys: dict[bytes, bytes] = {}
        self._here: set[bytes] = set()
        """Versions whose blocks are all in the store, and good."""
        self._known = 0
        self._refused: dict[bytes, Refused] = {}
        self._put = Putting(blocks)

    async def run(
        self, urls: Sequence[str], executions: Sequence[str]
    ) -> AsyncGenerator[StateStep, None]:
        """Look at every endpoint, fetch what is missing here, take what is good; the last step has
        a `Brought`. Raises UnavailableError when no endpoint answers."""
        endpoints = []
        for url in urls:
            found = before = 0
            error: str | None = None
            try:
                async with self._open_kubo(url) as kubo:
                    before = len(self._versions)
                    found = await self._look(kubo, executions)
                    async with aclosing(self._fetch(kubo)) as steps:
                        async for step in steps:
                            yield step
            except UnavailableError as failed:
                error = str(failed)
            pinned = len(self._versions) - before
            endpoints.append(Endpoint(endpoint=url, found=found, pinned=pinned, error=error))
        if endpoints and all(item.error is not None for item in endpoints):
            raise UnavailableError(f"no endpoint can be asked: {endpoints[0].error}")
        yield StateStep(result=await anyio.to_thread.run_sync(self._take, tuple(endpoints)))

    async def _look(self, kubo: Kubo, executions: Sequence[str]) -> int:
        """Find versions and envelopes among the pins; how many there are."""
        roots = [cid async for cid, _ in kubo.pins() if cid[_CODEC_AT] == _DAG_CBOR]
        found = 0
        for at in range(0, len(roots), ROOTS_AT_ONCE):
            read = await self._roots(kubo, roots[at : at + ROOTS_AT_ONCE])
            found += await anyio.to_thread.run_sync(self._wanted, read, executions)
        return found

    def _wanted(self, read: list[Block], executions: Sequence[str]) -> int:
        return sum(self._is_wanted(cid, data, executions) for cid, data in read)

    async def _roots(self, kubo: Kubo, cids: list[bytes]) -> list[Block]:
        """These blocks, without those that cannot be had: one bad pin hides no other."""
        try:
            return list(zip(cids, await kubo.get_many(cids), strict=True))
        except (BlockNotFoundError, VerificationError):
            pass
        found = []
        for cid in cids:
            try:
                found.append((cid, await kubo.get(cid)))
            except (BlockNotFoundError, VerificationError) as error:
                self._refuse(cid, str(error))
        return found

    def _is_wanted(self, cid: bytes, data: bytes, executions: Sequence[str]) -> bool:
        if is_version(data):
            return self._is_wanted_version(cid, data, executions)
        if not is_envelope(data):
            return False
        key = parse_envelope(data)
        if key.subnet != self._subnet or not _is_named(key.chain, executions):
            return False
        self._keys[cid] = data
        return True

    def _is_wanted_version(self, cid: bytes, data: bytes, executions: Sequence[str]) -> bool:
        try:
            version = Version.parse(data)
        except ValueError as error:
            self._refuse(cid, str(error))
            return False
        if version.subnet != self._subnet or not _is_named(version.chain, executions):
            return False
        try:
            version.verify(self._signers)
        except QflowError as error:
            self._refuse(cid, str(error), version)
            return False
        if self._is_kept(cid):
            self._known += cid not in self._versions
        self._versions[cid] = version
        return True

    def _is_kept(self, cid: bytes) -> bool:
        return bool(self._states.list(cid=cid_text(cid), limit=1).versions)

    async def _fetch(self, kubo: Kubo) -> AsyncGenerator[StateStep, None]:
        """Bring in what is missing here, or damaged, beneath the versions, also beneath those that
        are kept: chain by chain, the newest first, with which the older ones have most of their
        blocks in common. What this endpoint cannot give, the next one is asked for."""
        due = [cid for cid in self._versions if cid not in self._here]
        due.sort(key=lambda cid: _place(self._versions[cid]), reverse=True)
        chain, sound = b"", set[bytes]()
        for done, cid in enumerate(due):
            yield StateStep(done=done, whole=len(due))
            version = self._versions[cid]
            if version.chain != chain:
                chain, sound = version.chain, set()
            try:
                if not await self._blocks.has(version.flow):
                    await self._export(kubo, cid)
                await self._complete(kubo, cid, sound)
            except (BlockNotFoundError, VerificationError) as error:
                self._refuse(cid, str(error), version)
            else:
                self._here.add(cid)
                self._refused.pop(cid, None)

    async def _export(self, kubo: Kubo, root: bytes) -> None:
        """All of a version in one stream, which may end early. Nothing is stored but what a block
        before it linked to: who signed the version bounds that, and not the endpoint."""
        beneath = {root}

        def links(blocks: list[Block]) -> None:
            for cid, data in blocks:
                if cid not in beneath:
                    raise VerificationError(
                        f"{kubo.url}: it sent {cid_text(cid)}, which is not beneath the version"
                    )
                beneath.update(_links_of(cid, data))

        async def take(blocks: list[Block]) -> None:
            await anyio.to_thread.run_sync(links, blocks)
            await self._store(blocks)

        await kubo.export_car(root, take)

    async def _complete(self, kubo: Kubo, root: bytes, sound: set[bytes]) -> None:
        """Walk all that is beneath a version, each block hashed, and fetch what lacks. `sound` has
        the blocks beneath which all is known to be good; those of this version are added."""
        due, seen = [root], {root}
        while due:
            part, due = due[-BLOCKS_AT_ONCE:], due[:-BLOCKS_AT_ONCE]
            lacking = await anyio.to_thread.run_sync(self._blocks.lacking, part)
            if lacking:
                await self._store(list(zip(lacking, await kubo.get_many(lacking), strict=True)))
            links = await anyio.to_thread.run_sync(self._links, part)
            new = [cid for cid in links if cid not in seen and cid not in sound]
            seen.update(new)
            due += new
        sound |= seen

    def _links(self, cids: list[bytes]) -> list[bytes]:
        links: list[bytes] = []
        parents = [cid for cid in cids if cid[_CODEC_AT] == _DAG_CBOR]
        for cid, data in zip(parents, self._blocks.load(parents), strict=True):
            links += _links_of(cid, data)
        return list(dict.fromkeys(links))

    async def _store(self, blocks: list[Block]) -> None:
        def put() -> None:
            for block in blocks:
                self._put.add(block)
            self._put.flush()

        await anyio.to_thread.run_sync(put)

    def _take(self, endpoints: tuple[Endpoint, ...]) -> Brought:
        keys, refused = take_keys(self._keys, self._adopt)
        new = [cid for cid in self._here if not self._is_kept(cid)]
        done = brought(
            self._states,
            self._views,
            new,
            self._put,
            keys=keys,
            refused=[*refused, *self._refused.values()],
        )
        return replace(done, known=self._known, endpoints=endpoints)

    def _refuse(self, cid: bytes, why: str, version: Version | None = None) -> None:
        self._refused[cid] = Refused(
            cid=cid_text(cid),
            why=why,
            execution=None if version is None else model.id_text(version.chain),
            number=None if version is None else version.number,
        )


def _place(version: Version) -> tuple[bytes, int, int]:
    return version.chain, version.epoch, version.number


def _links_of(cid: bytes, data: bytes) -> list[bytes]:
    try:
        return _core.block_links(cid, data)
    except ValueError as error:
        raise VerificationError(f"block {cid_text(cid)}: {error}") from None


def _is_named(chain: bytes, executions: Sequence[str]) -> bool:
    name = model.id_text(chain)
    return not executions or any(name.startswith(one.lower()) for one in executions)
