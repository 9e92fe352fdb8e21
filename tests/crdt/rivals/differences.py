"""Where a rival means something else: the smallest history that shows it, and what each then reads.

docs/guides/crdt-rivals.md explains each under its name; the test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.crdt.rivals.hands import play
from tests.crdt.rivals.histories import History, Step

OUR_ANSWER = "qflow"
EXACT_BELOW = 1 << 53
"""From here on a float has no odd numbers."""


@dataclass(frozen=True)
class Difference:
    """Two replicas, unless a step names more."""

    name: str
    steps: tuple[Step, ...]
    part: str
    reads: Mapping[str, Any]
    """By library, what stands in that part at the end; a library that cannot do it is left out."""

    def read(self, library: str) -> Any:
        history = History(max(step.replica for step in self.steps))
        for step in self.steps:
            history.take(step)
        history.end()
        return play(library, history)[0][self.part]


def put(replica: int, key: str, value: Any) -> Step:
    return Step(replica, "set", tuple(key.split("/")), value)


def delete(replica: int, key: str) -> Step:
    return Step(replica, "delete", tuple(key.split("/")))


def make(replica: int, key: str) -> Step:
    return Step(replica, "map", tuple(key.split("/")))


def see(replica: int, other: int) -> Step:
    return Step(replica, "see", value=other)


def append(replica: int, *values: Any) -> Step:
    return Step(replica, "append", value=values)


def add(replica: int, number: int) -> Step:
    return Step(replica, "add", value=number)


DIFFERENCES = (
    Difference(
        "which of two concurrent sets is shown",
        (put(2, "a", "early"), put(1, "b", 0), put(1, "a", "late")),
        "m",
        {
            "qflow": {"a": "late", "b": 0},
            "loro": {"a": "late", "b": 0},
            "pycrdt": {"a": "early", "b": 0},
            "automerge": {"a": "late", "b": 0},
        },
    ),
    Difference(
        "a set and a later delete that did not see it",
        (put(1, "a", 0), see(2, 1), put(1, "a", 1), put(2, "b", 2), delete(2, "a")),
        "m",
        {
            "qflow": {"a": 1, "b": 2},
            "loro": {"b": 2},
            "pycrdt": {"a": 1, "b": 2},
            "automerge": {"a": 1, "b": 2},
        },
    ),
    Difference(
        "a set, while another replica sets and deletes",
        (put(1, "a", 1), put(2, "a", 2), delete(2, "a")),
        "m",
        {"qflow": {"a": 1}, "loro": {}, "pycrdt": {}, "automerge": {"a": 1}},
    ),
    Difference(
        "the value that was there is set again",
        (put(1, "a", 1), see(2, 1), put(2, "a", 1), put(1, "a", 2)),
        "m",
        {"qflow": {"a": 1}, "loro": {"a": 2}, "pycrdt": {"a": 1}, "automerge": {"a": 2}},
    ),
    Difference(
        "order of concurrent appends",
        (append(1, "a1"), append(1, "a2"), append(2, "b1"), append(2, "b2")),
        "l",
        {
            "qflow": ["a1", "b1", "a2", "b2"],
            "loro": ["a1", "a2", "b1", "b2"],
            "pycrdt": ["a1", "a2", "b1", "b2"],
            "automerge": ["b1", "b2", "a1", "a2"],
        },
    ),
    Difference(
        "one map made twice",
        (make(1, "x"), put(1, "x/a", 1), make(2, "x"), put(2, "x/b", 2)),
        "m",
        {
            "qflow": {"x": {"a": 1, "b": 2}},
            "loro": {"x": {"a": 1, "b": 2}},
            "pycrdt": {"x": {"b": 2}},
            "automerge": {"x": {"b": 2}},
        },
    ),
    Difference(
        "a write into a map that is deleted meanwhile",
        (make(1, "x"), put(1, "x/a", 1), see(2, 1), put(1, "x/b", 2), delete(2, "x")),
        "m",
        {"qflow": {"x": {"b": 2}}, "loro": {}, "pycrdt": {}, "automerge": {}},
    ),
    Difference(
        "the last member of a map that nobody made goes",
        (put(1, "x/a", 1), delete(1, "x/a"), put(2, "b", 2)),
        "m",
        {"qflow": {"b": 2}, "loro": {"b": 2, "x": {}}},
    ),
    Difference(
        "a counter beyond what a float counts",
        (add(1, EXACT_BELOW), see(2, 1), add(2, 1)),
        "n",
        {"qflow": EXACT_BELOW + 1, "loro": EXACT_BELOW, "automerge": EXACT_BELOW + 1},
    ),
)
