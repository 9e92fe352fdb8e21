"""Reports on record: by a running node and without one, signed or not there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from qflow import _core
from qflow.api import Client, serve, socket_path
from qflow.audit._own import own_chain
from qflow.audit.compliance import Scope, Signed, load_report, load_rules, verify_signed
from qflow.audit.compliance import _make as make_module
from qflow.audit.compliance._store import REPORTED
from qflow.config import Config
from qflow.errors import (
    BusyError,
    ExecutionNotFoundError,
    SigningKeyError,
    VerificationError,
)
from qflow.events import record_event, validate
from qflow.node import Node
from qflow.node._compliance import Part
from qflow.testing import ManualClock
from tests.nodes import verify

pytestmark = pytest.mark.anyio

FLOW = """\
document: {dsl: '1.0.3', namespace: bank, name: pay, version: '1.0.0'}
do: [{a: {set: {x: 1}}}]
"""


async def signed_of(parts: AsyncGenerator[Any, None]) -> Signed:
    envelope, blocks = b"", {}
    async with aclosing(parts):
        async for part in parts:
            if part.what == "envelope":
                envelope = part.data
            elif part.what == "block":
                blocks[part.cid] = part.data
    return Signed(envelope=envelope, blocks=blocks)


def reported(node: Node) -> list[dict[str, Any]]:
    records, _, _ = node._log.scan(0, 1 << 20)
    decoded = (_core.decode_record(data) for _, _, data in records)
    return [record for record in decoded if record["type"] == REPORTED]


@pytest.mark.holds("H12")
async def test_a_node_stores_what_it_signed_and_shows_it_verified(tmp_path: Path) -> None:
    async with Node(Config(home=tmp_path), clock=ManualClock()) as node:
        await node.run(FLOW, {}, actor="anonymous")
        made = await signed_of(node.compliance.comply(load_rules(), Scope(), actor="ann"))
        report = verify_signed(made, node._key.vkey).report
        assert (report.outcome.executions, report.findings) == (1, 1)
        (stored,) = await node.compliance.reports()
        assert (stored.id, stored.actor, stored.meta["errors"]) == (report.id, "ann", 1)
        again = await signed_of(node.compliance.report(report.id[:20]))
        assert again == made
        (record,) = reported(node)
        validate(record_event(record, source="did:key:zTest"))
        with pytest.raises(ExecutionNotFoundError):
            await signed_of(node.compliance.report("7"))
    verify(tmp_path)
    async with Node(Config(home=tmp_path), clock=ManualClock()) as node:
        assert await signed_of(node.compliance.report(report.id)) == made


@pytest.mark.holds("H12")
@pytest.mark.parametrize("stored", [b"", b"{}", b"\xff", "text", None, {"findings": 0}])
async def test_a_stored_copy_that_nobody_signed_is_refused(tmp_path: Path, stored: Any) -> None:
    async with Node(Config(home=tmp_path), clock=ManualClock()) as node:
        meta = {"report": "01hf0000000000000000000000", "rules": "", "size": 1}
        await node._own.append([(REPORTED, None, None, (stored,), meta)], "eve")
        with pytest.raises(VerificationError):
            await signed_of(node.compliance.report("01hf"))


@pytest.mark.holds("H12")
async def test_a_report_that_stands_in_for_another_is_refused(tmp_path: Path) -> None:
    async with Node(Config(home=tmp_path), clock=ManualClock()) as node:
        made = await signed_of(node.compliance.comply(load_rules(), Scope(), actor="ann"))
        meta = {"report": "01hf0000000000000000000000", "rules": "", "size": 1}
        await node._own.append([(REPORTED, None, None, (made.envelope,), meta)], "eve")
        with pytest.raises(VerificationError, match="holds report"):
            await signed_of(node.compliance.report("01hf0000000000000000000000"))


@pytest.mark.holds("H4", "H12")
async def test_what_cannot_be_signed_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Signed:
        raise SigningKeyError("there is no key")

    async with Node(Config(home=tmp_path), clock=ManualClock()) as node:
        monkeypatch.setattr(make_module, "sign", refuse)
        with pytest.raises(SigningKeyError):
            await signed_of(node.compliance.comply(load_rules(), Scope(), actor="ann"))
        assert reported(node) == []
        assert await node.compliance.reports() == []


async def test_a_report_that_the_log_has_no_room_for_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise BusyError("no room")

    async with Node(Config(home=tmp_path), clock=ManualClock()) as node:
        with monkeypatch.context() as patch:
            patch.setattr(node._log, "submit", full)
            with pytest.raises(BusyError):
                await signed_of(node.compliance.comply(load_rules(), Scope(), actor="ann"))
        assert await node.compliance.reports() == []
        await signed_of(node.compliance.comply(load_rules(), Scope(), actor="ann"))
        assert len(await node.compliance.reports()) == 1
    verify(tmp_path)


async def test_many_findings_are_stored_in_blocks_beside_the_record(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Node(Config(home=tmp_path), clock=clock) as node:
        for _ in range(60):
            await node.start(FLOW, {}, actor="anonymous")
        made = await signed_of(node.compliance.comply(load_rules(), Scope(), actor="ann"))
        report, loaded = load_report(node._history, own_chain(node._key.public), "", node._key.vkey)
        assert loaded == made
        assert report.findings == 60


async def test_a_client_gets_the_same_over_the_socket(tmp_path: Path) -> None:
    rules = "version = 1\n[[rule]]\nid = 'x'\nkind = 'forbidden-flow'\nflow = 'pay'\ntext = 'no'\n"
    async with (
        Node(Config(home=tmp_path), clock=ManualClock()) as node,
        serve(node, socket_path(tmp_path)),
        Client(tmp_path) as client,
    ):
        await client.start(FLOW)
        parts = [part async for part in client.comply(rules, source="mine.toml", flow="bank/*")]
        assert parts[0]["what"] == "progress"
        (listed,) = await client.reports()
        assert listed["meta"]["findings"] == 1
        assert listed["actor"].startswith("local")
        shown = [part async for part in client.report(listed["id"])]
        assert shown == [part for part in parts if part["what"] != "progress"]
        assert Part(what="envelope").what == shown[0]["what"]
