"""A real Kubo of its own for a test: on the loopback alone, with a port that outlives restarts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.conftest import ROOT

IPFS = ROOT / ".venv" / "go" / "ipfs"
EMPTY_FOLDER = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
"""What Kubo pins by itself when it makes a repository."""
STARTED = b"Daemon is ready"
COMMAND_S = 60.0
# Below the ports that the kernel gives to outgoing connections, so that a stopped daemon gets its
# own back. Two test runs at once begin at different places.
PORTS = count(12_000 + os.getpid() * 7 % 16_000)


class Daemon:
    """One repository and the process that serves it; `with` stops it.

    `url` is known, and nothing listens there, before the first start.
    """

    def __init__(self, folder: Path, *, offline: bool = True) -> None:
        assert IPFS.is_file(), "there is no ipfs to test with: `make kubo` builds it"
        self.repository = folder / "ipfs"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._offline = offline
        self._process: subprocess.Popen[bytes] | None = None
        self.ipfs("init", "--profile=test")
        file = self.repository / "config"
        settings = json.loads(file.read_text())
        settings["Addresses"]["API"] = f"/ip4/127.0.0.1/tcp/{port}"
        settings["Internal"] = {"ShutdownTimeout": "5s"}
        file.write_text(json.dumps(settings))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Answering on return, with what the repository had; again is no harm."""
        if self.runs:
            return
        words = [str(IPFS), "daemon", *(["--offline"] if self._offline else [])]
        log = self.repository.parent / "daemon.log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                words, env=self._environment, stdout=subprocess.PIPE, stderr=errors
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if STARTED in line:
                return
        raise AssertionError(f"Kubo did not start: {log.read_text()}")

    def stop(self) -> None:
        """As its owner stops it, in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; it may be paused, or not there."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it takes connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Until every thread has stopped, one of them may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ipfs(self, *words: str, stdin: bytes = b"") -> bytes:
        """What the real command says: of the running daemon, or of the repository itself."""
        done = self.try_ipfs(*words, stdin=stdin)
        assert done.returncode == 0, f"ipfs {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout

    def try_ipfs(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [IPFS, *words],
            env=self._environment,
            input=stdin,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )

    def pins(self) -> dict[str, str]:
        """What `ipfs pin ls` says is pinned with all beneath it: CID -> name."""
        said = self.ipfs("pin", "ls", "--type=recursive", "--names", "--enc=json", "--stream")
        rows: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
        return {row["Cid"]: row.get("Name", "") for row in rows if row["Cid"] != EMPTY_FOLDER}

    def blocks(self) -> set[str]:
        """The CIDs of all blocks, pinned or not (as CIDv1 of the raw codec: Kubo keeps hashes)."""
        return set(self.ipfs("refs", "local").decode().split())

    def clear(self) -> None:
        """Without pins and blocks, as it was made."""
        for row in self._rpc("pin/ls?type=recursive&stream=true"):
            if row["Cid"] != EMPTY_FOLDER:
                self._rpc(f"pin/rm?arg={row['Cid']}")
        self._rpc("repo/gc")

    def _rpc(self, call: str) -> list[dict[str, Any]]:
        """Without the start of a program, which takes longer than most calls."""
        asked = urllib.request.Request(f"{self.url}/api/v0/{call}", method="POST")
        with urllib.request.urlopen(asked, timeout=COMMAND_S) as answer:
            return [json.loads(line) for line in answer]

    @property
    def _environment(self) -> dict[str, str]:
        own = {"IPFS_PATH": str(self.repository), "IPFS_TELEMETRY": "off"}
        return os.environ | own

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with self._process as process:
                process.send_signal(how)
                process.send_signal(signal.SIGCONT)
            self._process = None


def free_port() -> int:
    for port in PORTS:
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError


@contextmanager
def daemon(folder: Path, *, offline: bool = True) -> Iterator[Daemon]:
    """A Kubo for one test that needs one to itself; not started."""
    made = Daemon(folder, offline=offline)
    try:
        yield made
    finally:
        made.kill()
