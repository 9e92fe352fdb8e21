from __future__ import annotations

import inspect
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow.api import Client, Control, actor_of, serve, socket_path, to_json
from qflow.api._control import CALLS_IN_FLIGHT_MAX, CONNECTIONS_MAX
from qflow.api._methods import METHODS
from qflow.api._socket import SUN_PATH_BYTES_MAX, connect
from qflow.api._wire import LINE_BYTES_MAX, Lines
from qflow.errors import (
    BusyError,
    ExecutionNotFoundError,
    ExecutionStateError,
    LockedError,
    QflowError,
    UnavailableError,
)
from qflow.events import CloudEvent
from tests.api.stand_in import FLOW, StandIn

pytestmark = pytest.mark.anyio
SECONDS_MAX = 10.0


@asynccontextmanager
async def served(home: Path) -> AsyncIterator[tuple[StandIn, Client, Control]]:
    node = StandIn()
    with anyio.fail_after(SECONDS_MAX):
        async with serve(node, socket_path(home)) as control, Client(home) as client:
            yield node, client, control


@asynccontextmanager
async def raw(home: Path) -> AsyncIterator[Lines]:
    lines = Lines(connect(socket_path(home)))
    try:
        yield lines
    finally:
        await anyio.aclose_forcefully(lines)


def test_every_method_has_an_answer() -> None:
    # What is read from the socket is made without the check that instances are made with.
    assert METHODS
    assert not [name for name, kind in METHODS.items() if inspect.isabstract(kind)]


async def test_calls_answer_as_the_node_does(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        execution = await client.start(FLOW, {"orders": 2})
        assert (await client.show(execution[:20])) == node.show(execution)
        assert [item.id for item in await client.list()] == [execution]
        assert await client.list(status="paused") == []
        await client.pause(execution, reason="lunch")
        await client.resume(execution)
        facts = [item["type"] for item in await client.history(execution)]
        assert facts == [f"q.qflow.exec.{fact}.v1" for fact in ("created", "paused", "resumed")]
        assert (await client.history(execution, limit=1))[0]["value"] == {"orders": 2}
        await client.abort(execution)
        assert (await client.status())["size"] == 7


async def test_schedules_and_events_answer_as_the_node_does(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        key = await client.schedule(FLOW)
        assert [item.key for item in await client.schedules()] == [key] == ["test/small"]
        await client.unschedule(key)
        assert await client.schedules() == []
        event = CloudEvent(id="1", source="/shop", type="com.example.paid", data={"by": "ada"})
        execution = await client.start(FLOW)
        assert await client.emit(event) == [execution]
        assert node.emitted == [event]


async def test_errors_arrive_as_the_classes_that_the_node_raised(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, _control):
        with pytest.raises(ExecutionNotFoundError, match="no execution 'zz'"):
            await client.show("zz")
        execution = await client.start(FLOW)
        await client.pause(execution)
        with pytest.raises(ExecutionStateError):
            await client.pause(execution)
        with pytest.raises(ExecutionNotFoundError):
            async for _item in client.follow("zz"):
                pass


async def test_records_name_the_user_that_the_kernel_vouches_for(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        await client.start(FLOW)
        assert node.actors == [actor_of(os.getuid())]


async def test_follow_gives_old_and_new_records_and_ends_with_the_execution(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (node, client, _):
        execution = await client.start(FLOW)
        seen: list[str] = []
        async for record in client.follow(execution):
            seen.append(record["type"].split(".")[3])
            if seen == ["created"]:
                node.add(execution, "step_completed")
                node.add(execution, "completed", value={"hello": "world"})
        assert seen == ["created", "step_completed", "completed"]


async def test_wait_returns_when_the_execution_is_over(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        execution = await client.start(FLOW)
        async with anyio.create_task_group() as tasks:

            async def finish() -> None:
                node.add(execution, "completed")
                node.over.set()

            tasks.start_soon(finish)
            assert (await client.wait(execution)).status == "completed"


async def test_no_event_is_missed_between_subscribing_and_reading(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _), client.subscribe("com.*") as events:
        for number in range(3):
            node.bus.publish(CloudEvent(id=str(number), source="/x", type="com.example.paid"))
        node.bus.publish(CloudEvent(id="other", source="/x", type="org.example.paid"))
        assert [(await anext(events)).id for _ in range(3)] == ["0", "1", "2"]


async def test_a_subscription_ends_with_its_client(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        async with client.subscribe():
            assert len(node.bus._subscribers) == 1
        while node.bus._subscribers:
            await anyio.lowlevel.checkpoint()


async def test_a_start_is_carried_out_when_its_client_leaves(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, _, _control):
        node.starting = anyio.Event()
        async with raw(tmp_path) as lines:
            params = {"flow": {"document": FLOW}}
            await lines.send({"id": 1, "method": "start", "params": params})
            await node.asked.wait()
        node.starting.set()
        while not node.executions:
            await anyio.lowlevel.checkpoint()


async def test_several_calls_share_a_connection(tmp_path: Path) -> None:
    async with served(tmp_path), raw(tmp_path) as lines:
        for number in range(100):
            await lines.send({"id": number, "method": "status", "params": {}})
        answers = [await lines.receive() for _ in range(100)]
        assert sorted(answer["id"] for answer in answers) == [*range(100)]


async def test_calls_that_wait_are_bounded_and_end_with_their_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        execution = await client.start(FLOW)
        async with raw(tmp_path) as lines:
            for number in range(CALLS_IN_FLIGHT_MAX + 1):
                params = {"execution": execution}
                await lines.send({"id": number, "method": "wait", "params": params})
            answer = await lines.receive()
            assert (answer["id"], answer["error"]["type"]) == (CALLS_IN_FLIGHT_MAX, "BusyError")
            assert node.waiting == CALLS_IN_FLIGHT_MAX
        while node.waiting:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"id": 5, "method": "reboot", "params": {}}, "knows no call 'reboot'"),
        ({"id": 5, "method": "show", "params": {}}, "missing required field `execution`"),
        ({"id": 5, "method": "show", "params": {"execution": 7}}, "Expected `str`"),
        ({"id": 5, "method": "list", "params": {"sort": "x"}}, "unknown field `sort`"),
    ],
)
async def test_a_call_that_is_wrong_is_refused_and_the_next_is_answered(
    tmp_path: Path, request_: dict[str, Any], says: str
) -> None:
    async with served(tmp_path), raw(tmp_path) as lines:
        await lines.send(request_)
        answer = await lines.receive()
        assert answer["id"] == 5
        assert says in answer["error"]["message"]
        await lines.send({"id": 6, "method": "hello", "params": {}})
        assert (await lines.receive())["result"]["protocol"] == 1


@pytest.mark.parametrize(
    "line", [b"hello\n", b'{"id":1,"id":2}\n', b"[]\n", b'{"id":"x","method":"hello"}\n']
)
async def test_what_is_no_request_ends_its_connection_alone(tmp_path: Path, line: bytes) -> None:
    async with served(tmp_path) as (_, client, _control), raw(tmp_path) as lines:
        await lines._stream.send(line)
        assert (await lines.receive())["error"]["type"] == "QflowError"
        with pytest.raises(anyio.EndOfStream):
            await lines.receive()
        await client.status()


async def test_a_line_without_end_is_cut_off(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, _control), raw(tmp_path) as lines:
        with pytest.raises(anyio.BrokenResourceError):
            await lines._stream.send(b"x" * (LINE_BYTES_MAX + (3 << 20)))
        await client.status()


async def test_a_request_that_is_too_long_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, _control):
        with pytest.raises(QflowError, match="cannot be sent"):
            await client.start(FLOW, "x" * LINE_BYTES_MAX)


async def test_more_connections_than_allowed_are_told_that_it_is_busy(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, _control), anyio.create_task_group() as tasks:
        opened = []
        try:
            for _ in range(CONNECTIONS_MAX):
                opened.append(Lines(connect(socket_path(tmp_path))))
                await opened[-1].send({"id": 1, "method": "hello", "params": {}})
                await opened[-1].receive()
            with pytest.raises(BusyError):
                await client.status()
        finally:
            for lines in opened:
                tasks.start_soon(lines.aclose)


async def test_no_node_is_said_clearly(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UnavailableError, match="no node runs"):
            async with Client(home):
                pass


async def test_a_node_that_stops_ends_the_calls_that_wait(tmp_path: Path) -> None:
    failed: list[UnavailableError] = []
    node = StandIn()
    started = anyio.Event()

    async def watch() -> None:
        try:
            async for _ in Client(tmp_path).follow(execution):
                started.set()
        except UnavailableError as error:
            failed.append(error)

    with anyio.fail_after(SECONDS_MAX):
        async with anyio.create_task_group() as tasks, serve(node, socket_path(tmp_path)):
            execution = await Client(tmp_path).start(FLOW)
            tasks.start_soon(watch)
            await started.wait()
    assert "stopped" in str(failed[0])


async def test_stop_is_a_wish_that_whoever_serves_hears(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, control):
        await client.stop()
        assert control.stop_requested.is_set()


async def test_the_socket_is_for_its_owner_alone_and_goes_with_the_node(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    async with served(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_dead_nodes_socket_is_replaced(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    assert path.exists()
    async with served(tmp_path) as (_, client, _control):
        await client.status()


async def test_a_living_nodes_socket_is_not_replaced(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, _control):
        with pytest.raises(LockedError):
            async with serve(StandIn(), socket_path(tmp_path)):
                pass
        await client.status()


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    socket_path(tmp_path).write_text("precious")
    with pytest.raises(UnavailableError, match="in the way"):
        async with serve(StandIn(), socket_path(tmp_path)):
            pass
    assert socket_path(tmp_path).read_text() == "precious"


async def test_a_home_deeper_than_a_socket_address_works(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 20) / ("deeper" * 10)
    home.mkdir(parents=True)
    assert len(os.fsencode(socket_path(home))) > SUN_PATH_BYTES_MAX
    async with served(home) as (_, client, _control):
        await client.status()
        assert socket_path(home).exists()
    assert not socket_path(home).exists()


async def test_an_answer_is_one_line(tmp_path: Path) -> None:
    async with served(tmp_path) as (node, client, _):
        execution = await client.start(FLOW, "two\nlines\u2028")
        assert (await client.history(execution))[0]["value"] == "two\nlines\u2028"
        assert b"\n" not in to_json(node.records[execution])
