"""Every record that a node really writes is an event of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow import _core
from qflow.config import Config
from qflow.events import CloudEvent, record_event, validate
from qflow.node import Node

FLOW = """\
document: {dsl: '1.0.3', namespace: t, name: everything, version: '1.0.0'}
do:
- skipped: {if: 'false', set: {x: 1}}
- guard:
    try: [{bad: {raise: {error: {type: 'https://e.com/e', status: 500, title: Bad}}}}]
    catch: {do: [{mend: {set: {ok: true}}}]}
- wait: {wait: {milliseconds: 1}, metadata: {qflow: {checkpoint: true}}}
- hear: {listen: {to: {one: {with: {type: go}}}}}
- tell: {emit: {event: {with: {source: 'urn://x', type: done}}}}
"""
ABORTED = """\
document: {dsl: '1.0.3', namespace: t, name: aborted, version: '1.0.0'}
schedule: {every: PT1H}
do: [{w: {wait: PT1H}}]
"""


@pytest.mark.anyio
@pytest.mark.holds("H10", "H11")
async def test_records_fit_the_catalogue_and_name_their_flow(tmp_path: Path) -> None:
    async with Node(Config(home=tmp_path)) as node:
        execution = await node.start(FLOW)
        event = CloudEvent(id="1", source="urn:t", type="go")
        async with node.subscribe("*.suspended.v1") as events:
            while not await node.emit(event):
                await anext(aiter(events))
        await node.wait(execution)
        other = await node.start(ABORTED)
        await node.pause(other)
        await node.resume(other)
        await node.abort(other)
        await node.unschedule(await node.schedule(ABORTED))
        failed = await node.start(
            FLOW.replace("catch: {do", "catch: {errors: {with: {status: 1}}, do")
        )
        assert (await node.wait(failed)).status == "faulted"
        assert node.status()["executions"] | {"running": 0} == {
            "running": 0, "waiting": 0, "paused": 0, "completed": 1, "faulted": 1, "aborted": 1,
        }  # fmt: skip
        records, _, _ = node._log.scan(0, 1 << 20)
    types = set()
    for _, _, data in records:
        record = _core.decode_record(data)
        assert record["flow"]
        types.add(record["type"])
        validate(record_event(record, source="did:key:zTest"))
    assert len(types) >= 16
