"""Erasures on record, carried out: also those that a crash cut short or a backup brought back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from qflow import _core
from qflow.audit._answer import Entry
from qflow.audit._read import History
from qflow.model import id_bytes

ERASED: Final = "q.qflow.history.erased.v1"
MARK_EVERY: Final = 256
"""Records of the node's own chain between two marks in the keyring: what an opening reads again."""
_PAGE: Final = 1000


class Erasure(NamedTuple):
    """What a record of an erasure says."""

    chain: bytes
    """16 bytes, of the execution."""
    key: int
    """The number of its data key."""
    adopted: bool
    """The key came from another keyring, and the number is of that."""
    envelopes: tuple[bytes, ...]
    """The CIDs of the envelopes in which the key may lie elsewhere."""


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

    def hold(self) -> None:
        """From now on this process alone writes them. Finishes what a crash cut short."""
        ...

    def shred(self, numbers: Iterable[int]) -> None:
        """Destroy keys of our own. Durable on return; again is no harm."""
        ...

    def shred_adopted(self, names: Iterable[tuple[bytes, int]]) -> None:
        """Destroy keys that came from elsewhere, by chain and number. As `shred`."""
        ...

    def mark_applied(self, count: int, digest: bytes) -> None:
        """It has seen so many records. Durable on return."""
        ...


def apply_erasures(
    history: History,
    chain: bytes,
    keys: Shredder,
    *,
    mark: bool,
    also: Callable[[list[Erasure]], None] = lambda _: None,
) -> None:
    """Destroy every key that the node's own chain says is destroyed. Durable on return.

    Only what this copy of the keyring has not seen is read. `mark` is for the holder of the log's
    lock: it notes in the keyring how far it has seen, and gives what it found to `also` as well,
    which removes what was kept elsewhere; what a crash left of that is so done again.
    """
    if mark:
        keys.hold()
    if not keys.exists:
        return
    seen, digest = keys.applied
    if seen and _hash_at(history, chain, seen - 1) != digest:
        seen = 0
    last, numbers = None, 0
    for page in pages(history, chain, seen - 1):
        metas = [entry.record["meta"] for entry in page if entry.record["type"] == ERASED]
        found = [erasure for meta in metas if (erasure := erasure_of(meta)) is not None]
        shred(keys, found)
        if mark and found:
            also(found)
        last, numbers = page[-1], numbers + len(found)
    if mark and last is not None and (numbers or last.seq - seen >= MARK_EVERY):
        keys.mark_applied(last.seq + 1, last.hash)


def shred(keys: Shredder, erasures: Iterable[Erasure]) -> None:
    """Destroy the keys of these executions. Durable on return.

    The number of a key that came from elsewhere may be that of another key of our own.
    """
    erased = list(erasures)
    keys.shred_adopted([(erasure.chain, erasure.key) for erasure in erased])
    keys.shred([erasure.key for erasure in erased if not erasure.adopted])


def erasure_of(meta: Mapping[str, Any]) -> Erasure | None:
    """What the `meta` of such a record says; None when it names no key."""
    key, newest, earlier = meta.get("key"), meta.get("envelope"), meta.get("earlier")
    named = [newest, *(earlier if isinstance(earlier, list) else ())]
    if not isinstance(key, int):
        return None
    return Erasure(
        chain=id_bytes(meta["execution"]),
        key=key,
        adopted=meta.get("adopted") is True,
        envelopes=tuple(bytes(_core.Cid(cid)) for cid in named if isinstance(cid, str)),
    )


class Erased:
    """The executions that the node's own chain says are erased. Reads on where it stopped."""

    def __init__(self, history: History, chain: bytes) -> None:
        self._history, self._chain = history, chain
        self._found: set[bytes] = set()
        self._seen = -1

    def __contains__(self, execution: bytes) -> bool:
        for page in pages(self._history, self._chain, self._seen):
            for entry in page:
                if entry.record["type"] == ERASED:
                    self._found.add(id_bytes(entry.record["meta"]["execution"]))
            self._seen = page[-1].seq
        return execution in self._found


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
