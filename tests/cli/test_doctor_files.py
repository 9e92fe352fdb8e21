"""What the doctor says of key files that do not fit, and of the node that runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from anyio.from_thread import start_blocking_portal
from typer.testing import Result

from qflow.api import serve, socket_path
from qflow.cli._exit import hint_of
from qflow.config import Config
from qflow.errors import CorruptError, StaleError
from qflow.node import Node
from qflow.trust import Keyring, load_or_create_key
from tests.cli.test_keys import FLOW, WAITING
from tests.cli.test_witness import check

Run = Callable[..., Result]


def used(home: Path) -> None:
    """A node ran there, and its subnet keys were rotated."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Node(Config(home=home))) as node,
    ):
        portal.call(node.run, FLOW, "x")
        portal.call(node.start, WAITING)
        portal.call(node.list)  # The index is not behind.
    keyring = Keyring(home, lambda: load_or_create_key(home).seed)
    keyring.hold()
    keyring.rotate()
    keyring.note_ring()
    keyring.close()


def cut(home: Path, size: int) -> None:
    os.truncate(home / "keys", size)


def exchange(home: Path) -> None:
    other = home.parent / "other"
    used(other)
    shutil.copy(other / "keys", home / "keys")


def damage(home: Path) -> None:
    with (home / "state.db").open("r+b") as file:
        file.write(b"damaged")


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        (exchange, "keys", "keys is not of this node's key"),
        (lambda home: (home / "subnet.keys").unlink(), "keys", "subnet.keys is an older copy"),
        (lambda home: cut(home, 2200), "keys", "keys has no key of 1 unfinished execution"),
        (lambda home: cut(home, 0), "keys", "keys: its header is damaged"),
        (lambda home: cut(home, 4100), "keys", "keys has no key of 1 unfinished execution"),
        (damage, "states", "state.db is damaged"),
    ],
    ids=["exchanged", "no-subnet", "cut", "empty", "short", "states"],
)
def test_files_that_do_not_fit_are_named_before_a_start(
    qflow: Run, home: Path, harm: Callable[[Path], None], name: str, words: str
) -> None:
    used(home)
    assert check(qflow("doctor", "--json"), "keys")["status"] == "OK"
    harm(home)
    before = (home / "keys").read_bytes()
    found = check(qflow("doctor", "--json"), name)
    assert (found["status"], words in found["found"]) == ("FAIL", True), found
    assert (home / "keys").read_bytes() == before


def test_keys_cut_off_before_a_start_were_not_exchanged_meanwhile(home: Path) -> None:
    used(home)
    cut(home, 2200)
    node = Node(Config(home=home))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(node):
        assert portal.call(node.run, FLOW, "x") == "x"


@pytest.mark.parametrize("name", ["state.db", "keys", "adopted.keys", "subnet.keys"])
def test_damage_of_a_file_beside_the_log_is_not_for_the_audit(name: str) -> None:
    for message in (f"/a/home/{name} is damaged: so", f"/a/home/{name}: so"):
        assert "audit verify" not in (hint_of(CorruptError(message)) or "audit verify")
    assert "audit verify" in (hint_of(CorruptError("/a/home/log: damaged")) or "")


def test_the_process_of_the_node_and_what_it_keeps_shut(qflow: Run, home: Path) -> None:
    node = Node(Config(home=home))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(node),
        portal.wrap_async_context_manager(serve(node, socket_path(home))),
    ):
        execution = portal.call(node.start, WAITING)
        found = check(qflow("doctor", "--json"), "node")
        assert (found["status"], found["pid"]) == ("OK", os.getpid())
        assert f"runs as process {os.getpid()}" in found["found"]
        assert shown(qflow, execution)["shut"] is None
        # The commands' stderr, where lines go since, is closed by now.
        structlog.reset_defaults()
        ledger: Any = node._engine._ledger
        portal.call(ledger._close, execution, StaleError("another node goes on with it"))
        found = check(qflow("doctor", "--json"), "node")
        assert (found["status"], "1 execution shut" in found["found"]) == ("WARN", True)
        assert shown(qflow, execution)["shut"] == "another node goes on with it"
        assert "another node goes on with it" in qflow("show", execution).stdout
        assert "waiting, shut" in qflow("list").stdout


def shown(qflow: Run, execution: str) -> Any:
    return json.loads(qflow("show", execution, "--json").stdout)
