"""Strategies: what a reader makes of values that conflict. Projections only, nothing is written.

Two nodes with different strategies have the same document: each looks at the same siblings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from qflow import _core


class Sibling(msgspec.Struct, frozen=True, kw_only=True):
    """One of the values that were set at a path by replicas that did not see each other."""

    value: Any
    replica: bytes
    """Ed25519 public key of who set it."""
    lamport: int
    """Logical time: greater than that of everything its writer had seen."""
    operation: bytes
    """CID of the operation."""


Strategy = Callable[[Sequence[Sibling]], Any]
"""Given at least two siblings, the greatest stamp (what the document itself shows) first. What it
raises, the read raises."""


def last_write(siblings: Sequence[Sibling]) -> Any:
    """The value of the greatest stamp: what a document shows without a strategy."""
    return siblings[0].value


def largest(siblings: Sequence[Sibling]) -> Any:
    """The greatest number; of others, and of equal ones, the last write. Texts do not count."""
    return _extreme(siblings, 1)


def smallest(siblings: Sequence[Sibling]) -> Any:
    """As `largest`, the least number."""
    return _extreme(siblings, -1)


def keep_all(siblings: Sequence[Sibling]) -> Any:
    """The list of all values that differ, the last write first."""
    return _distinct(one.value for one in siblings)


def union(siblings: Sequence[Sibling]) -> Any:
    """The elements of all lists, each once, in the order of the oldest list first; a value that is
    no list is an element."""
    elements: list[Any] = []
    for one in reversed(siblings):
        elements += one.value if isinstance(one.value, list) else [one.value]
    return _distinct(elements)


def prefer(replicas: Sequence[bytes]) -> Strategy:
    """A strategy: the value of the replica that comes first in a list; of others the last write."""
    rank: Final = {replica: at for at, replica in enumerate(replicas)}

    def chosen(siblings: Sequence[Sibling]) -> Any:
        return min(siblings, key=lambda one: rank.get(one.replica, len(rank))).value

    return chosen


NAMED: Final[dict[str, Strategy]] = {
    "last-write": last_write,
    "max": largest,
    "min": smallest,
    "union": union,
    "keep-all": keep_all,
}
"""Strategies by the names that settings and commands have for them."""


def strategy_of(given: str | Strategy | None) -> Strategy | None:
    """A strategy by its name; None: the document's own reading, `last-write`.

    Raises ValueError for a name that is none."""
    if given is None or callable(given):
        return given
    if given not in NAMED:
        raise ValueError(f"no strategy {given!r:.80}: {', '.join(NAMED)}")
    return None if given == "last-write" else NAMED[given]


def _extreme(siblings: Sequence[Sibling], sign: int) -> Any:
    numbers = [one for one in siblings if _is_number(one.value)]
    if not numbers:
        return siblings[0].value
    # The first of equal ones: they are in the order of their stamps.
    return max(numbers, key=lambda one: sign * one.value).value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distinct(values: Any) -> list[Any]:
    """Each value once, told apart by its canonical form: 1, 1.0 and true are three."""
    return list({_core.encode(value): value for value in values}.values())


class Siblings(Protocol):
    """What a strategy is applied to: a `Document`."""

    def siblings(self, path: str) -> list[Sibling]:
        """See `Document.siblings`."""
        ...


def projected(
    document: Siblings, path: str, found: Any, paths: Iterable[str], strategy: Strategy
) -> Any:
    """A reading of `path` with the strategy's choice at `paths`, where values conflict. `found` is
    the document's own reading; it is changed where it is a map."""
    root = {"": found}
    for one in paths:
        parts = ["", *_parts(one.removeprefix(path))]
        holder: Any = root
        for part in parts[:-1]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        last = parts[-1]
        if not isinstance(holder, dict) or last not in holder or isinstance(holder[last], dict):
            continue  # the document shows something else there
        holder[last] = _chosen(document.siblings(one), holder[last], strategy)
    return root[""]


def _chosen(siblings: Sequence[Sibling], shown: Any, strategy: Strategy) -> Any:
    """What the strategy chooses, and what a counter or list beside the values adds to it."""
    chosen, winner = strategy(siblings), siblings[0].value
    if _is_int(chosen) and _is_int(winner) and _is_int(shown):
        return chosen + shown - winner
    if all(isinstance(one, list) for one in (chosen, winner, shown)):
        return chosen + shown[len(winner) :]
    return chosen


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _parts(pointer: str) -> list[str]:
    parts = pointer.split("/")[1:]
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]
