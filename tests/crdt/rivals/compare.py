"""Holds what a library read against what its own rules and ours say."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.crdt.rivals.hands import play
from tests.crdt.rivals.histories import (
    ABSENT,
    RULES,
    SHAPES,
    History,
    Path,
    elements,
    generate,
    ours,
    total,
)

LIBRARIES = ("qflow", "loro", "pycrdt", "automerge")
IN_OUR_ORDER = frozenset({"qflow"})

Found = Counter[str]
"""By library and outcome, how many values."""


class DifferenceError(AssertionError):
    """A library read what no rule explains."""


def lookup(members: Any, path: Path) -> Any:
    for part in path:
        if part not in members:
            return ABSENT
        members = members[part]
    return members


def leaves(members: dict[str, Any], before: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for part, value in members.items():
        inner = (*before, part)
        found |= leaves(value, inner) if isinstance(value, dict) else {inner}
    return found


def compare_members(name: str, history: History, members: dict[str, Any], found: Found) -> None:
    """Each value is what the library's rules say; where ours say the same, it is as ours."""
    stray = leaves(members) - set(history.paths())
    if stray:
        raise DifferenceError(f"{name}: nobody wrote {sorted(stray)}")
    missing = [path for path in history.maps if lookup(members, path) is ABSENT]
    if missing:
        raise DifferenceError(f"{name}: the maps {missing} are gone")
    for path in history.paths():
        value = lookup(members, path)
        due = RULES[name](history.operations, path)
        if value != due or isinstance(value, bool) != isinstance(due, bool):
            raise DifferenceError(f"{name} at {path}: {value!r}, its rules say {due!r}")
        same = value == ours(history.operations, path)
        found[f"{name}: {'the same value' if same else 'another value, as its rules say'}"] += 1


def compare_list(name: str, history: History, read: list[Any], found: Found) -> None:
    """The same elements; where one replica had seen one before it appended the other, in order."""
    due = elements(history.operations)
    if name in IN_OUR_ORDER and read != [element for _, element in due]:
        raise DifferenceError(f"{name}: {read}, not in the order of stamps: {due}")
    if sorted(read) != sorted(element for _, element in due):
        raise DifferenceError(f"{name}: {read}, but live are {due}")
    place = {element: at for at, element in enumerate(read)}
    concurrent = False
    for at, (later, second) in enumerate(due):
        for earlier, first in due[:at]:
            if earlier is not later and not later.saw & earlier.bit:
                concurrent = True
            elif place[first] > place[second]:
                raise DifferenceError(f"{name}: {second} stands before {first}, which it followed")
    same = read == [element for _, element in due]
    if not same and not concurrent:
        raise DifferenceError(f"{name}: {read} in another order, though nothing was concurrent")
    found[f"{name}: {'the same list' if same else 'the same elements in another order'}"] += 1


def compare(name: str, history: History, found: Found) -> None:
    """Play the history in one library, and judge what it read. Raises DifferenceError."""
    reads = play(name, history)
    if any(read != reads[0] for read in reads[1:]):
        raise DifferenceError(f"{name}: two replicas that saw the same differ: {reads}")
    read = reads[0]
    compare_members(name, history, read["m"], found)
    compare_list(name, history, read["l"], found)
    due = total(history.operations)
    if read["n"] != due:
        raise DifferenceError(f"{name}: counted {read['n']}, but it is {due}")
    if any(step.verb == "add" for step in history.steps):
        found[f"{name}: the same count"] += 1


def run(seed: int, libraries: tuple[str, ...] = LIBRARIES) -> Found:
    """One history, whose shape goes by turns, through all libraries."""
    found: Found = Counter()
    history = generate(seed, SHAPES[seed % len(SHAPES)])
    for name in libraries:
        try:
            compare(name, history, found)
        except DifferenceError as error:
            error.add_note(f"history {seed}: {history.steps}")
            raise
    return found
