"""Segments: golden bytes, their bounds, and everything else is refused."""

from __future__ import annotations

from typing import Any

import pytest

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._segment import (
    RECORDS_MAX,
    SEGMENT_BYTES_MAX,
    TEXT_BYTES_MAX,
    Segment,
    make_segments,
)
from tests.core.vectors import load_vectors
from tests.state import golden

VECTORS = load_vectors("state-version.json")
CASES = VECTORS["segments"]
KEY = _core.SealingKey(VECTORS["key_number"], bytes.fromhex(VECTORS["key"]))
CHAIN = bytes.fromhex(VECTORS["chain"])
BLOCKS = [bytes.fromhex(case["block"]) for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["first"]))
def test_golden_bytes(case: dict[str, Any]) -> None:
    segment = Segment.parse(bytes.fromhex(case["block"]))
    assert segment.chain == CHAIN
    assert segment.first == case["first"]
    assert (segment.previous and segment.previous.hex()) == case["previous"]
    assert [cid.hex() for cid in segment.payloads] == case["payloads"]
    assert [record.hex() for record in segment.unseal(KEY)] == case["records"]
    assert str(_core.cid_of(bytes.fromhex(case["block"]))) == case["cid"]


def test_a_segment_links_to_its_payloads_and_to_the_one_before() -> None:
    first, second = BLOCKS
    links = _core.block_links(bytes(_core.cid_of(second)), second)
    assert links == [bytes(_core.cid_of(first))]
    assert _core.block_links(bytes(_core.cid_of(first)), first) == [
        golden.cid(b"payload of two", "raw")
    ]


@pytest.mark.parametrize(
    ("count", "size"), [(1, 8000), (97, 8000), (300, 8000), (RECORDS_MAX + 1, 10), (9000, 100)]
)
def test_many_records_become_as_many_segments_as_they_need(count: int, size: int) -> None:
    records = [
        (at.to_bytes(4, "big") * (size // 4), golden.cid(b"%d" % at, "raw")) for at in range(count)
    ]
    blocks = make_segments(CHAIN, 0, None, records, KEY)
    seen: list[bytes] = []
    previous = None
    for cid, data in blocks:
        assert len(data) <= SEGMENT_BYTES_MAX
        segment = Segment.parse(data)
        part = segment.unseal(KEY)
        assert (segment.first, segment.previous) == (len(seen), previous)
        assert sum(map(len, part)) <= TEXT_BYTES_MAX
        assert len(part) == len(segment.payloads) <= RECORDS_MAX
        seen, previous = seen + part, cid
    assert seen == [data for data, _ in records]


WRONG: dict[str, list[Any]] = {
    "v": [0, 2, True, None],
    "kind": ["qflow.state", None, ""],
    "chain": [bytes(15), None, "x"],
    "first": [-1, None, 2**63, 0.0, True],
    "previous": [golden.cid(b"x"), _core.cid_of(b"x", "raw"), 5],
    "sealed": [None, "x"],
    "payloads": [
        None,
        {},
        [b"x"],
        [_core.cid_of(b"x")],
        [_core.cid_of(b"x", "raw")] * 2,
        [_core.cid_of(b"%d" % at, "raw") for at in range(RECORDS_MAX + 1)],
    ],
}


@pytest.mark.holds("S14")
def test_every_other_form_is_refused() -> None:
    made = _core.decode(BLOCKS[1])
    others: list[Any] = [{k: v for k, v in made.items() if k != gone} for gone in made]
    others += [{**made, name: value} for name, values in WRONG.items() for value in values]
    others += [{**made, "more": 1}, {**made, "previous": None}, {**made, "first": 0}, {}]
    for other in (*others, [], None):
        with pytest.raises(ValueError, match=r"."):
            Segment.parse(_core.encode(other))
    with pytest.raises(ValueError, match="are allowed"):
        Segment.parse(bytes(SEGMENT_BYTES_MAX + 1))


def is_opened(data: bytes) -> bool:
    try:
        Segment.parse(data).unseal(KEY)
    except (ValueError, VerificationError):
        return False
    return True


@pytest.mark.holds("S14")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_flipped_byte_and_a_cut_anywhere_are_refused(block: bytes) -> None:
    assert is_opened(block)
    for at in range(len(block)):
        for bits in (0x01, 0x80, 0xFF):
            changed = bytearray(block)
            changed[at] ^= bits
            assert not is_opened(bytes(changed)), at
        assert not is_opened(block[:at])
    assert not is_opened(block + b"\0")


@pytest.mark.holds("S14")
def test_a_part_of_one_segment_does_not_fit_into_another() -> None:
    first, second = (_core.decode(block) for block in BLOCKS)
    for into, other in ((first, second), (second, first)):
        assert not is_opened(_core.encode({**into, "sealed": other["sealed"]}))
        assert not is_opened(_core.encode({**into, "payloads": other["payloads"]}))
        assert not is_opened(_core.encode({**into, "chain": bytes(16)}))


def test_what_is_sealed_and_is_no_list_of_records_is_refused() -> None:
    made = _core.decode(BLOCKS[0])
    del made["sealed"]
    for text in (b"", b"\xff", _core.encode([]), _core.encode({}), _core.encode(["text"])):
        sealed = KEY.seal_bytes(text, bound=b"QFSH\x01" + _core.encode(made))
        with pytest.raises(VerificationError):
            Segment.parse(_core.encode({**made, "sealed": sealed})).unseal(KEY)
