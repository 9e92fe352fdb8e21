"""Erasures on record, carried out: also those that a crash cut short or a backup brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from qflow.audit._answer import Entry
from qflow.audit._read import History

ERASED: Final = "q.qflow.history.erased.v1"
MARK_EVERY: Final = 256
"""Records of the node's own chain between two marks in the keyring: what an opening reads again."""
_PAGE: Final = 1000


class Shredder(Protocol):
    """The part of a keyring that forgets: `trust.Keyring`."""

    @property
    def exists(self) -> bool:
        """Whether there are keys at all."""
        ...

    @property
    def applied(self) -> tuple[int, bytes]:
        """How many records of the own chain it has seen, and the hash of the last of them."""
        ...

    def shred(self, numbers: Iterable[int]) -> None:
        """Destroy keys. Durable on return; again is no harm."""
        ...

    def mark_applied(self, count: int, digest: bytes) -> None:
        """It has seen so many records. Durable on return."""
        ...


def apply_erasures(history: History, chain: bytes, keys: Shredder, *, mark: bool) -> None:
    """Destroy every key that the node's own chain says is destroyed. Durable on return.

    Only what this copy of the keyring has not seen is read. `mark` is for the holder of the log's
    lock: it notes in the keyring how far it has seen.
    """
    if not keys.exists:
        return
    seen, digest = keys.applied
    if seen and _hash_at(history, chain, seen - 1) != digest:
        seen = 0
    last, numbers = None, 0
    for page in pages(history, chain, seen - 1):
        found = [
            entry.record["meta"].get("key") for entry in page if entry.record["type"] == ERASED
        ]
        known = [number for number in found if isinstance(number, int)]
        keys.shred(known)
        last, numbers = page[-1], numbers + len(known)
    if mark and last is not None and (numbers or last.seq - seen >= MARK_EVERY):
        keys.mark_applied(last.seq + 1, last.hash)


def pages(history: History, chain: bytes, after: int) -> Iterator[list[Entry]]:
    """The records of a chain behind number `after`, without payloads."""
    while page := history.records(chain, after=after, limit=_PAGE):
        yield page
        after = page[-1].seq


def _hash_at(history: History, chain: bytes, seq: int) -> bytes:
    last = history.last(chain)
    if last is None or last.seq < seq:
        return b""
    found = history.records(chain, after=seq - 1, limit=1)
    return found[0].hash if found and found[0].seq == seq else b""
