"""The demo: a real flow on a real node, killed in the middle, resumed, finished and verified.

    make demo

It starts an HTTP service that fails now and then, runs `orders.yaml` on a node, kills the node
with SIGKILL once 200 orders are charged, starts it again, approves what it did, and has its history
verified; then it changes one byte of a copy and shows that this is found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COMMITTED = "q.qflow.exec.step_completed.v1"
PATIENCE_S = 120.0


class Demo:
    """A home, a service, and a node that comes and goes."""

    def __init__(self, folder: Path, kill_at: int) -> None:
        self.folder, self.kill_at = folder, kill_at
        self.home = folder / "home"
        self.calls = folder / "calls.jsonl"
        self.report = folder / "report.txt"
        self.environment = {**os.environ, "QFLOW_HOME": str(self.home), "NO_COLOR": "1"}
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:6.2f} s] {text}", flush=True)

    # -- the command line ------------------------------------------------------------------

    def qflow(self, *words: str, expect: int = 0) -> str:
        """Run a command as a person would, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "qflow", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != expect:
            raise SystemExit(
                f"qflow {' '.join(words)} ended with {done.returncode}, not {expect}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def show(self, execution: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.qflow("show", execution, "--json"))
        return found

    @contextmanager
    def service(self) -> Iterator[str]:
        """The service that the flow calls."""
        command = [sys.executable, str(HERE / "service.py"), str(self.calls)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def node(self) -> Iterator[subprocess.Popen[str]]:
        """A node in a process of its own; entered when it is ready."""
        command = [
            sys.executable,
            "-m",
            "qflow",
            "serve",
            "--functions",
            str(HERE / "functions.py"),
        ]
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if process.poll() is not None:
                raise SystemExit(f"the node did not start: {first}{process.stdout.read()}")
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE_S)

    # -- looking ---------------------------------------------------------------------------

    def called(self) -> list[dict[str, Any]]:
        """Every call that the service answered."""
        if not self.calls.exists():
            return []
        return [json.loads(line) for line in self.calls.read_text().splitlines()]

    def charged(self) -> int:
        return sum(call["status"] == 200 for call in self.called())

    def until(self, what: str, ready: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if time.monotonic() > deadline:
                raise SystemExit(f"gave up waiting for: {what}")
            time.sleep(0.05)

    def committed_orders(self, execution: str) -> set[str]:
        """The orders whose charge is committed in the history."""
        lines = self.qflow("logs", execution, "--payloads", "--json").splitlines()
        records = [json.loads(line) for line in lines]
        return {
            record["value"]["order"]
            for record in records
            if record["type"] == COMMITTED and str(record["step"]).endswith("/charge")
        }

    # -- the story -------------------------------------------------------------------------

    def run(self) -> None:
        self.qflow("init")
        self.say(f"a new node in {self.home}")
        with ExitStack() as stack:
            url = stack.enter_context(self.service())
            self.say(f"the service answers at {url}; it fails 5 % of its calls")
            execution = self.first_half(url)
            self.second_half(execution)
        self.prove()

    def first_half(self, url: str) -> str:
        with self.node() as process:
            given = {
                "orders": str(HERE / "orders.jsonl"),
                "service": url,
                "report": str(self.report),
            }
            started = self.qflow(
                "run", str(HERE / "orders.yaml"), "--input", json.dumps(given), "--detach", "--json"
            )
            execution = str(json.loads(started)["execution"])
            self.say(f"execution {execution} charges 500 orders, eight at a time")
            self.until("orders", lambda: self.charged() >= self.kill_at)
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.say(f"SIGKILL: the node died with {self.charged()} orders charged")
        return execution

    def second_half(self, execution: str) -> None:
        before = len(self.called())
        committed = self.committed_orders(execution)
        self.say(f"its log holds {len(committed)} of them as committed; a node starts again")
        with self.node():
            self.until("the approval step", lambda: self.show(execution)["status"] == "waiting")
            total = json.loads(
                self.qflow("logs", execution, "--payloads", "--json").splitlines()[-2]
            )["value"]
            self.say(f"all orders are charged ({total['orders']}); it waits for an approval")
            self.qflow(
                "emit",
                "--type", "com.example.orders.approved",
                "--source", "urn:example:demo",
                "--data", json.dumps({"by": "demo", "total_cents": self.total_cents()}),
            )  # fmt: skip
            self.until("the end", lambda: self.show(execution)["status"] != "waiting")
            self.until("the end", lambda: self.show(execution)["status"] != "running")
            done = self.show(execution)
            if done["status"] != "completed":
                raise SystemExit(f"the execution ended as {done['status']}: {done['problem']}")
        self.account(before, committed)

    def total_cents(self) -> int:
        orders = (HERE / "orders.jsonl").read_text().splitlines()
        return sum(json.loads(line)["amount_cents"] for line in orders)

    def account(self, before: int, committed: set[str]) -> None:
        """No committed order was called again; every order was charged exactly once."""
        calls = self.called()
        again = {call["order"] for call in calls[before:]} & committed
        keys = Counter(call["key"] for call in calls if call["status"] == 200)
        orders = {call["order"] for call in calls if call["status"] == 200}
        repeated = sum(count - 1 for count in keys.values())
        self.say(
            f"finished: {len(calls)} calls for {len(orders)} orders; "
            f"{repeated} were repeated with the same idempotency key; "
            f"committed orders called again: {len(again)}"
        )
        print(self.report.read_text())
        if again or len(orders) != 500:
            raise SystemExit("a finished step was called again, or an order is missing")

    def prove(self) -> None:
        key = str(self.home / "node.pub")
        self.say("the history: " + summary(self.qflow("audit", "verify", "--key", key)))
        copy = self.folder / "copy"
        shutil.copytree(self.home / "log", copy)
        victim = min((copy / "journal").iterdir())
        with victim.open("r+b") as file:
            file.seek(100_000)
            byte = file.read(1)
            file.seek(100_000)
            file.write(bytes([byte[0] ^ 1]))
        answer = self.qflow("audit", "verify", "--log", str(copy), "--key", key, expect=1)
        self.say("one byte of a copy was changed: " + summary(answer))


def summary(answer: str) -> str:
    """The verdict with what was seen; or with the first thing that was found."""
    verdict, *lines = [" ".join(line.split()) for line in answer.strip().splitlines()]
    found = [line for line in lines if ": " in line]
    seen = [line for line in lines if line.startswith(("records ", "blocks ", "heads "))]
    return ", ".join([verdict, *(found[:1] or seen)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-at", type=int, default=200, help="orders charged before SIGKILL")
    parser.add_argument("--keep", action="store_true", help="keep the node's files and say where")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qflow-demo-"))
    demo = Demo(folder, options.kill_at)
    try:
        demo.run()
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"demo done in {time.monotonic() - demo.began:.1f} s")


if __name__ == "__main__":
    main()
