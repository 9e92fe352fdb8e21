"""Two real nodes: one's heads are cosigned by the other, over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from qflow import _core, audit
from qflow.config import load_config
from qflow.errors import ConfigError, UnavailableError
from qflow.node import Node
from qflow.trust import NodeKey, load_or_create_key
from tests.nodes import until, verify

pytestmark = pytest.mark.anyio

FLOW: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "test", "name": "one", "version": "1.0.0"},
    "do": [{"one": {"set": {"done": True}}}],
}


def witness_key(key: NodeKey) -> str:
    return _core.generate_witness_vkey(key.origin, key.seed)


def policy_line(key: NodeKey, url: str) -> str:
    return f"witness w {witness_key(key)} {url}/witness\nquorum w\n"


@asynccontextmanager
async def nodes(folder: Path, *, knows: bool = True) -> AsyncIterator[tuple[Node, Node, Path]]:
    """A node whose heads are witnessed by another; the policy that says so."""
    ours, theirs = load_or_create_key(folder / "a"), load_or_create_key(folder / "b")
    logs = [ours.vkey] if knows else []
    other = load_config(home=folder / "b", server={"listen": "127.0.0.1:0"}, witness={"logs": logs})
    async with Node(other) as witness:
        policy = folder / "policy.txt"
        policy.write_text(policy_line(theirs, witness.status()["listens"]))
        settings = {"policy": policy, "every_s": 0.0}
        async with Node(load_config(home=folder / "a", witness=settings)) as node:
            yield node, witness, policy


def standing(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = node.status()["witnesses"]
    return found


def has_cosigned(node: Node) -> bool:
    found = standing(node)
    return bool(found["met"]) and found["size"] == node.status()["size"]


@pytest.mark.holds("H16")
async def test_what_a_flow_records_is_witnessed_by_another_node(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (node, witness, policy):
        for _ in range(3):
            await node.run(FLOW)
            await until(lambda: has_cosigned(node))
        (one,) = standing(node)["witnesses"]
        assert (one["problem"], one["size"]) == (None, node.status()["size"])
        note = (tmp_path / "a" / "log" / "witnessed").read_bytes()
        assert audit.load_policy(policy).is_met(note)
        assert witness.status()["listens"].startswith("http://127.0.0.1:")
    for home in ("a", "b"):
        verify(tmp_path / home)
    log, key = tmp_path / "a" / "log", tmp_path / "a" / "node.pub"
    assert audit.verify(log, key, policy=policy).verdict == audit.Verdict.WITNESSED
    (log / "witnessed").unlink()
    assert audit.verify(log, key, policy=policy).verdict == audit.Verdict.UNANCHORED


async def test_a_witness_that_does_not_know_the_log_is_reported(tmp_path: Path) -> None:
    async with nodes(tmp_path, knows=False) as (node, _, _):
        await until(lambda: standing(node)["unmet_since_ms"])
        (one,) = standing(node)["witnesses"]
        assert one["problem"] == "it answered 404"
        await node.run(FLOW)


@pytest.mark.holds("H16")
async def test_a_node_on_a_restored_backup_learns_so_from_its_witness(tmp_path: Path) -> None:
    home, backup = tmp_path / "a", tmp_path / "backup"
    async with nodes(tmp_path) as (node, _, _):
        await until(lambda: has_cosigned(node))
    shutil.copytree(home, backup)
    async with nodes(tmp_path) as (node, _, _):
        await node.run(FLOW)
        await until(lambda: has_cosigned(node))
    shutil.rmtree(home)
    shutil.copytree(backup, home)
    async with nodes(tmp_path) as (node, _, _):
        await until(lambda: standing(node)["witnesses"][0]["problem"])
        (one,) = standing(node)["witnesses"]
        assert one["is_fork"]
        assert not standing(node)["met"]
    verify(home)


async def test_the_log_is_served_only_when_the_settings_say_so(tmp_path: Path) -> None:
    for serve_log, status in ((False, 404), (True, 200)):
        server = {"listen": "127.0.0.1:0", "serve_log": serve_log}
        async with Node(load_config(home=tmp_path, server=server)) as node:
            await node.run(FLOW)
            async with httpx2.AsyncClient(base_url=node.status()["listens"]) as client:
                with anyio.fail_after(20):
                    while (response := await client.get("/log/checkpoint")).status_code != status:
                        await anyio.lowlevel.checkpoint()
                assert (await client.get("/witness/add-checkpoint")).status_code == 405
        if serve_log:
            key = load_or_create_key(tmp_path)
            assert _core.parse_checkpoint(response.content, key.vkey)[0] >= 0


async def test_a_node_without_these_settings_listens_to_nobody(tmp_path: Path) -> None:
    async with Node(load_config(home=tmp_path)) as node:
        assert not {"listens", "witnesses"} & node.status().keys()
    assert not (tmp_path / "witness.db").exists()


async def test_a_policy_that_cannot_be_read_keeps_the_node_from_starting(tmp_path: Path) -> None:
    for text in (None, "quorum nobody\n"):
        policy = tmp_path / "policy"
        if text is not None:
            policy.write_text(text)
        with pytest.raises(ConfigError, match="policy"):
            async with Node(load_config(home=tmp_path / "a", witness={"policy": policy})):
                pass


async def test_an_address_that_is_taken_keeps_the_node_from_starting(tmp_path: Path) -> None:
    async with Node(load_config(home=tmp_path / "a", server={"listen": "127.0.0.1:0"})) as node:
        address = node.status()["listens"].removeprefix("http://")
        with pytest.raises(UnavailableError, match="cannot listen"):
            async with Node(load_config(home=tmp_path / "b", server={"listen": address})):
                pass
        assert (await node.run(FLOW)) == {"done": True}
