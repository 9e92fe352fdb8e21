"""Histories for rules: executions of which a test says who did what, where and when."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from qflow import _core, model
from qflow.audit._own import FLOW as NODE_FLOW
from qflow.audit.compliance import (
    Finding,
    Outcome,
    Report,
    Scope,
    Signed,
    Subject,
    evaluating,
    making_report,
    parse_rules,
)
from qflow.trust import load_or_create_key
from tests.audit.chains import GENESIS, NODE_CHAIN, MemorySource, chain_id

AT = 1_700_000_000_000
DAY = 86_400_000
Result = TypeVar("Result")
PAY = "bank/pay/1.0.0"


class History(MemorySource):
    """A log in memory that a test writes line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.now = AT
        self._ends: dict[bytes, tuple[int, bytes, str]] = {}
        self._count = 0

    def begin(self, actor: str = "ann", flow: str = PAY, **meta: Any) -> bytes:
        """An execution; its chain."""
        self._count += 1
        chain = chain_id(self._count)
        self._ends[chain] = (0, GENESIS, flow)
        self.add(chain, "exec.created", actor=actor, meta={"definition": "", **meta})
        return chain

    def add(
        self,
        chain: bytes,
        kind: str,
        *,
        actor: str = "ann",
        node: str = "node-1",
        step: str | None = None,
        meta: Mapping[str, Any] | None = None,
        at: int | None = None,
    ) -> None:
        """The next record of a chain, one millisecond later unless a time is given."""
        self.now += 1
        seq, prev, flow = self._ends.get(chain, (0, GENESIS, NODE_FLOW))
        row = (f"q.qflow.{kind}.v1", step, None, None, meta or {})
        records, blocks, prev = _core.encode_records(
            chain, seq, prev, flow, self.now if at is None else at, actor, node, "default", 1, [row]
        )
        self._ends[chain] = (seq + 1, prev, flow)
        self.append(records, blocks)

    def own(self, kind: str, **more: Any) -> None:
        """The next record of the node's own chain."""
        self.add(NODE_CHAIN, kind, **more)

    def run(self, *kinds: str, actor: str = "ann", flow: str = PAY, **meta: Any) -> bytes:
        """An execution with these facts behind its beginning, all of one actor."""
        chain = self.begin(actor, flow, **meta)
        for kind in kinds:
            self.add(chain, f"exec.{kind}", actor=actor)
        return chain

    def head(self) -> tuple[int, bytes]:
        """Size and root."""
        tree = _core.Tree()
        tree.extend([data for frame, _ in self.frames for _, _, data in frame])
        return self.size, tree.root


def rule(kind: str, **fields: Any) -> str:
    """One rule as a file has it."""
    values = {"id": "the-rule", "text": "as the test says", **fields}
    return f"[[rule]]\nkind = '{kind}'\n" + "".join(
        f"{name} = {_toml(value)}\n" for name, value in values.items()
    )


def judge(
    history: History, *rules: str, scope: Scope | None = None, now_ms: int | None = None
) -> tuple[list[Finding], Outcome]:
    """What rules find in a history."""
    parsed = parse_rules(("version = 1\n" + "".join(rules)).encode(), "test.toml")
    found: list[Finding] = []
    steps = evaluating(
        history,
        parsed.rules,
        head=history.head(),
        scope=scope or Scope(),
        now_ms=history.now if now_ms is None else now_ms,
        tell=found.append,
    )
    outcome = result_of(steps)
    for result in outcome.results:
        total = result.passed + result.failed + sum(result.not_applicable.values())
        assert result.findings == sum(finding.rule == result.rule.id for finding in found)
        assert total <= outcome.chains
    return found, outcome


def result_of(steps: Generator[Any, None, Result]) -> Result:
    """What a generator returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def at_fault(found: Sequence[Finding]) -> list[tuple[str, int]]:
    """Execution and number of the record at fault of each finding."""
    return [(finding.records[0].execution, finding.records[0].seq) for finding in found]


def name(chain: bytes) -> str:
    return model.id_text(chain)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)


class Recorded(History):
    """The same in a real log, in the home of a node that does not run."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home, self.path = home, home / "log"
        self.key = load_or_create_key(home)
        self._log = _core.Log(str(self.path), origin=self.key.origin, seed=self.key.seed)

    def append(self, records: Sequence[bytes], blocks: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._log.append(records, blocks)
        self.size += len(records)

    def close(self) -> None:
        """Publish and let go of the files."""
        self._log.close()

    def report(
        self, *rules: str, scope: Scope | None = None, now_ms: int | None = None
    ) -> tuple[Report, Signed]:
        """Judge what is there, in this closed log."""
        parsed = parse_rules(("version = 1\n" + "".join(rules)).encode(), "test.toml")
        subject = Subject(
            source=_core.LogReader(str(self.path)),
            path=self.path,
            head=(self.path / "checkpoint").read_text(),
            subnet="default",
        )
        now = self.now if now_ms is None else now_ms
        return result_of(making_report(subject, self.key, parsed, scope or Scope(), now_ms=now))
