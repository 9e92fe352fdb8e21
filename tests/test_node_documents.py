"""Documents of a whole node: in flows, across kills and restores, at the socket, in its files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import audit
from qflow.api import Client, serve, socket_path
from qflow.config import Config
from qflow.errors import (
    DocumentNotFoundError,
    ExecutionFailedError,
    QflowError,
    TypeMismatchError,
)
from qflow.node import Node
from qflow.node import _documents as shared_documents
from qflow.node._documents_open import open_document_view, open_documents
from tests import documents_killed
from tests.engine.flows import head_with
from tests.nodes import verify

pytestmark = pytest.mark.anyio

HEAD = head_with("""{documents: {cart: '${ "cart/" + .who }', stock: stock}}""") + "do:\n"
ADA = {"who": "ada"}


def shop(tasks: str) -> str:
    return f"{HEAD}{tasks}\n"


@asynccontextmanager
async def node(tmp_path: Path, **settings: Any) -> AsyncIterator[Node]:
    async with Node(Config(home=tmp_path / "home", **settings)) as here:
        yield here


async def stands(here: Node, name: str, path: str = "") -> Any:
    return (await here.documents.get(name, path)).value


WRITE = """\
- w:
    call: document
    with:
      document: cart
      set: {/items: {tea: 1, milk: 2}, /raw: {/: {bytes: AAEC}}}
      merge: {"": {items: {tea: 2}, note: '${ .who }'}}
      increment: {/items/milk: 3, /visits: 1}
      append: {/log: [a, b]}
      delete: [/old]
- r: {set: {all: '${ $documents.cart }', tea: '${ $documents.cart.items.tea }'}}"""


async def test_a_flow_writes_a_document_and_reads_what_it_wrote(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        output = await here.run(shop(WRITE), ADA)
        assert output["tea"] == 2
        assert output["all"] == {
            "items": {"tea": 2, "milk": 5},
            "raw": {"/": {"bytes": "AAEC"}},
            "note": "ada",
            "visits": 1,
            "log": ["a", "b"],
        }
    verify(tmp_path / "home")
    async with node(tmp_path) as here:
        assert await stands(here, "cart/ada") == output["all"]
        async with here.documents.opened("cart/ada") as cart:
            assert cart.get("/raw") == b"\x00\x01\x02"


async def test_the_example_sells_out_of_one_stock(tmp_path: Path) -> None:
    example = Path(__file__).parent.parent / "examples" / "stock.yaml"
    async with node(tmp_path) as here:
        for sold in (4, 8):
            output = await here.run(example, {"item": "tea", "pieces": 2})
            assert output == {"sold": {"tea": sold}}


async def test_nothing_is_there_of_a_document_that_nobody_wrote(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        flow = shop("- r: {set: {all: '${ $documents.cart }', x: '${ $documents.stock.a.b }'}}")
        assert await here.run(flow, ADA) == {"all": {}, "x": None}
        assert [item async for item in here.documents.list()] == []


async def test_what_was_read_is_a_sealed_fact_with_the_clock_of_the_document(
    tmp_path: Path,
) -> None:
    async with node(tmp_path) as here:
        await here.documents.change("stock", [("set", "/a", {"b": "found", "c": 1})])
        execution = await here.start(shop("- r: {set: {x: '${ $documents.stock.a.b }'}}"), ADA)
        await here.wait(execution)
        (read,) = [
            record
            for record in here.history(execution, payloads=True)
            if record["type"] == "q.qflow.exec.documents_read.v1"
        ]
        assert read["step"] == "/do/0/r"
        assert read["value"]["stock"]["value"] == {"a": {"b": "found"}}
        clock = shared_documents.clock_of(read["value"]["stock"]["clock"])
        await here.documents.change("stock", [("set", "/a/b", "changed")])
        assert (await here.documents.get("stock", "/a/b", at=clock)).value == "found"
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert {"state.db", "index.db"} < {path.name for path in files}
    kept = b"".join(path.read_bytes() for path in files)
    assert b"found" not in kept
    assert b"changed" not in kept


@pytest.mark.holds("C4")
async def test_branches_and_executions_that_write_at_once_all_count(tmp_path: Path) -> None:
    branches = "\n".join(
        f"      - b{n}: {{call: document, with: {{document: stock, increment: {{/sum: {n}}},"
        f" append: {{/log: [{n}]}}}}}}"
        for n in range(8)
    )
    flow = shop(f"- f:\n    fork:\n      branches:\n{branches}\n- r: {{set: {{x: 1}}}}")
    async with node(tmp_path) as here:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(here.run, flow, ADA)
        assert await stands(here, "stock", "/sum") == 5 * sum(range(8))
        assert sorted(await stands(here, "stock", "/log")) == sorted([*range(8)] * 5)


@pytest.mark.holds("C11", "E2")
@pytest.mark.parametrize("moment", documents_killed.MOMENTS)
@pytest.mark.parametrize("at", [0, 2])
async def test_a_kill_at_any_moment_of_a_write_leaves_it_done_once(
    tmp_path: Path, moment: str, at: int
) -> None:
    words = [documents_killed.__file__, tmp_path / "home", moment, at]
    root = Path(documents_killed.__file__).parent.parent
    killed = await anyio.run_process(
        [sys.executable, *map(str, words)], check=False, cwd=root, stderr=subprocess.PIPE
    )
    assert killed.returncode == -9, killed.stderr
    async with node(tmp_path) as here:
        (execution,) = [view.id for view in here.list()]
        done = await here.wait(execution)
        assert done.output == {"sum": 6, "log": [1, 2, 3]}
        assert await stands(here, "tally/killed") == {"sum": 6, "log": [1, 2, 3]}
    verify(tmp_path / "home")


@pytest.mark.holds("C11")
async def test_a_retry_of_what_is_behind_a_write_does_not_write_again(tmp_path: Path) -> None:
    tasks = """\
- t:
    try:
    - w: {call: document, with: {document: cart, increment: {/n: 1}}}
    - bad:
        if: $documents.cart.fine != true
        raise: {error: {type: 'https://e.com/x', status: 500}}
    catch: {retry: {delay: {milliseconds: 1}, limit: {attempt: {count: 4}}}}"""
    async with node(tmp_path) as here:
        with pytest.raises(ExecutionFailedError):
            await here.run(shop(tasks), ADA)
        assert await stands(here, "cart/ada") == {"n": 1}


async def test_what_a_document_refuses_can_be_caught_and_writes_nothing(tmp_path: Path) -> None:
    tasks = """\
- t:
    try:
    - w: {call: document, with: {document: cart, set: {/a: text}, increment: {/a/b: 1}}}
    catch: {as: e, do: [{c: {set: {status: '${ $e.status }', title: '${ $e.title }'}}}]}"""
    async with node(tmp_path) as here:
        output = await here.run(shop(tasks), ADA)
        assert output == {"status": 400, "title": "The document cannot be written"}
        assert await stands(here, "cart/ada") == {}


@pytest.mark.parametrize("by", ["null", "1.5", "'2'", "true"])
@pytest.mark.holds("C9")
async def test_what_is_no_whole_number_is_no_increment_and_can_be_caught(
    tmp_path: Path, by: str
) -> None:
    tasks = f"""\
- t:
    try:
    - w: {{call: document, with: {{document: cart, increment: {{/a: '${{ {by} }}'}}}}}}
    catch: {{as: e, do: [{{c: {{set: {{status: '${{ $e.status }}'}}}}}}]}}"""
    async with node(tmp_path) as here:
        assert await here.run(shop(tasks.replace("'2'", '"2"')), ADA) == {"status": 400}
        assert await stands(here, "cart/ada") == {}


@pytest.mark.holds("C9")
@pytest.mark.parametrize(
    "change",
    [
        ("increment", "/n", None),
        ("increment", "/n", 1.0),
        ("append", "/l", "abc"),
        ("merge", "/m", [1]),
        ("get", "/a", 1),
        ("close", "/a", 1),
        ("__init__", "/a", 1),
        ("nope", "/a", 1),
    ],
)
async def test_the_socket_takes_only_changes_of_their_types(
    tmp_path: Path, change: tuple[str, str, Any]
) -> None:
    home = tmp_path / "home"
    async with node(tmp_path) as here, serve(here, socket_path(home)), Client(home) as far:
        with pytest.raises((QflowError, ValueError)):
            await far.documents.change("a", [change])
        assert await stands(here, "a") == {}


async def test_a_damaged_document_is_found_with_all_that_is_stored(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.documents.change("a", [("set", "/a", 1)])
        assert [one async for one in here.states.verify([])][-1].result.ok
        spoil = "UPDATE block_data SET data = zeroblob(length(data))"
        here._stored.blocks.database.write(lambda db: db.execute(spoil).rowcount)
        found = [one async for one in here.states.verify([])][-1].result
        assert not found.ok
        assert found.findings[0].execution is None


async def test_more_than_a_record_holds_fails_the_step_that_reads_it(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        for n in range(24):
            await here.documents.change("stock", [("set", f"/big/{n}", "x" * 60_000)])
        with pytest.raises(ExecutionFailedError) as caught:
            await here.run(shop("- r: {set: {x: '${ $documents.stock.big }'}}"), ADA)
        problem = caught.value.problem
        assert problem is not None
        assert problem["title"] == "What was read cannot be recorded"
        assert "1048576 are allowed" in problem["detail"]
        part = shop("- r: {set: {x: '${ $documents.stock.big.\"7\" | length }'}}")
        assert await here.run(part, ADA) == {"x": 60_000}


@pytest.mark.holds("E3")
async def test_a_restart_goes_on_from_what_was_read_before_it(tmp_path: Path) -> None:
    tasks = """\
- r: {set: {x: '${ $documents.stock.n }'}}
- hear: {listen: {to: {one: {with: {type: go}}}}, output: {as: $documents.stock.n}}"""
    from qflow.events import CloudEvent

    async with node(tmp_path) as here:
        await here.documents.change("stock", [("set", "/n", 1)])
        execution = await here.start(shop(tasks), ADA)
        while here.show(execution).status != "waiting":
            await anyio.lowlevel.checkpoint()
        await here.documents.change("stock", [("set", "/n", 2)])
    async with node(tmp_path) as here:
        await here.emit(CloudEvent(id="1", source="urn:t", type="go", data=None))
        done = await here.wait(execution)
        assert done.output == 1
    report = audit.verify(tmp_path / "home" / "log", tmp_path / "home" / "node.pub")
    assert report.ok


async def test_documents_used_longest_ago_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.state._documents.OPEN_MAX", 2)
    async with node(tmp_path) as here:
        for n in range(5):
            await here.documents.change(f"d/{n}", [("increment", "/n", n)])
        assert [await stands(here, f"d/{n}", "/n") for n in range(5)] == [0, 1, 2, 3, 4]
        async with here.documents.opened("d/0") as first:
            for n in range(1, 5):
                await here.documents.change(f"d/{n}", [("increment", "/n", n)])
            assert not first.closed


# -- the socket and the files --------------------------------------------------------------


async def ask(keeper: Any) -> None:
    """Use whatever keeps documents."""
    done = await keeper.change("a/b", [("set", "/x", {"y": [1, {"/": {"bytes": "AAEC"}}]})])
    await keeper.change("a/b", [("increment", "/n", 2)], operation="one")
    await keeper.change("a/b", [("increment", "/n", 2)], operation="one")
    found = await keeper.get("a/b")
    assert found.value == {"x": {"y": [1, {"/": {"bytes": "AAEC"}}]}, "n": 2}
    assert (await keeper.get("a/b", "/n", at=done.clock)).found is False
    assert (await keeper.get("a/b", "/none")).found is False
    assert [item.name async for item in keeper.list()] == ["a/b"]
    assert [item async for item in keeper.conflicts("a/b")] == []
    history = [item async for item in keeper.history("a/b", "/n", limit=5)]
    assert [(item.path, item.value) for item in history] == [("/n", 2)]
    with pytest.raises(DocumentNotFoundError):
        await keeper.get("none")
    with pytest.raises(TypeMismatchError):
        await keeper.change("a/b", [("increment", "/x", 1)])
    for wrong in [("set", "x", 1), ("set", "/a/..", 1), ("set", "/a", {"/": 3})]:
        with pytest.raises(QflowError) as caught:
            await keeper.change("a/b", [wrong])
        assert type(caught.value) is QflowError
    with pytest.raises(QflowError, match="not a clock of a/b"):
        await keeper.get("a/b", at=b"never")


async def test_the_socket_answers_as_the_node_does(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with node(tmp_path) as here, serve(here, socket_path(home)), Client(home) as far:
        await ask(far.documents)


async def test_the_files_of_a_home_answer_while_no_node_runs(tmp_path: Path) -> None:
    config = Config(home=tmp_path / "home")
    async with open_documents(config) as keeper:
        await ask(keeper)
    async with open_document_view(config) as keeper:
        assert (await keeper.get("a/b", "/n")).value == 2
    async with node(tmp_path) as here:
        assert await stands(here, "a/b", "/n") == 2


@pytest.mark.holds("C3", "C11")
async def test_a_compaction_that_is_asked_for_changes_no_value(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with node(tmp_path) as here, serve(here, socket_path(home)), Client(home) as far:
        for n in range(50):
            await far.documents.change("a/b", [("increment", "/n", n)], operation=f"op{n}")
        before = (await far.documents.get("a/b")).value
        done = await far.documents.compact("a/b")
        assert (done.operations, done.kept) == (50, 0)
        assert done.snapshot is not None
        assert (await far.documents.get("a/b")).value == before
        # What was compacted was done: again is a no-op.
        await far.documents.change("a/b", [("increment", "/n", 1)], operation="op7")
        assert (await far.documents.get("a/b")).value == before
        (listed,) = [item async for item in far.documents.list()]
        assert listed.operations == 0
