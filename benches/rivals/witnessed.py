"""Qflow's log while witnesses, each a process of its own, cosign its heads over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import anyio

from benches.rivals.ours import VKEY, Ours
from qflow import _core
from qflow.audit import Witnessing
from qflow.clock import SystemClock

POLICY = "policy"
"""The file, in the folder above that of the log."""
EVERY_S = 1.0
TIMEOUT_S = 5.0
LOOK_S = 0.02
QFLOW = [sys.executable, "-c", "from qflow.cli import main; main()"]


class Heads:
    """The log as `Witnessing` sees it."""

    def __init__(self, log: _core.Log, path: Path) -> None:
        self._log, self._path = log, path
        self.witnessed = 0

    @property
    def path(self) -> Path:
        return self._path

    @property
    def vkey(self) -> str:
        return VKEY

    async def grown(self, beyond: int) -> None:
        # Another thread appends, and tells nobody.
        while self._log.size <= beyond:  # noqa: ASYNC110
            await anyio.sleep(LOOK_S)

    async def publish(self) -> None:
        await anyio.to_thread.run_sync(self._log.publish)

    async def save_witnessed(self, note: str) -> None:
        await anyio.to_thread.run_sync(self._log.save_witnessed, note)
        self.witnessed += 1


class Witnessed(Ours):
    promises = f"as qflow, and every {EVERY_S:.0f} s its head is cosigned by other processes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.policy = _core.Policy((folder.parent / POLICY).read_text(encoding="utf-8"))
        self.heads = Heads(self.log, folder)
        self._stop = threading.Event()
        self._asking = threading.Thread(target=anyio.run, args=(self._ask,))
        self._asking.start()

    async def _ask(self) -> None:
        asking = Witnessing(
            self.heads, self.policy, SystemClock(), every_s=EVERY_S, timeout_s=TIMEOUT_S
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asking.run)
            await anyio.to_thread.run_sync(self._stop.wait)
            tasks.cancel_scope.cancel()

    def close(self) -> None:
        self._stop.set()
        self._asking.join()
        assert self.heads.witnessed > 0, "no head was cosigned"
        super().close()


class Witnesses:
    """Witnesses as `qflow witness serve` runs them, and a policy that wants all of them."""

    def __init__(self, folder: Path, count: int) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        lines, names = [f"log {VKEY}"], []
        for number in range(1, count + 1):
            home, address = folder / f"witness-{number}", f"127.0.0.1:{free_port()}"
            settings = {"QFLOW_HOME": str(home), "QFLOW_SERVER__LISTEN": address}
            environment = {**os.environ, **settings}
            run("init", environment=environment)
            run("witness", "add", VKEY, environment=environment)
            _, name, vkey, url = run("witness", "vkey", environment=environment).split()
            lines.append(f"witness {name} {vkey} {url}")
            names.append(name)
            serving = [*QFLOW, "witness", "serve"]
            process = subprocess.Popen(serving, env=environment, stdout=subprocess.PIPE, text=True)
            self._processes.append(process)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready")
        lines += [f"group them all {' '.join(names)}", "quorum them", ""]
        (folder / POLICY).write_text("\n".join(lines), encoding="utf-8")

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait()


def run(*arguments: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [*QFLOW, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
