"""Canonical bytes: one spelling for each value, in both directions."""

from __future__ import annotations

import enum
import math
import pickle
import threading
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow._core import Cid, cid_of, decode, encode
from tests.core.vectors import load_blocks, load_vectors, untag

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.binary().map(lambda data: cid_of(data, "raw")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_golden_values_have_golden_bytes() -> None:
    for case in load_vectors("canonical.json")["canonical"]:
        data = bytes.fromhex(case["hex"])
        assert encode(untag(case["value"])) == data
        assert encode(decode(data)) == data
        assert str(cid_of(data)) == case["cid"]


def test_other_spellings_are_refused() -> None:
    for case in load_vectors("canonical.json")["refused"]:
        with pytest.raises(ValueError, match="not canonical"):
            decode(bytes.fromhex(case["hex"]))


@given(VALUES)
def test_values_survive_a_round_trip(value: Any) -> None:
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


@given(VALUES)
def test_other_readers_read_the_same(value: Any) -> None:
    def plain(value: Any) -> Any:
        match value:
            case Cid():
                return cbor2.CBORTag(42, b"\0" + bytes(value))
            case list():
                return [plain(item) for item in value]
            case dict():
                return {key: plain(item) for key, item in value.items()}
        return value

    assert cbor2.loads(encode(value)) == plain(value)


@given(st.binary(max_size=64))
def test_bytes_from_outside_are_canonical_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    assert encode(value) == data


@given(VALUES, st.data())
def test_a_changed_byte_is_refused_or_another_value(value: Any, data: st.DataObject) -> None:
    original = encode(value)
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(changed))
    except ValueError:
        return
    assert encode(other) != original


def test_every_published_dag_cbor_block_round_trips_to_its_cid() -> None:
    count = 0
    for cid, data in load_blocks("codec-fixtures.car"):
        if Cid(cid).codec != "dag-cbor":
            continue
        again = encode(decode(data))
        assert again == data
        assert bytes(cid_of(again)) == cid
        count += 1
    assert count == 128


class Small(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, 2), [1, 2]),
        (Small.ONE, 1),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
    ],
)
def test_relatives_of_plain_types_are_taken(value: Any, plain: Any) -> None:
    assert decode(encode(value)) == plain


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**64, -(2**64) - 1, "\ud800"])
def test_values_without_an_encoding_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="encod"):
        encode([value])


@pytest.mark.parametrize("value", [object(), {1, 2}, {1: 2}, bytearray(b"x"), 1j])
def test_types_without_an_encoding_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def nest(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_bounded_both_ways() -> None:
    assert decode(encode(nest(128))) == nest(128)
    loop: list[Any] = []
    loop.append(loop)
    for value in (nest(129), nest(100_000), loop):
        with pytest.raises(ValueError, match="deep"):
            encode(value)
    with pytest.raises(ValueError, match="deep"):
        decode(b"\x81" * 1_000_000)
    with pytest.raises(ValueError, match="hold bytes"):
        decode(b"\xd8\x2a" * 500_000)


def test_the_deepest_value_fits_a_small_stack() -> None:
    done: list[bool] = []

    def work() -> None:
        done.append(decode(encode(nest(128))) == nest(128))

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert done == [True]


def test_cids_are_values() -> None:
    cid = cid_of(b"hello", "raw")
    assert str(cid) == "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
    assert (cid.codec, cid.digest) == ("raw", bytes(cid)[-32:])
    assert cid == Cid(str(cid)) == Cid(bytes(cid)) == pickle.loads(pickle.dumps(cid))
    assert len({cid, Cid(str(cid)), cid_of(b"hello")}) == 2
    assert sorted([cid, cid_of(b"hello")]) == sorted([cid_of(b"hello"), cid], key=bytes)


def test_a_cid_of_version_0_is_kept_as_it_is() -> None:
    text = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"
    cid = Cid(text)
    assert (str(cid), cid.codec, bytes(cid)[:2]) == (text, "dag-pb", b"\x12\x20")
    assert cid == Cid(bytes(cid)) == decode(encode(cid)) == pickle.loads(pickle.dumps(cid))
    assert cid != Cid(b"\x01\x70" + bytes(cid))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "hello",
        b"\x01",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnLBGJ"[:-2],
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
        bytes.fromhex("1220") + bytes(33),
        "BAFKREIBM6JG3UX5QUMHCN2B3FLC3TYU6DMLB4XA7U5BF44YEGNRJHC4YEQ",
        bytes(cid_of(b"hello")) + b"\0",
    ],
)
def test_other_texts_are_no_cids(source: str | bytes) -> None:
    with pytest.raises(ValueError, match="CID"):
        Cid(source)


def test_other_codecs_are_refused() -> None:
    with pytest.raises(ValueError, match="only dag-cbor and raw"):
        cid_of(b"", "dag-json")
