"""What a node answers over HTTP: to logs as a witness, and to monitors about its own log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest

from qflow import _core
from qflow.api import Listener
from qflow.api._log_files import LogFiles
from qflow.api._public import public_app
from qflow.audit import Witness
from qflow.clock import SystemClock
from tests.audit.heads import SigningLog, leaves
from tests.log.logs import SEED, VKEY, frames, open_log, write_log

pytestmark = pytest.mark.anyio

LOG = SigningLog()


class Key:
    origin = "witness.example/w"
    seed = bytes(range(100, 132))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Of a listener with a witness of `LOG`, and a log of 300 records in `log`."""
    write_log(tmp_path / "log", count=300)
    witness = Witness(tmp_path / "witness.db", Key(), SystemClock(), [LOG.vkey])
    app = public_app(witness=witness, log=tmp_path / "log")
    async with (
        Listener(app, "127.0.0.1", 0) as listener,
        httpx2.AsyncClient(base_url=listener.url) as client,
    ):
        yield client
    witness.close()


async def test_a_head_is_cosigned_over_http(client: httpx2.AsyncClient) -> None:
    note = LOG.head(leaves(5))
    response = await client.post("/witness/add-checkpoint", content=LOG.request(leaves(5), 0))
    assert response.status_code == 200
    vkey = _core.generate_witness_vkey(Key.origin, Key.seed)
    assert _core.cosigned_at(note + response.content, vkey) is not None


async def test_a_conflict_has_the_media_type_of_a_size(client: httpx2.AsyncClient) -> None:
    await client.post("/witness/add-checkpoint", content=LOG.request(leaves(5), 0))
    response = await client.post("/witness/add-checkpoint", content=LOG.request(leaves(9), 0))
    assert response.status_code == 409
    assert response.headers["content-type"] == "text/x.tlog.size"
    assert response.content == b"5\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"nonsense", 400), (SigningLog("other.example").request(leaves(1), 0), 404)],
)
async def test_refusals_go_out_as_their_status(
    client: httpx2.AsyncClient, body: bytes, status: int
) -> None:
    response = await client.post("/witness/add-checkpoint", content=body)
    assert response.status_code == status


async def test_a_witness_is_asked_by_post_only(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/witness/add-checkpoint")).status_code == 405
    assert (await client.post("/witness/elsewhere")).status_code == 404


async def test_the_log_is_served_as_it_lies_there(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    for name in ("tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"):
        response = await client.get(f"/log/{name}")
        assert response.content == (tmp_path / "log" / name).read_bytes()
        assert response.headers["content-type"] == "application/octet-stream"
        assert "immutable" in response.headers["cache-control"]
    response = await client.get("/log/checkpoint")
    assert response.content == (tmp_path / "log" / "checkpoint").read_bytes()
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert (await client.head("/log/checkpoint")).content == b""
    assert (await client.post("/log/checkpoint")).status_code == 405


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "journal/0000000000",
        "tile/0/002",
        "tile/0/001.p/45",
        "tile/0/001.p/256",
        "tile/0/001.p/044",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/0/0000",
        "tile/entries/000.new",
        "tile/0",
        "tile/",
        "tile/0/../../lock",
        "tile/0/..%2f..%2flock",
        "tile/%2e%2e/lock",
        "tile//0/000",
        "tile/0/000%00",
        "tile/0/000%0a",
        "tile/0/٠٠٠",
    ],
)
async def test_nothing_else_is_served(client: httpx2.AsyncClient, name: str) -> None:
    """Not what is private, not what is no name of the format, not what is not there."""
    port = httpx2.URL(str(client.base_url)).port
    request = f"GET /log/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    async with await anyio.connect_tcp("127.0.0.1", port or 0) as stream:
        await stream.send(request.encode())
        assert (await stream.receive())[9:12] in (b"404", b"400")


async def test_partial_tiles_of_older_heads_are_the_beginning_of_newer_ones(tmp_path: Path) -> None:
    """Every size that had a head can be asked for, though only two partial tiles are kept."""
    log, files = open_log(tmp_path), LogFiles(tmp_path)
    kept: dict[str, bytes] = {}
    for number, frame in enumerate(frames(258), 1):
        log.append_durable([*frame[0]])
        if number in (3, 4, 9, 200, 258):
            log.publish()
            for level in ("0", "entries"):
                name = f"{level}/000.p/{number}" if number < 256 else f"{level}/000"
                kept[name] = (tmp_path / "tile" / name).read_bytes()
    log.close()
    assert not (tmp_path / "tile" / "0" / "000.p" / "3").exists()
    assert {name: files.tile(name) for name in kept} == kept
    assert files.tile("0/001.p/3") is None


async def test_the_served_head_carries_cosignatures_as_soon_as_there_are_some(
    tmp_path: Path,
) -> None:
    log, files = open_log(tmp_path), LogFiles(tmp_path)
    assert LogFiles(tmp_path / "nowhere").head() is None
    assert files.witnessed() is None
    log.append_durable([*frames(1)[0][0]])
    log.publish()
    plain = (tmp_path / "checkpoint").read_bytes()
    assert files.head() == plain
    cosigned = plain.decode() + _core.cosign(plain, VKEY, "w.example", SEED, 1)
    log.save_witnessed(cosigned)
    assert files.head() == files.witnessed() == cosigned.encode()
    log.append_durable([*frames(2)[1][0]])
    log.publish()
    # The newest records are not hidden because a witness has not seen them yet.
    assert files.head() == (tmp_path / "checkpoint").read_bytes()
    assert files.witnessed() == cosigned.encode()
    log.close()
