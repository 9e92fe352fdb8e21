"""Vector clocks against dictionaries, and what a stranger may send as one."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow._core import ClockTable, VectorClock

Counts = dict[bytes, int]


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


counts = st.dictionaries(st.integers(0, 20).map(key), st.integers(1, 3), max_size=12)


def relation(left: Counts, right: Counts) -> str:
    """By the definition, over all replicas of both."""
    replicas = left.keys() | right.keys()
    less = any(left.get(replica, 0) < right.get(replica, 0) for replica in replicas)
    more = any(left.get(replica, 0) > right.get(replica, 0) for replica in replicas)
    return {(0, 0): "equal", (1, 0): "before", (0, 1): "after", (1, 1): "concurrent"}[less, more]


@given(left=counts, right=counts, shared=st.booleans())
def test_clocks_are_compared_by_the_definition(left: Counts, right: Counts, shared: bool) -> None:
    table = ClockTable() if shared else None
    mine, other = VectorClock(left, table=table), VectorClock(right, table=table or ClockTable())
    expected = relation(left, right)
    assert mine.compare(other) == expected
    assert (mine == other) == (expected == "equal")
    assert (mine <= other) == (expected in ("equal", "before"))
    assert (mine > other) == (expected == "after")
    assert mine.dominates(other) == (expected in ("equal", "after"))
    assert _core.compare_clocks(mine, [other, mine]) == [expected, "equal"]


@given(left=counts, right=counts, shared=st.booleans())
def test_a_merge_takes_the_greater_count(left: Counts, right: Counts, shared: bool) -> None:
    table = ClockTable() if shared else None
    mine, other = VectorClock(left, table=table), VectorClock(right, table=table or ClockTable())
    both = {
        replica: max(left.get(replica, 0), right.get(replica, 0))
        for replica in sorted(left.keys() | right.keys())
    }
    assert _core.merge_clocks([mine, other]).entries() == both
    mine.merge(other)
    assert list(mine.entries().items()) == list(both.items())
    assert other.entries() == right


@pytest.mark.holds("C2")
@given(left=counts, right=counts)
def test_merging_twice_is_merging_once(left: Counts, right: Counts) -> None:
    once, other = VectorClock(left), VectorClock(right)
    once.merge(other)
    twice = once.copy()
    twice.merge(other)
    twice.merge(twice)
    assert once == twice


@pytest.mark.holds("C5")
@given(left=counts, right=counts, replica=st.integers(0, 30).map(key))
def test_an_increment_after_a_merge_dominates(left: Counts, right: Counts, replica: bytes) -> None:
    mine, other = VectorClock(left), VectorClock(right)
    before = mine.copy()
    mine.merge(other)
    assert mine.increment(replica) == max(left.get(replica, 0), right.get(replica, 0)) + 1
    assert mine > other
    assert mine > before


@given(seen=counts)
def test_a_clock_comes_back_from_its_bytes(seen: Counts) -> None:
    data = VectorClock(seen).to_bytes()
    assert data == _core.encode([[replica, seen[replica]] for replica in sorted(seen)])
    assert VectorClock.from_bytes(data).entries() == seen


def test_the_clock_of_a_document_is_read_without_its_heads() -> None:
    head, other = (_core.cid_of(_core.encode(what)) for what in ("a head", "of a fork"))
    data = _core.encode([[key(1), 3, head], [key(1), 5, other], [key(2), 1, head]])
    assert VectorClock.from_bytes(data).entries() == {key(1): 5, key(2): 1}


@pytest.mark.holds("C15")
@pytest.mark.parametrize(
    "what",
    [
        b"",
        _core.encode({}),
        _core.encode([[key(1)]]),
        _core.encode([[key(1), 0]]),
        _core.encode([[key(1), -1]]),
        _core.encode([[key(1), 2**32]]),
        _core.encode([[key(1)[1:], 1]]),
        _core.encode([[key(2), 1], [key(1), 1]]),
        _core.encode([[key(1), 1], [key(1), 2]]),
        _core.encode([[key(1), 1, b"a head"]]),
        _core.encode([[key(1), 1, _core.cid_of(b"", "raw")], [key(2), 1]]),
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
    ids=repr,
)
def test_what_is_no_clock_is_refused(what: bytes) -> None:
    with pytest.raises(ValueError, match="not a clock"):
        VectorClock.from_bytes(what)


@pytest.mark.holds("C15")
def test_a_giant_clock_is_refused_in_bounded_memory() -> None:
    giant = _core.encode([[key(number), 1] for number in range(65_537)])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="65536 replicas"):
            VectorClock.from_bytes(giant)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    table = ClockTable()
    full = VectorClock.from_bytes(
        _core.encode([[key(number), 1] for number in range(65_536)]), table=table
    )
    assert (len(table), len(full)) == (65_536, 65_536)
    with pytest.raises(ValueError, match="65536 replicas"):
        full.increment(key(65_536))


def test_counts_do_not_wrap() -> None:
    clock = VectorClock({key(1): 2**32 - 1})
    with pytest.raises(ValueError, match="more operations"):
        clock.increment(key(1))
    with pytest.raises(OverflowError):
        clock.increment(key(1), -1)
    assert clock.get(key(1)) == 2**32 - 1
    with pytest.raises(ValueError, match="32 bytes"):
        clock.increment(b"short")
