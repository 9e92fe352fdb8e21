"""The programs of tests/compatibility/go, and a witness by others, started for a test."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import sqlite3
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / ".venv" / "go"
NAME = "litewitness.example/w1"
START_S = 30.0


class LiteWitness(NamedTuple):
    """A running litewitness (filippo.io/torchwood)."""

    vkey: str
    url: str


def program(name: str) -> Path:
    """A built program. A checkout alone may skip what needs it; CI may not."""
    path = FOLDER / name
    if not path.is_file() or shutil.which("ssh-agent") is None:
        missing = f"no {name}: `make go-programs` builds it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def verify_log(log: Path, vkey: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Have golang.org/x/mod/sumdb verify the published part of a log."""
    command = [str(program("verifylog")), *options, str(log), vkey]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def litewitness(folder: Path, *logs: str) -> Iterator[LiteWitness]:
    """A litewitness that cosigns for the logs of these keys, on a free port of the loopback."""
    built = program("litewitness")
    with ExitStack() as stack:
        agent, key = _agent(stack, folder), folder / "witness"
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        _run("ssh-add", "-q", str(key), SSH_AUTH_SOCK=str(agent))
        fingerprint = _run("ssh-keygen", "-l", "-f", str(key)).split()[1]
        database = folder / "litewitness.db"
        _know(database, logs)
        command: list[str | Path] = [built, "-listen", "127.0.0.1:0", "-name", NAME]
        command += ["-db", database, "-ssh-agent", agent, "-key", fingerprint]
        process = stack.enter_context(_started(command))
        lines = _lines_until(process, "listening")
        (vkey,) = re.findall(r'msg="verifier key" vkey="?([^"\s]+)', lines)
        yield LiteWitness(vkey, f"http://127.0.0.1:{_port_of(process)}")


def _know(database: Path, logs: tuple[str, ...]) -> None:
    """What `witnessctl add-log` and `add-key` do; that command needs a module no proxy serves."""
    empty = b64encode(sha256().digest()).decode()
    with sqlite3.connect(database) as db:
        db.execute(
            "CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL,"
            " tree_hash TEXT NOT NULL)"
        )
        db.execute(
            "CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL,"
            " FOREIGN KEY(origin) REFERENCES log(origin))"
        )
        for vkey in logs:
            origin = vkey.partition("+")[0]
            db.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, empty))
            db.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))
    db.close()


def _agent(stack: ExitStack, folder: Path) -> Path:
    socket = folder / "agent"
    process = stack.enter_context(_started(["ssh-agent", "-D", "-a", socket]))
    _lines_until(process, "SSH_AUTH_SOCK")
    return socket


@contextmanager
def _started(command: list[str | Path]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        process.wait()


def _lines_until(process: subprocess.Popen[bytes], word: str) -> str:
    assert process.stdout is not None
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while word.encode() not in seen or not seen.endswith(b"\n"):
            ready = selector.select(START_S)
            data = os.read(process.stdout.fileno(), 65536) if ready else b""
            assert data, f"it did not start: {seen.decode()}"
            seen += data
    return seen.decode()


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout


def _port_of(process: subprocess.Popen[bytes]) -> int:
    """The port that a process got; litewitness says `:0`, and that before it listens."""
    while process.poll() is None:
        if ports := _ports_of(process.pid):
            return ports[0]
    raise AssertionError("it ended instead of listening")


def _ports_of(pid: int) -> list[int]:
    """Where a process listens: proc_pid_fd(5), proc_pid_net(5)."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.append(str(path.readlink()))
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes
    ]
