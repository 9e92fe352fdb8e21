"""A real Kubo behind the port, and others that hang, lie and babble: bounded time, clear errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec
import pytest

from qflow import _core
from qflow.errors import BlockNotFoundError, ConfigError, UnavailableError, VerificationError
from qflow.storage import Block, Kubo
from qflow.storage._rpc import PATIENCE
from qflow.storage._url import is_private
from qflow.testing import check_blockstore
from tests.kubo.daemon import Daemon
from tests.storage import bad_kubo as bad

pytestmark = pytest.mark.anyio

TIMEOUT_S = 0.3
WHOLE_S = 3 * PATIENCE * TIMEOUT_S + 5
"""The longest that a call may take on a machine that is busy."""
SENT_BYTES_MAX = 256 << 20
"""That an endless answer gets rid of, in all calls together and what lies in sockets."""


def raw(data: bytes) -> Block:
    return bytes(_core.cid_of(data, "raw")), data


def node(*parts: Block, text: str = "") -> Block:
    data = _core.encode({"links": [_core.Cid(cid) for cid, _ in parts], "text": text})
    return bytes(_core.cid_of(data)), data


LEAF = raw(b"a leaf")
ROOT = node(LEAF)
CID = LEAF[0]
Call = Callable[[Kubo], Awaitable[object]]


async def listed(store: Kubo) -> list[tuple[bytes, str]]:
    return [pin async for pin in store.pins()]


async def export(store: Kubo) -> list[Block]:
    found: list[Block] = []

    async def take(blocks: list[Block]) -> None:
        found.extend(blocks)

    await store.export_car(ROOT[0], take)
    return found


CALLS: dict[str, Call] = {
    "get": lambda store: store.get(CID),
    "get_many": lambda store: store.get_many([CID, ROOT[0]]),
    "has": lambda store: store.has(CID),
    "put_many": lambda store: store.put_many([LEAF]),
    "delete": lambda store: store.delete([CID]),
    "remove": lambda store: store.remove([CID]),
    "pin": lambda store: store.pin(CID),
    "unpin": lambda store: store.unpin(CID),
    "unpin_many": lambda store: store.unpin_many([CID, ROOT[0]]),
    "pins": listed,
    "import": lambda store: store.import_car([ROOT[0]], [ROOT, LEAF], pin_roots=True),
    "export": export,
    "identity": lambda store: store.identity(),
    "repo_stat": lambda store: store.repo_stat(),
}
NOTHING_WRONG = {("no_bytes", "pins")}
"""An answer that a good Kubo gives, too."""


async def test_a_real_kubo_keeps_the_promise_of_a_blockstore(kubo: Daemon) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Kubo]:
        async with Kubo(kubo.url) as store:
            yield store

    await check_blockstore(opened)


async def test_a_car_is_imported_pinned_exported_and_removed(kubo: Daemon) -> None:
    async with Kubo(kubo.url) as store:
        assert await store.import_car([ROOT[0]], [ROOT, LEAF], pin_roots=True) == {}
        assert kubo.pins() == {str(_core.Cid(ROOT[0])): ""}
        assert kubo.ipfs("dag", "get", str(_core.Cid(ROOT[0])))
        assert await export(store) == [ROOT, LEAF]
        assert await store.remove([CID, ROOT[0]]) == [CID, ROOT[0]], "what is pinned stays"
        await store.unpin_many([CID, ROOT[0], raw(b"never seen")[0]])
        assert await listed_here(store) == []
        assert await store.remove([CID, ROOT[0], raw(b"never seen")[0]]) == []
        assert not await store.has(CID)
        with pytest.raises(BlockNotFoundError):
            await export(store)


async def listed_here(store: Kubo) -> list[bytes]:
    return [cid for cid, _ in await listed(store) if cid in (CID, ROOT[0])]


async def test_a_root_that_is_not_whole_is_not_pinned(kubo: Daemon) -> None:
    async with Kubo(kubo.url) as store:
        refused = await store.import_car([ROOT[0]], [ROOT], pin_roots=True)
        assert list(refused) == [ROOT[0]]
        with pytest.raises(BlockNotFoundError):
            await store.pin(ROOT[0])
        assert kubo.pins() == {}


@pytest.mark.parametrize("named", [[], [bad.OTHER_CID], [str(_core.Cid(ROOT[0])), bad.OTHER_CID]])
async def test_an_import_must_name_the_roots_that_were_sent(named: list[str]) -> None:
    counted = {"BlockCount": 2, "BlockBytesCount": len(ROOT[1]) + len(LEAF[1])}
    lines = [{"Root": {"Cid": {"/": cid}, "PinErrorMsg": ""}} for cid in named]
    body = b"".join(msgspec.json.encode(line) + b"\n" for line in [*lines, {"Stats": counted}])
    with bad.bad_kubo(lambda wire, _: wire.answer(body)) as server:
        async with Kubo(server.url) as store:
            with pytest.raises(UnavailableError, match="other roots than were sent"):
                await store.import_car([ROOT[0]], [ROOT, LEAF], pin_roots=True)


async def test_who_it_is_and_how_full(kubo: Daemon) -> None:
    async with Kubo(kubo.url) as store:
        identity = await store.identity()
        assert (identity.version, identity.peer[:4]) == ("0.43.0", "12D3")
        await store.put_many([LEAF])
        stat = await store.repo_stat()
        assert 0 < stat.size_bytes < stat.size_bytes_max
        assert stat.blocks > 0


async def test_no_block_that_kubo_would_take_wrongly_is_sent(kubo: Daemon) -> None:
    """It gives a CID to bytes that are no DAG-CBOR, and takes them."""
    broken = b"\xa2\x61b\x00\x61a\x00"
    async with Kubo(kubo.url) as store:
        before = kubo.blocks()
        with pytest.raises(ValueError, match="not what its CID says"):
            await store.put_many([LEAF, (bytes(_core.cid_of(broken)), broken)])
        assert kubo.blocks() == before


@pytest.mark.holds("S11")
async def test_other_bytes_are_not_believed(kubo: Daemon) -> None:
    with bad.bad_kubo(bad.other_bytes, upstream=kubo.url, on=("block/get",)) as server:
        async with Kubo(server.url) as store:
            await store.put_many([LEAF])
            with pytest.raises(VerificationError, match="other bytes"):
                await store.get(CID)


@pytest.mark.parametrize("name", sorted(bad.ACTORS))
async def test_whatever_it_does_each_call_ends_with_an_error_that_names_it(name: str) -> None:
    said = dict.fromkeys(CALLS, "")

    async def attempt(call: str) -> None:
        with anyio.fail_after(WHOLE_S):
            try:
                await CALLS[call](store)
            except (UnavailableError, VerificationError) as error:
                said[call] = str(error)

    with bad.bad_kubo(bad.ACTORS[name]) as server:
        async with Kubo(server.url, timeout_s=TIMEOUT_S) as store, anyio.create_task_group() as t:
            for call in CALLS:
                t.start_soon(attempt, call)
        for call, error in said.items():
            if (name, call) not in NOTHING_WRONG:
                assert error.startswith(server.url), call
                assert error.isprintable()
                assert len(error) < 500
        assert server.sent_bytes < SENT_BYTES_MAX
        assert "elsewhere" not in server.calls, "a redirect was followed"


async def ends(call: Call, url: str, *, match: str) -> None:
    """By itself, with an error that says so. Each call has connections of its own."""
    async with Kubo(url, timeout_s=TIMEOUT_S) as store:
        with anyio.fail_after(WHOLE_S), pytest.raises(UnavailableError, match=match):
            await call(store)


async def test_nobody_and_a_port_that_does_not_answer() -> None:
    for server in (bad.nobody(), bad.deaf()):
        with server as url:
            async with anyio.create_task_group() as tasks:
                for call in CALLS.values():
                    tasks.start_soon(partial(ends, call, url, match=url))


async def test_a_paused_kubo_costs_bounded_time_and_goes_on_afterwards(kubo: Daemon) -> None:
    async with Kubo(kubo.url, timeout_s=TIMEOUT_S) as store:
        await store.put_many([LEAF])
    kubo.pause()
    try:
        async with anyio.create_task_group() as tasks:
            for name, call in CALLS.items():
                # What it was told meanwhile it may do when it wakes.
                if name not in ("delete", "remove"):
                    tasks.start_soon(partial(ends, call, kubo.url, match="no answer"))
    finally:
        kubo.resume()
    async with Kubo(kubo.url) as store:
        assert await store.get(CID) == LEAF[1]


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:5001", "ftp://a", "/ip4/127.0.0.1/tcp/5001", "http://", "http://a:b@c"),
        *("http://a:70000", "http://a/?b", "http://[::1"),
    ],
)
def test_what_is_no_url_of_an_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Kubo(url)


def test_who_can_listen_is_known() -> None:
    for url in ("https://a.example", "http://127.0.0.1:5001", "http://[::1]:5001"):
        assert is_private(url)
    assert is_private("http://localhost:5001")
    for url in ("http://a.example:5001", "http://10.0.0.1:5001", "http://localhost.a.example"):
        assert not is_private(url)
