"""Records: written once, read back whole, refused when anything is wrong."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow._core import Cid, cid_of, decode, decode_record, encode, encode_records, record_hash
from tests.core.vectors import load_vectors, untag

CHAIN, GENESIS = bytes(range(16)), bytes(32)
KEYS = ["v", "at", "seq", "flow", "meta", "node", "prev", "type", "actor", "chain", "epoch"]


def write(*facts: Any, seq: int = 0, prev: bytes = GENESIS) -> Any:
    return encode_records(CHAIN, seq, prev, "demo/a/1.0.0", 1, "local", "node", "local", 0, facts)


def test_a_golden_chain_has_golden_bytes() -> None:
    golden = load_vectors("record.json")
    facts = [
        (
            fact["type"],
            fact["step"],
            fact["attempt"],
            (untag(fact["payload"]),) if "payload" in fact else None,
            fact["meta"],
        )
        for fact in golden["facts"]
    ]
    records, blocks, last = encode_records(
        chain=bytes.fromhex(golden["chain"]),
        seq=0,
        prev=GENESIS,
        facts=facts,
        **{name: golden[name] for name in ("flow", "at", "actor", "node", "subnet", "epoch")},
    )
    assert [record.hex() for record in records] == golden["records"]
    assert [record_hash(record).hex() for record in records] == golden["hashes"]
    assert last.hex() == golden["hashes"][-1]
    written = [{"cid": cid.hex(), "data": data.hex()} for cid, data in blocks]
    assert written == golden["blocks"]


@pytest.mark.holds("H10")
def test_each_record_names_its_flow_and_the_one_before() -> None:
    first = ("t.created", None, None, ({"a": 1},), {"m": [1, {"x": None}]})
    records, blocks, last = write(first, ("t.done", "/do/0/a", 2, None, {}), seq=5, prev=b"p" * 32)
    one, two = map(decode_record, records)
    assert [one["flow"], two["flow"]] == ["demo/a/1.0.0"] * 2
    assert (one["seq"], two["seq"]) == (5, 6)
    assert (one["prev"], two["prev"]) == (b"p" * 32, record_hash(records[0]))
    assert last == record_hash(records[1]) == hashlib.sha256(b"\0" + records[1]).digest()
    assert one["payload"] == cid_of(encode({"a": 1})) == Cid(blocks[0][0])
    assert decode(blocks[0][1]) == {"a": 1}
    assert one["meta"] == {"m": [1, {"x": None}]}
    assert (two["step"], two["attempt"], two["payload"]) == ("/do/0/a", 2, None)
    assert "step" not in one
    assert "attempt" not in one
    with pytest.raises(ValueError, match="flow"):
        encode_records(CHAIN, 0, GENESIS, "", 1, "a", "n", "s", 0, [("t", None, None, None, {})])


def test_a_null_payload_is_not_an_absent_one() -> None:
    records, blocks, _ = write(("t", None, None, (None,), {}), ("t", None, None, None, {}))
    assert decode_record(records[0])["payload"] == cid_of(encode(None))
    assert decode_record(records[1])["payload"] is None
    assert [data for _, data in blocks] == [encode(None)]


def test_a_record_is_a_canonical_map() -> None:
    record = write(("t", "s", 1, None, {}))[0][0]
    fields = decode(record)
    assert encode(fields) == record
    assert set(fields) == {*KEYS, "step", "attempt", "subnet", "payload"}


@pytest.mark.parametrize(
    "fact",
    [
        ("t", None, None, None, {"x": "y" * 8000}),
        ("t", "s" * 8000, None, None, {}),
        ("", None, None, None, {}),
        ("t", None, None, ("x" * (1 << 20),), {}),
        ("t", None, None, ({"x": float("nan")},), {}),
        ("t", None, 2**63, None, {}),
        ("t", None, None, None, [1]),
    ],
)
def test_what_does_not_fit_a_record_is_refused(fact: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        write(("t", None, None, None, {}), fact)


def test_numbers_outside_the_format_are_refused() -> None:
    for seq, prev in ((-1, GENESIS), (2**63, GENESIS), (0, b"short")):
        with pytest.raises((ValueError, OverflowError)):
            write(("t", None, None, None, {}), seq=seq, prev=prev)


def changed(record: bytes, **fields: Any) -> bytes:
    content = decode(record) | fields
    return encode({key: value for key, value in content.items() if value is not ...})


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 2},
        {"v": ...},
        {"chain": b"short"},
        {"prev": "text"},
        {"seq": -1},
        {"seq": 2**63},
        {"at": 1.5},
        {"flow": ""},
        {"flow": ...},
        {"type": None},
        {"step": None},
        {"attempt": "1"},
        {"payload": b"bytes"},
        {"payload": ...},
        {"meta": []},
        {"meta": None},
        {"clock": {}},
        {"extra": 1},
        {"node": 1},
        {"epoch": None},
        {"meta": {"x": "y" * 8000}},
    ],
)
def test_other_records_are_refused(fields: dict[str, Any]) -> None:
    record = write(("t", "s", 1, ({},), {}))[0][0]
    with pytest.raises(ValueError, match="a record"):
        decode_record(changed(record, **fields))


@given(st.data())
def test_a_changed_record_has_another_hash_or_is_refused(data: st.DataObject) -> None:
    record = write(("t", "s", 1, ({},), {"a": [1, "x"]}))[0][0]
    at = data.draw(st.integers(0, len(record) - 1))
    other = bytearray(record)
    other[at] ^= data.draw(st.integers(1, 255))
    assert record_hash(bytes(other)) != record_hash(record)
    try:
        fields = decode_record(bytes(other))
    except ValueError:
        return
    assert fields != decode_record(record)
