"""The faults: each is one place of the core, changed in a way somebody could have written it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CRDT = "rust/qflow-core/src/crdt/"


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    before: str
    after: str

    def applied(self, text: str) -> str:
        """The text with the fault in it. Raises ValueError unless there is one place for it."""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.name}: {text.count(self.before)} places in {self.file}")
        return text.replace(self.before, self.after)


def fault(name: str, file: str, before: str, after: str) -> Mutant:
    return Mutant(name, CRDT + file, before, after)


MUTANTS = (
    fault(
        "the least stamp wins a register", "register.rs",
        "stamps.cmp(dot, winner) == Ordering::Greater", "stamps.cmp(dot, winner) == Ordering::Less",
    ),
    fault(
        "a set clears a register it did not see", "register.rs",
        "self.registers.retain(past, |_, row, seen| row.seq >= seen);",
        "self.registers.retain(past, |_, row, seen| row.seq > seen);",
    ),
    fault(
        "a run of increments takes in other numbers", "counter.rs",
        "if last.by == by && last.seq.checked_add(last.n) == Some(seq) {",
        "if last.seq.checked_add(last.n) == Some(seq) {",
    ),
    fault(
        "a reset forgets a concurrent increment", "counter.rs",
        "while self.first.last() < seen {", "while self.first.last() <= seen {",
    ),
    fault(
        "appends in the order of arrival", "list.rs",
        "let in_order = self.is_sorted() && self.entries.last().is_none_or(after);",
        "let in_order = true;",
    ),
    fault(
        "equal times in the order of arrival", "list.rs",
        "stamps.cmp(dot(left.1), dot(right.1))", "left.1.cmp(&right.1)",
    ),
    fault(
        "a context covers one too many", "context.rs",
        "dot.seq < self.extent(dot.line).operations()",
        "dot.seq <= self.extent(dot.line).operations()",
    ),
    fault(
        "two contexts merge as the last one", "context.rs",
        "*mine = (*theirs).max(*mine);", "*mine = *theirs;",
    ),
    fault(
        "time does not pass between changes", "graph.rs",
        "let lamport = above.max().unwrap_or_default() + 1;",
        "let lamport = above.max().unwrap_or(1);",
    ),
    fault(
        "a gap in the sequence is admitted", "graph.rs",
        "if header.seq0 != before.map_or(0, Record::end) {",
        "if header.seq0 < before.map_or(0, Record::end) {",
    ),
    fault(
        "a change after another replica's is admitted", "graph.rs",
        "self.key_of(record.line) != &header.replica", "self.key_of(record.line) == &[0; 32]",
    ),
    fault(
        "an operation's name with another byte order", "graph.rs",
        "u64::from(seq).to_be_bytes()", "u64::from(seq).to_le_bytes()",
    ),
    fault(
        "one member is asked what is stable",
        "graph_sync.rs",
        "Some(all) => all.limit(|line| shown.extent(line)),",
        "Some(_) => {}",
    ),
    fault(
        "a change beside the cut did not see it",
        "graph_sync.rs",
        "while self.narrow(&mut all) {}",
        "",
    ),
    fault(
        "a tomb outlives what saw it", "tree.rs",
        "if self.tombs > 0 {", "if self.tombs > 1 {",
    ),
    fault(
        "what waits for two comes after one", "pending.rs",
        "if waiting.missing == 0 {", "if waiting.missing <= 1 {",
    ),
    fault(
        "registers of equal values are a conflict", "conflict.rs",
        "if values.all(|value| Some(value) == first) {", "if values.next().is_none() {",
    ),
)  # fmt: skip
