"""An execution outlives its machine: it goes on from IPFS alone, and from a CAR file and a key.

    make ipfs-test

A flow is checkpointed while its Kubo is off. The node is killed with SIGKILL. Kubo and the node
come back, and what the node owes is pinned. The node is killed again, and its home is deleted but
for the key. What IPFS has is all there is now: the execution is recovered, restored, finishes, and
its history verifies from its first record. The same again on another machine, with a key of its
own, from one CAR file and one file of keys.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kubo.daemon import Daemon

PATIENCE_S = 60.0
COMPLETED = "q.qflow.exec.step_completed.v1"
ORDERS = 4000
FLOW = """\
document: {dsl: 1.0.3, namespace: shop, name: orders, version: 1.0.0}
do:
  - check: {set: {orders: "${ .orders }", total: "${ [.orders[].price] | add }"}}
  - ask: {listen: {to: {one: {with: {type: com.example.approved}}}}, output: {as: "${ .[0].by }"},
          export: {as: "${ {by: $output} }"}}
  - charge: {set: {by: "${ $context.by }", count: "${ $workflow.input.orders | length }"}}
"""


class Machine:
    """A home and the command in it. It has no files but those of its folder."""

    def __init__(self, folder: Path, kubo_url: str | None) -> None:
        self.home = folder / "home"
        own = {"QFLOW_HOME": str(self.home), "NO_COLOR": "1"}
        if kubo_url is not None:
            own["QFLOW_STORAGE__KUBO"] = kubo_url
        rest = {key: value for key, value in os.environ.items() if not key.startswith("QFLOW_")}
        self._environment = rest | own

    def qflow(self, *words: str, expect: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "qflow", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        said = f"qflow {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert done.returncode == expect, said
        return done.stdout

    def json(self, *words: str, expect: int = 0) -> Any:
        return json.loads(self.qflow(*words, "--json", expect=expect))

    @contextmanager
    def node(self, end: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        """A running node, ready when entered; `end` is what it gets when left."""
        process = subprocess.Popen(
            [sys.executable, "-m", "qflow", "serve", "--json"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), process.communicate()[1]
            yield
        finally:
            process.send_signal(end)
            _, notes = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == (-end if end == signal.SIGKILL else 0), notes

    def records(self, execution: str) -> list[dict[str, Any]]:
        lines = self.qflow("logs", execution, "--payloads", "--json").splitlines()
        return [json.loads(line) for line in lines]

    def lose_all_but_the_key(self) -> None:
        for path in self.home.iterdir():
            if path.name in {"node.key", "node.pub"}:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def until(what: str, holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"gave up waiting for: {what}"
        time.sleep(0.02)


class Story:
    """What happens to one execution; `say` tells it."""

    def __init__(self, folder: Path, kubo: Daemon, say: Callable[[str], None]) -> None:
        self.folder, self.kubo, self.say = folder, kubo, say
        self.first = Machine(folder / "first", kubo.url)
        self.flow, self.orders = folder / "orders.yaml", folder / "orders.json"
        self.flow.write_text(FLOW)
        orders = [{"id": f"order {n}", "price": n % 97} for n in range(ORDERS)]
        self.orders.write_text(json.dumps({"orders": orders}))
        self.execution = ""
        self.checkpoint = ""
        self.before: list[dict[str, Any]] = []
        """The records as they were when the machine was lost."""

    def checkpointed_while_kubo_is_off(self) -> None:
        assert not self.kubo.runs
        self.first.qflow("init")
        with self.first.node(end=signal.SIGKILL):
            words = ("run", str(self.flow), "--input", f"@{self.orders}", "--detach")
            self.execution = self.first.json(*words)["execution"]
            until("the approval is waited for", lambda: self.waits(self.first))
            made = self.first.json("checkpoint", "create", self.execution, "--label", "before it")
            self.checkpoint = made["checkpoint"]["cid"]
        self.say(f"checkpoint {self.checkpoint} was made with Kubo off; the node got SIGKILL")

    def pinned_when_kubo_is_back(self) -> None:
        self.kubo.start()
        with self.first.node(end=signal.SIGKILL):
            until("the checkpoint is pinned", lambda: self.checkpoint in self.kubo.pins())
            until("nothing is owed", lambda: not self.owed())
            self.compare_pins()
            self.before = self.first.records(self.execution)
        self.say(f"`ipfs pin ls` has {len(self.kubo.pins())} pins, as the node says; SIGKILL")

    def owed(self) -> int:
        return int(self.first.json("state", "show", self.execution)["pins_owed"])

    def compare_pins(self) -> None:
        """`ipfs pin ls` has what the node says: every version, and one key to open them with."""
        versions = [one["cid"] for one in self.first.json("checkpoint", "list", self.execution)]
        for cid in versions:
            shown = self.first.json("checkpoint", "show", cid)
            assert [pin["status"] for pin in shown["pins"]] == ["pinned"], shown
        pins = self.kubo.pins()
        kinds = Counter(json.loads(self.kubo.ipfs("dag", "get", cid))["kind"] for cid in pins)
        assert set(versions) <= set(pins)
        assert kinds == {"qflow.state": len(versions), "qflow.key": 1}, kinds

    def waits(self, machine: Machine) -> bool:
        return bool(machine.json("show", self.execution)["status"] == "waiting")

    def is_over(self, machine: Machine) -> bool:
        return machine.json("show", self.execution)["status"] not in {"waiting", "running"}

    def recovered_from_ipfs_alone(self) -> None:
        self.first.lose_all_but_the_key()
        left = sorted(path.name for path in self.first.home.iterdir())
        self.say(f"the home was deleted; what is left: {', '.join(left)}")
        self.first.qflow("state", "recover")
        self.finished_on(self.first)

    def moved_by_a_file_and_a_key(self) -> None:
        """From the first machine, whose home is whole, to another that has no IPFS."""
        car, keys = self.folder / "order.car", self.folder / "keys"
        self.first.qflow("state", "export", self.execution, "--out", str(car))
        self.first.qflow("keys", "export", str(keys))
        second = Machine(self.folder / "second", None)
        second.qflow("init")
        assert (second.home / "node.key").read_bytes() != (
            self.first.home / "node.key"
        ).read_bytes()
        second.qflow("keys", "import", str(keys))
        second.qflow("state", "import", str(car))
        self.say(f"another machine took a CAR of {car.stat().st_size} bytes and a file of keys")
        self.finished_on(second)

    def finished_on(self, machine: Machine) -> None:
        machine.qflow("checkpoint", "restore", self.execution)
        with machine.node():
            until("it waits where it waited", lambda: self.waits(machine))
            machine.qflow("emit", "-t", "com.example.approved", "--data", '{"by": "ada"}')
            until("it is over", lambda: self.is_over(machine))
            shown = machine.json("show", self.execution)
        assert (shown["status"], shown["output"]) == ("completed", {"by": "ada", "count": ORDERS})
        self.proved_on(machine)

    def proved_on(self, machine: Machine) -> None:
        """The chain is whole from its first record, and what was before is in it as it was."""
        said = machine.qflow("audit", "verify")
        assert said.startswith("VERIFIED"), said
        records = machine.records(self.execution)
        assert [record["seq"] for record in records] == list(range(len(records)))
        names = ("seq", "type", "step", "at", "prev", "node", "epoch", "value")
        for old, new in zip(self.before, records, strict=False):
            assert {n: old.get(n) for n in names} == {n: new.get(n) for n in names}
        steps = Counter(one["step"] for one in records if one["type"] == COMPLETED)
        assert steps
        assert set(steps.values()) == {1}, steps
        self.say(
            f"it finished: {len(records)} records, the first {len(self.before)} as they were,"
            f" each step committed once; {said.splitlines()[0]}"
        )


def from_ipfs_alone(folder: Path, kubo: Daemon, say: Callable[[str], None]) -> None:
    story = Story(folder, kubo, say)
    story.checkpointed_while_kubo_is_off()
    story.pinned_when_kubo_is_back()
    story.recovered_from_ipfs_alone()


def from_a_file_and_a_key(folder: Path, kubo: Daemon, say: Callable[[str], None]) -> None:
    """With Kubo off to its end."""
    story = Story(folder, kubo, say)
    story.checkpointed_while_kubo_is_off()
    story.before = story.first.records(story.execution)
    story.moved_by_a_file_and_a_key()


STORIES = {"from IPFS alone": from_ipfs_alone, "from a CAR and a key": from_a_file_and_a_key}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="leave the files in this new folder")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="qflow-ipfs-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.2f} s] {text}", flush=True)

    try:
        for number, (name, story) in enumerate(STORIES.items(), 1):
            own = folder / str(number)
            own.mkdir(parents=True)
            say(f"== {name}")
            kubo = Daemon(own)
            try:
                story(own, kubo, say)
            finally:
                kubo.kill()
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
    print(f"{len(STORIES)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
