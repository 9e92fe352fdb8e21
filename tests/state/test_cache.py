"""The cache is bounded in bytes, and keeps what was used last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.state._cache import ENTRY_BYTES, Cache


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = Cache(3 * (100 + ENTRY_BYTES))
    cache.put((name, bytes(100)) for name in (b"a", b"b", b"c"))
    assert cache.get(b"a") == bytes(100)
    cache.put([(b"d", bytes(100))])
    assert cache.get(b"b") is None
    assert [cache.get(name) is not None for name in (b"a", b"c", b"d")] == [True] * 3
    assert (cache.hits, cache.misses) == (4, 1)


@given(
    bound=st.integers(0, 5000),
    puts=st.lists(st.tuples(st.binary(max_size=1), st.integers(0, 3000)), max_size=60),
)
def test_it_never_holds_more_than_its_bound(bound: int, puts: list[tuple[bytes, int]]) -> None:
    cache, seen = Cache(bound), dict[bytes, bytes]()
    for name, size in puts:
        seen.setdefault(name, bytes(size))
        cache.put([(name, seen[name])])
        assert cache.size_bytes <= bound
        assert cache.size_bytes == sum(
            len(seen[name]) + ENTRY_BYTES for name in seen if name in cache._blocks
        )
        found = cache.get(name)
        assert found in (None, seen[name])
    cache.drop(seen)
    assert cache.size_bytes == len(cache) == 0


def test_a_block_beyond_the_bound_drives_nothing_out() -> None:
    cache = Cache(1000)
    cache.put([(b"a", bytes(100)), (b"large", bytes(2000))])
    assert cache.get(b"a") is not None
    assert cache.get(b"large") is None


@pytest.mark.parametrize("bound", [0, 1])
def test_a_cache_of_nothing_keeps_nothing(bound: int) -> None:
    cache = Cache(bound)
    cache.put([(b"a", b"")])
    assert cache.get(b"a") is None
