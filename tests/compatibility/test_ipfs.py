"""Kubo reads what we write and we read what Kubo writes: blocks, links, pins and CAR files."""

from __future__ import annotations

import io
import json
from base64 import b64decode, b64encode
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from qflow import _core
from qflow.errors import VerificationError
from qflow.storage import read_car, write_car
from tests.kubo.daemon import Daemon
from tests.stored import Block, Home

STATE = {"orders": [{"id": f"order {n}", "price": n} for n in range(20_000)]}


class Made(NamedTuple):
    """A version with everything beneath it, root first."""

    cid: bytes
    blocks: list[Block]
    older: bytes
    """The CID of the version before it, which is not beneath it."""
    older_blocks: list[Block]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A state of many parts, two segments, payloads, and another version before it."""
    with Home(tmp_path_factory.mktemp("home")) as home:
        one = home.begin(1)
        one.act(3, "a payload")
        first = one.kept_by(home, STATE)
        one.act(2, "another payload")
        second = one.kept_by(home, STATE | {"more": 1})
        return Made(second.cid, home.reach(second.cid), first.cid, home.reach(first.cid))


def text(cid: bytes) -> str:
    return str(_core.Cid(cid))


def car(roots: list[bytes], blocks: list[Block]) -> bytes:
    return b"".join(write_car(roots, blocks))


def from_dag_json(value: Any) -> Any:
    """What DAG-JSON says, with links and bytes as they are (ipld.io/specs/codecs/dag-json)."""
    if isinstance(value, list):
        return [from_dag_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"/"}:
        inner = value["/"]
        if isinstance(inner, str):
            return _core.Cid(inner)
        return b64decode(inner["bytes"] + "=" * (-len(inner["bytes"]) % 4))
    return {key: from_dag_json(one) for key, one in value.items()}


def to_dag_json(value: Any) -> Any:
    if isinstance(value, _core.Cid):
        return {"/": str(value)}
    if isinstance(value, bytes):
        return {"/": {"bytes": b64encode(value).decode().rstrip("=")}}
    if isinstance(value, list):
        return [to_dag_json(one) for one in value]
    if isinstance(value, dict):
        return {key: to_dag_json(one) for key, one in value.items()}
    return value


def named(blocks: list[Block]) -> list[Block]:
    """Those in DAG-CBOR: the version, its segments, the roots of state and flow."""
    return [block for block in blocks if _core.Cid(block[0]).codec == "dag-cbor"]


def test_dag_import_takes_our_car_and_dag_get_reads_every_block(made: Made, kubo: Daemon) -> None:
    said = kubo.ipfs("dag", "import", "--stats", stdin=car([made.cid], made.blocks)).decode()
    assert f"Pinned root\t{text(made.cid)}\tsuccess" in said
    assert f"Imported {len(made.blocks)} blocks" in said
    kinds = set()
    for cid, data in named(made.blocks):
        read = from_dag_json(json.loads(kubo.ipfs("dag", "get", text(cid))))
        assert read == _core.decode(data)
        assert kubo.ipfs("dag", "get", "--output-codec=dag-cbor", text(cid)) == data
        kinds.add(read.get("kind", "a root"))
    assert kinds == {"qflow.state", "qflow.history", "a root"}
    for cid, data in made.blocks:
        assert kubo.ipfs("block", "get", text(cid)) == data


def test_kubo_walks_our_links(made: Made, kubo: Daemon) -> None:
    kubo.ipfs("dag", "import", stdin=car([made.cid], made.blocks))
    root = text(made.cid)
    state = kubo.ipfs("dag", "get", f"{root}/state/parts/0").decode()
    assert "bytes" in state
    assert json.loads(kubo.ipfs("dag", "get", f"{root}/history/previous/first")) == 0
    refs = kubo.ipfs("refs", "--recursive", "--unique", root).decode().split()
    assert sorted(refs) == sorted(text(cid) for cid, _ in made.blocks[1:])


@pytest.mark.parametrize("folder", [False, True])
def test_we_read_a_car_that_kubo_exports(made: Made, kubo: Daemon, folder: bool) -> None:
    """Of our own version, which it stored block by block, and of a folder of files that it cut."""
    if folder:
        data = bytes(range(256)) * 20_000
        words = ("add", "--quieter", "--cid-version=1", "--wrap-with-directory")
        root = kubo.ipfs(*words, "--stdin-name=data", stdin=data).decode().strip()
    else:
        root = text(made.cid)
        for cid, data in made.blocks:
            codec = f"--cid-codec={_core.Cid(cid).codec}"
            kubo.ipfs("block", "put", codec, "--allow-big-block", stdin=data)
    stream = kubo.ipfs("dag", "export", root)
    roots, blocks = read_car(io.BytesIO(stream))
    assert [text(cid) for cid in roots] == [root]
    found = dict(blocks)
    assert sorted(map(text, found)) == sorted(
        [root, *kubo.ipfs("refs", "--recursive", "--unique", root).decode().split()]
    )
    assert folder or found == dict(made.blocks)


def test_a_car_of_ours_is_the_one_that_kubo_makes_of_it(made: Made, kubo: Daemon) -> None:
    """Byte for byte, when the blocks come in the order in which Kubo walks: depth first."""
    kubo.ipfs("dag", "import", stdin=car([made.cid], made.blocks))
    blocks = dict(made.blocks)
    ordered = list(dict.fromkeys(depth_first(blocks, made.cid)))
    ours = car([made.cid], [(cid, blocks[cid]) for cid in ordered])
    assert kubo.ipfs("dag", "export", text(made.cid)) == ours


def depth_first(blocks: dict[bytes, bytes], cid: bytes) -> list[bytes]:
    links = _core.block_links(cid, blocks[cid])
    return [cid, *(found for link in links for found in depth_first(blocks, link))]


@pytest.mark.parametrize("codec", ["dag-cbor", "raw"])
def test_a_cid_is_the_same_with_and_without_a_daemon(made: Made, kubo: Daemon, codec: str) -> None:
    put = ("block", "put", f"--cid-codec={codec}", "--mhtype=sha2-256")
    for cid, data in made.blocks:
        if _core.Cid(cid).codec == codec:
            assert kubo.ipfs(*put, stdin=data).decode().strip() == text(cid)
            assert str(_core.cid_of(data, codec)) == text(cid)
    kubo.stop()
    assert kubo.ipfs(*put, stdin=data).decode().strip() == str(_core.cid_of(data, codec))
    kubo.start()


def test_kubo_encodes_our_content_to_the_very_bytes(made: Made, kubo: Daemon) -> None:
    """From JSON, by its own encoder: DAG-CBOR is canonical in both."""
    for cid, data in named(made.blocks):
        content = json.dumps(to_dag_json(_core.decode(data))).encode()
        put = ("dag", "put", "--input-codec=dag-json", "--store-codec=dag-cbor")
        assert kubo.ipfs(*put, stdin=content).decode().strip() == text(cid)


def test_a_block_by_blake3_is_the_one_that_kubo_names(kubo: Daemon) -> None:
    data = b"a large artefact"
    said = kubo.ipfs("block", "put", "--cid-codec=raw", "--mhtype=blake3", stdin=data)
    cid = bytes(_core.Cid(said.decode().strip()))
    assert _core.check_blocks([(cid, data), (cid, data + b"!")]) == [True, False]


def test_a_pin_of_a_version_keeps_all_that_it_needs_and_no_older_version(
    made: Made, kubo: Daemon
) -> None:
    every = dict(made.older_blocks) | dict(made.blocks)
    kubo.ipfs("dag", "import", stdin=car([made.older, made.cid], list(every.items())))
    assert set(kubo.pins()) == {text(made.older), text(made.cid)}
    kubo.ipfs("pin", "rm", text(made.older))
    kubo.ipfs("repo", "gc")
    held = {_core.Cid(cid).digest for cid in kubo.blocks()}
    needed = {_core.Cid(cid).digest for cid, _ in made.blocks}
    assert needed <= held
    gone = {_core.Cid(cid).digest for cid in every} - needed
    assert _core.Cid(made.older).digest in gone
    assert not gone & held


@pytest.mark.holds("S14")
def test_kubo_and_we_refuse_the_same_cut_car(made: Made, kubo: Daemon) -> None:
    whole = car([made.cid], made.blocks)
    ends = [len(car([made.cid], made.blocks[:count])) for count in range(3)]
    for before, after in pairwise(ends):
        for length in (before + 1, (before + after) // 2, after - 1):
            assert kubo.try_ipfs("dag", "import", stdin=whole[:length]).returncode != 0
            with pytest.raises(VerificationError):
                list(read_car(io.BytesIO(whole[:length]))[1])
