"""The specification means what the table of concurrent pairs says, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crdt.made import Made, concurrent, kinds
from tests.crdt.specification import ABSENT, Mismatch, Writer, cid_of_change, parts, pointer

INT: list[tuple[Any, ...]] = [("set", "/k", 5)]
COUNTED: list[tuple[Any, ...]] = [("increment", "/k", 10)]
LISTED: list[tuple[Any, ...]] = [("append", "/k", "old")]
NESTED: list[tuple[Any, ...]] = [("set", "/m", {"a": 1, "b": 2})]

ROWS = {
    "set, set": (("set", "/k", 1), ("set", "/k", 2), (), {"k": 2}, {"set"}),
    "set, set of equal values": (("set", "/k", 1), ("set", "/k", 1), (), {"k": 1}, set()),
    "set of an int, of a float": (("set", "/k", 1), ("set", "/k", 1.0), (), {"k": 1.0}, {"set"}),
    "set, delete": (("set", "/k", 6), ("delete", "/k"), INT, {"k": 6}, {"delete"}),
    "increment, increment": (
        ("increment", "/k", 1),
        ("increment", "/k", 2),
        COUNTED,
        {"k": 13},
        set(),
    ),
    "increment, set a number": (
        ("increment", "/k", 1),
        ("set", "/k", 7),
        COUNTED,
        {"k": 8},
        {"increment"},
    ),
    "increment, delete": (("increment", "/k", 1), ("delete", "/k"), COUNTED, {"k": 1}, {"delete"}),
    "append, append": (
        ("append", "/k", 1, 2),
        ("append", "/k", 3),
        LISTED,
        {"k": ["old", 1, 2, 3]},
        set(),
    ),
    "append, delete": (("append", "/k", 1), ("delete", "/k"), LISTED, {"k": [1]}, {"delete"}),
    "append, set a list": (
        ("append", "/k", 1),
        ("set", "/k", [8, 9]),
        LISTED,
        {"k": [8, 9, 1]},
        {"append"},
    ),
    "merge, set of another leaf": (
        ("merge", "/m", {"a": 5, "c": {}}),
        ("set", "/m/b", 6),
        NESTED,
        {"m": {"a": 5, "b": 6, "c": {}}},
        set(),
    ),
    "merge, set of one leaf": (
        ("merge", "/m", {"a": 5, "c": 7}),
        ("set", "/m/a", 6),
        NESTED,
        {"m": {"a": 6, "b": 2, "c": 7}},
        {"set"},
    ),
    "nested set, delete above": (
        ("set", "/m/a", 6),
        ("delete", "/m"),
        NESTED,
        {"m": {"a": 6}},
        {"delete"},
    ),
    "create a map, create a map": (
        ("set", "/m", {"a": 1}),
        ("set", "/m", {"b": 2}),
        (),
        {"m": {"a": 1, "b": 2}},
        set(),
    ),
    "increment, append": (("increment", "/k", 1), ("append", "/k", 2), (), {"k": [2]}, {"type"}),
    "set text, increment": (
        ("set", "/k", "text"),
        ("increment", "/k", 2),
        (),
        {"k": "text"},
        {"type"},
    ),
    "set a number, set beneath": (
        ("set", "/k", 1),
        ("set", "/k/in", 2),
        (),
        {"k": {"in": 2}},
        {"type"},
    ),
    "set beneath, set a number": (("set", "/k/in", 2), ("set", "/k", 1), (), {"k": 1}, {"type"}),
    "set true, increment": (
        ("set", "/k", True),
        ("increment", "/k", 2),
        (),
        {"k": True},
        {"type"},
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_concurrent_pairs_mean_what_the_table_says(row: str) -> None:
    first, second, before, view, said = ROWS[row]
    reading = concurrent(first, second, before)
    assert reading.view() == view
    assert kinds(reading) == said


def test_a_write_that_saw_both_siblings_leaves_no_conflict() -> None:
    made = Made()
    made.call("a", "set", "/k", 1)
    made.call("b", "set", "/k", 2)
    made.see("a", "b")
    assert [value for _, value in made.reading("a").siblings(("k",))] == [1, 2]
    made.call("a", "set", "/k", 3)
    assert made.reading("a").siblings(("k",))[-1][1] == 3
    assert not made.reading("a").conflicts()


def test_a_tomb_ends_with_the_next_write_that_saw_it() -> None:
    made = Made()
    made.call("a", "set", "/m/x", 1)
    made.see("b", "a")
    made.call("a", "delete", "/m")
    made.call("b", "set", "/m/y", 2)
    made.see("b", "a")
    assert kinds(made.reading("b")) == {"delete"}
    made.call("b", "increment", "/m/z", 0)
    assert not kinds(made.reading("b"))
    assert made.reading("b").view() == {"m": {"y": 2, "z": 0}}


def test_a_map_of_a_literal_stays_when_empty_and_an_implied_one_goes() -> None:
    made = Made()
    made.call("a", "set", "/made", {"x": 1})
    made.call("a", "set", "/implied/x", 1)
    made.call("a", "delete", "/made/x")
    made.call("a", "delete", "/implied/x")
    assert made.reading("a").view() == {"made": {}}


def test_two_lines_of_one_replica_are_concurrent() -> None:
    made = Made()
    made.call("a", "set", "/k", 0)
    made.has["a2"], made.last["a2"] = set(made.has["a"]), made.last["a"]
    made.call("a", "set", "/k", 1)
    made.write("a", lambda writer: writer.set(("k",), 2), line="2")
    reading = made.reading("a", "a2")
    assert len(reading.heads()) == 2
    assert kinds(reading) == {"set"}
    assert not reading.stable([b"a".ljust(32, b"\0")]) - {
        cid for cid in reading.changes if not made.history.below[cid]
    }


def test_what_is_stable_is_what_each_has_shown_to_have_seen() -> None:
    made = Made()
    first = made.call("a", "set", "/k", 1)
    made.see("b", "a")
    made.call("b", "set", "/l", 1)
    keys = [name.encode().ljust(32, b"\0") for name in "ab"]
    assert made.reading("b").stable(keys) == {first.cid}
    assert made.reading("b").stable([*keys, b"c" * 32]) == frozenset()


def test_a_cut_is_not_stable_while_a_change_outside_did_not_see_all_of_it() -> None:
    made = Made()
    made.call("a", "set", "/k", 1)
    made.call("b", "set", "/k", 2)
    made.see("c", "a")
    made.call("c", "set", "/l", 1)
    made.see("b", "c")
    made.call("b", "set", "/m", 1)
    keys = [name.encode().ljust(32, b"\0") for name in "abc"]
    assert made.reading("b").stable(keys) == frozenset()
    made.see("a", "b")
    made.see("c", "b")
    made.call("a", "set", "/m", 2)
    made.call("c", "set", "/m", 3)
    made.see("b", "a", "c")
    assert len(made.reading("b").stable(keys)) == 4


@pytest.mark.parametrize(
    ("before", "call"),
    [
        (("set", "/k", "text"), ("increment", "/k", 1)),
        (("set", "/k", True), ("increment", "/k", 1)),
        (("set", "/k", 1.0), ("increment", "/k", 1)),
        (("append", "/k", 1), ("increment", "/k", 1)),
        (("increment", "/k", 1), ("append", "/k", 1)),
        (("set", "/k", {}), ("append", "/k", 1)),
        (("set", "/k", 1), ("set", "/k/in", 1)),
        (("set", "/k", 1), ("merge", "/k", {"in": 1})),
        (("set", "/k", 1), ("merge", "", {"k": {"in": 1}})),
        (("set", "/k", 1), ("merge", "/k", {})),
    ],
)
def test_misuse_of_a_type_is_refused(before: tuple[Any, ...], call: tuple[Any, ...]) -> None:
    made = Made()
    made.call("a", *before)
    with pytest.raises(Mismatch):
        made.call("a", *call)


def test_a_transaction_reads_its_own_writes() -> None:
    made = Made()

    def fill(writer: Writer) -> None:
        writer.set(("k",), 1)
        writer.increment(("k",), 2)
        assert writer.reading().view() == {"k": 3}
        writer.delete(("k",))
        writer.delete(("k",))
        assert writer.reading().view(("k",)) is ABSENT

    assert len(made.write("a", fill).operations) == 3


def test_the_identifier_of_a_conflict_is_a_function_of_its_operations() -> None:
    (one,) = concurrent(("set", "/a~0b", 1), ("set", "/a~0b", 2)).conflicts()
    assert one.path == "/a~0b"
    assert (len(one.id), len(one.operations)) == (32, 2)
    assert pointer(parts("/a~1b/~0")) == "/a~1b/~0"
    assert cid_of_change(b"\0" * 32)[:4].hex() == "01711220"
