"""Blocks by their CIDs, against those that the IPLD project publishes."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from tests.core.vectors import load_blocks

FIXTURES = load_blocks("codec-fixtures.car")


def links_of(value: Any) -> list[bytes]:
    match value:
        case _core.Cid():
            return [bytes(value)]
        case list():
            return [link for item in value for link in links_of(item)]
        case dict():
            return [link for item in value.values() for link in links_of(item)]
    return []


def test_every_published_block_is_what_its_cid_says() -> None:
    codecs = Counter(_core.Cid(cid).codec for cid, _ in FIXTURES)
    assert codecs == {"dag-cbor": 128, "0x129": 128, "dag-pb": 17}
    assert _core.check_blocks(FIXTURES) == [True] * 273


@pytest.mark.holds("S14")
@pytest.mark.parametrize("at", [0, -1])
def test_a_changed_byte_of_a_published_block_is_caught(at: int) -> None:
    changed = []
    for cid, data in FIXTURES:
        block = bytearray(data or b"\0")
        block[at] ^= 0x80 if data else 0
        changed.append((cid, bytes(block)))
    assert _core.check_blocks(changed) == [False] * len(changed)


def test_links_of_published_blocks_are_those_that_they_hold() -> None:
    found = 0
    for cid, data in FIXTURES:
        if _core.Cid(cid).codec == "dag-cbor":
            links = _core.block_links(cid, data)
            assert links == links_of(_core.decode(data))
            found += len(links)
            continue
        with pytest.raises(ValueError, match="codec 0x"):
            _core.block_links(cid, data)
    assert found > 30


@given(st.lists(st.tuples(st.binary(max_size=200), st.booleans(), st.booleans()), max_size=60))
def test_many_are_judged_by_what_others_hash(blocks: list[tuple[bytes, bool, bool]]) -> None:
    claims = []
    for data, by_blake3, good in blocks:
        function, digest = (b"\x1e", blake3(data)) if by_blake3 else (b"\x12", sha256(data))
        name = bytearray(b"\x01\x55" + function + b"\x20" + digest.digest())
        name[-1] ^= not good
        claims.append((bytes(name), data))
    assert _core.check_blocks(claims) == [good for *_, good in blocks]


def test_links_come_in_order_and_raw_blocks_have_none() -> None:
    first, second = _core.cid_of(b"first", "raw"), _core.cid_of(b"\xf6")
    data = _core.encode({"b": second, "a": [second, bytes(first), first]})
    links = [bytes(second), bytes(first), bytes(second)]
    assert _core.block_links(bytes(_core.cid_of(data)), data) == links
    assert _core.block_links(bytes(first), b"first") == []


@pytest.mark.parametrize("data", [b"", b"\x18\x01", b"\xf6\xf6", b"\xa2\x61b\x01\x61a\x01"])
def test_other_spellings_are_no_blocks(data: bytes) -> None:
    cid = bytes(_core.cid_of(data))
    assert _core.check_blocks([(cid, data)]) == [False]
    with pytest.raises(ValueError, match="byte"):
        _core.block_links(cid, data)


@pytest.mark.parametrize("cid", [b"", b"\x01", bytes(36), b"\x01\x55\x00\x04data"])
def test_what_is_no_cid_names_nothing(cid: bytes) -> None:
    assert _core.check_blocks([(cid, b"data")]) == [False]


def test_a_call_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 1048576"):
        _core.check_blocks([(b"", b"")] * (2**20 + 1))
