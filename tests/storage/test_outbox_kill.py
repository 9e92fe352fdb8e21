"""SIGKILL around every question to Kubo: whoever comes next finishes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kubo.daemon import Daemon
from tests.storage import bad_kubo as bad
from tests.storage.outboxes import Home, home, node, raw, text

CHAIN = bytes(16)
LEAF = raw(b"a leaf")
KEPT, DROPPED = node(LEAF, text="kept"), node(LEAF, text="dropped")
CHILD = """
import sys, anyio
from pathlib import Path
from tests.storage.outboxes import home

with home(Path(sys.argv[1]), sys.argv[2]) as here:
    here.envelopes.epochs[bytes(16)] = int(sys.argv[3])
    anyio.run(here.outbox.catch_up)
"""


@pytest.mark.holds("S2")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["id", "dag/import", "pin/rm", "block/rm"])
def test_a_kill_around_a_question_loses_nothing(
    call: str, after: bool, tmp_path: Path, kubo: Daemon
) -> None:
    child: list[subprocess.Popen[bytes]] = []

    def kill(wire: bad.Wire, request: bad.Request) -> None:
        if after:
            _pass_on(kubo.url, request)
        child[0].send_signal(signal.SIGKILL)

    with home(tmp_path, kubo.url) as here:
        here.keep(DROPPED, parts=[LEAF])
        old = here.want_key(CHAIN)
    assert _run(tmp_path, kubo.url, 0, []) == 0
    with bad.bad_kubo(kill, upstream=kubo.url, on=(call,)) as server:
        with home(tmp_path, kubo.url) as here:
            _move(here, kubo.url, server.url)
            here.keep(KEPT)
            here.drop(DROPPED)
            new = here.want_key(CHAIN, epoch=1)
        assert _run(tmp_path, server.url, 1, child) == -signal.SIGKILL
        with home(tmp_path, server.url) as here:
            assert here.owed != [0]
            _move(here, server.url, kubo.url)
    assert _run(tmp_path, kubo.url, 1, []) == 0
    with home(tmp_path, kubo.url) as here:
        assert here.owed == [0]
    assert kubo.pins().keys() == {text(KEPT), text(new)}
    assert kubo.try_ipfs("block", "get", "--offline", text(old)).returncode


def _move(here: Home, url: str, to: str) -> None:
    query = "UPDATE outbox_endpoint SET url = ? WHERE url = ?"
    here.database.write(lambda db: db.execute(query, (to, url)))


def _run(folder: Path, url: str, epoch: int, child: list[subprocess.Popen[bytes]]) -> int:
    paths = os.pathsep.join([str(ROOT / "python"), str(ROOT)])
    command = [sys.executable, "-c", CHILD, str(folder), url, str(epoch)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}) as process:
        child.append(process)
        return process.wait(timeout=60)


def _pass_on(url: str, request: bad.Request) -> None:
    kinds = {name: value for name, value in request.headers.items() if name == "content-type"}
    asked = urllib.request.Request(
        f"{url}{request.target}", data=request.body, headers=kinds, method="POST"
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            json.loads(answer.readline())
    except urllib.error.HTTPError as refused:
        refused.read()
