"""What the bus hears of documents: events of the area `crdt`, after what they tell is durable."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from qflow import _core, model
from qflow.state._document_words import Compacted, Conflict
from qflow.state._ports import Tell
from qflow.trust import did_of_public

T = TypeVar("T")

CREATED: Final = "q.qflow.crdt.document.created.v1"
DELETED: Final = "q.qflow.crdt.document.deleted.v1"
CONFLICT: Final = "q.qflow.crdt.conflict.detected.v1"
EQUIVOCATION: Final = "q.qflow.crdt.equivocation.detected.v1"
REFUSED: Final = "q.qflow.crdt.change.refused.v1"
COMPACTED: Final = "q.qflow.crdt.compacted.v1"

TOLD_MAX: Final = 100
"""Events of one kind about what one call brought in; the last one says how many more there were."""
OPERATIONS_MAX: Final = 64
"""CIDs in an event."""
REMEMBERED_MAX: Final = 4096
"""Conflicts of a document that are not told again."""


class Telling:
    """Tells of one document."""

    def __init__(self, tell: Tell | None, doc: bytes, name: str, node: str) -> None:
        self._tell = tell
        self._common = {"document": model.id_text(doc), "name": name, "node": node}
        self._known: OrderedDict[str, None] = OrderedDict()

    @property
    def is_heard(self) -> bool:
        """Whether anybody is told: what nobody hears need not be found."""
        return self._tell is not None

    def created(self) -> None:
        """The document is new in this home."""
        self._say(CREATED)

    def deleted(self) -> None:
        """It was erased."""
        self._say(DELETED)

    def remember(self, conflicts: Iterable[Conflict]) -> None:
        """These were there before: they are not told."""
        for conflict in conflicts:
            self._known[conflict.id] = None
            self._known.move_to_end(conflict.id)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)

    def conflicts(self, found: Sequence[Conflict]) -> None:
        """These are there; those that are new are told."""
        new = [conflict for conflict in found if conflict.id not in self._known]
        self.remember(new)
        for conflict, more in _bounded(new):
            operations = [str(_core.Cid(cid)) for cid in conflict.operations[:OPERATIONS_MAX]]
            self._say(
                CONFLICT,
                conflict=conflict.id,
                path=conflict.path,
                kind=conflict.kind,
                operations=operations,
                count=len(conflict.operations),
                untold=more,
            )

    def refused(self, changes: Sequence[tuple[bytes, str]]) -> None:
        """These changes were not taken."""
        for (cid, why), more in _bounded(changes):
            self._say(REFUSED, change=str(_core.Cid(cid)), why=why[:1000], untold=more)

    def equivocation(self, replica: bytes, changes: Sequence[bytes]) -> None:
        """A replica signed several changes that follow the same one; they are kept as evidence."""
        cids = [str(_core.Cid(cid)) for cid in changes[:OPERATIONS_MAX]]
        self._say(EQUIVOCATION, replica=did_of_public(replica), changes=cids)

    def compacted(self, done: Compacted) -> None:
        """A compaction ended."""
        fields = msgspec.structs.asdict(done)
        self._say(COMPACTED, **fields | {"waits_for": list(done.waits_for)})

    def _say(self, event: str, **data: Any) -> None:
        if self._tell is not None:
            self._tell(event, self._common | data)


def _bounded(items: Sequence[T]) -> Iterable[tuple[T, int]]:
    for at, item in enumerate(items[:TOLD_MAX]):
        last = at == TOLD_MAX - 1
        yield item, len(items) - TOLD_MAX if last else 0
