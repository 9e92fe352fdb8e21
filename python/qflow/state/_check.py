"""Every version of a chain checked: what is found is gathered, so that one bad block hides none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from qflow import _core
from qflow.errors import BlockNotFoundError, QflowError
from qflow.state._chain import Step, walk_back
from qflow.state._index import Head
from qflow.state._reader import Opened, Reader, name_of
from qflow.state._saved import Checked, Finding, Saved
from qflow.storage._sqlite import BadBlockError

FINDINGS_MAX: Final = 1000
MENDING: Final = (
    "`qflow state recover`, or `qflow state import` of a file that has it, puts it back; when"
    " neither can, `qflow state delete` the execution: its next checkpoint is made whole from the"
    " log"
)
"""Said of a block that is missing or damaged in the store."""
BATCH: Final = 64
"""Payload blocks that are read at a time."""


class Tally:
    """What was found and counted so far."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.more = self.chains = self.versions = self.blocks = 0
        self.size_bytes = self.records = 0
        self.begins: list[tuple[bytes, int]] = []

    @property
    def found(self) -> int:
        """How many findings there are so far."""
        return len(self.findings) + self.more

    def find(self, where: str, what: str, chain: bytes | None = None) -> None:
        """Take a finding, or count it when there are too many."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(where, what, chain))
        else:
            self.more += 1

    def take(self, findings: Iterable[Finding]) -> None:
        """Take several, as `find` takes one."""
        for one in findings:
            self.find(one.where, one.what, one.chain)

    def result(self) -> Checked:
        """All of it."""
        return Checked(**{name: getattr(self, name) for name in Checked.__struct_fields__})


class Check:
    """Checks the versions of one chain."""

    def __init__(self, reader: Reader, tally: Tally, chain: bytes) -> None:
        self._reader, self._tally, self._chain = reader, tally, chain
        self._seen: set[bytes] = set()
        """Blocks of this chain that were counted."""
        self._hashes: dict[int, tuple[bytes, bytes]] = {}
        """By the number of a record: its hash, and the segment that it stands in."""

    def run(self, versions: Sequence[Saved], head: Head | None) -> None:
        """Check all versions of a chain, given the newest first."""
        self._tally.chains += 1
        self._check_head(versions, head)
        kept = {saved.cid: saved for saved in versions}
        for saved in versions:
            self._tally.versions += 1
            try:
                self._check_version(saved)
            except (BlockNotFoundError, BadBlockError) as error:
                self._tally.find(name_of(saved.cid), f"{error}; {MENDING}", self._chain)
            except (QflowError, OSError) as error:
                self._tally.find(name_of(saved.cid), str(error), self._chain)
            self._check_previous(saved, kept)
        if versions and versions[-1].previous is not None:
            self._tally.begins.append((self._chain, versions[-1].number))

    def _check_head(self, versions: Sequence[Saved], head: Head | None) -> None:
        if head is None or head.cid not in {saved.cid for saved in versions}:
            self._tally.find("index", "the newest version is not listed", self._chain)

    def _check_previous(self, saved: Saved, kept: dict[bytes, Saved]) -> None:
        before = None if saved.previous is None else kept.get(saved.previous)
        if before is None:
            return
        follows = (
            saved.number == before.number + 1
            and saved.epoch >= before.epoch
            and saved.seq > before.seq
        )
        if not follows:
            what = f"it does not follow {name_of(before.cid)}, which it names as the one before"
            self._tally.find(name_of(saved.cid), what, self._chain)

    def _check_version(self, saved: Saved) -> None:
        reader = self._reader
        self._count([saved.cid])
        opened = reader.open(saved.cid)
        if opened.saved != saved:
            self._tally.find(
                name_of(saved.cid), "the index has other words of it than the block", self._chain
            )
        reader.state(opened)
        reader.document(opened)
        for root in (opened.version.state, opened.version.flow):
            (data,) = reader.blocks([root])
            self._count([root, *_core.state_parts(data)[1]])
        self._check_records(opened)

    def _check_records(self, opened: Opened) -> None:
        """Walk the records back to where another version's walk has been."""
        for step in walk_back(self._reader, opened):
            known = self._hashes.get(step.segment.first)
            if known == (step.entries[0].hash, step.cid):
                return
            self._note(step)

    def _note(self, step: Step) -> None:
        first = step.segment.first
        self._hashes[first] = (step.entries[0].hash, step.cid)
        self._tally.records += len(step.entries)
        self._count([step.cid])
        payloads = step.segment.payloads
        for at in range(0, len(payloads), BATCH):
            self._count(payloads[at : at + BATCH])

    def _count(self, cids: Sequence[bytes]) -> None:
        """Load blocks, hashed, from the disk and not from the cache, and count those of this chain
        that were not counted before."""
        new = [cid for cid in cids if cid not in self._seen]
        self._seen.update(new)
        loaded = self._reader.load(new)
        self._tally.blocks += len(loaded)
        self._tally.size_bytes += sum(map(len, loaded))
