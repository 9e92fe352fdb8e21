"""CARs are read strictly: what is cut, changed, spelled otherwise or too large is refused."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow.errors import BlockNotFoundError, VerificationError
from qflow.storage import (
    BLOCK_BYTES_MAX,
    Block,
    CarParser,
    Database,
    SqliteBlocks,
    read_car,
    write_car,
)
from qflow.storage import _car as car_of
from tests.conftest import ROOT as ROOT_FOLDER


def raw(data: bytes) -> Block:
    return bytes(_core.cid_of(data, "raw")), data


def node(*parts: Block) -> Block:
    data = _core.encode({"links": [_core.Cid(cid) for cid, _ in parts]})
    return bytes(_core.cid_of(data)), data


LEAVES = [raw(b"leaf %d" % number * number * 40) for number in range(8)]
ROOT = node(*LEAVES)
BLOCKS = [ROOT, *LEAVES]


def car_of_blocks(blocks: Iterable[Block] = BLOCKS, root: Block = ROOT) -> bytes:
    return b"".join(write_car([root[0]], blocks))


def read(data: bytes) -> tuple[list[bytes], list[Block]]:
    roots, blocks = read_car(io.BytesIO(data))
    return roots, list(blocks)


def feed_bytes(parser: CarParser, data: bytes) -> None:
    for at in range(len(data)):
        parser.feed(data[at : at + 1])
    parser.finish()


def refused(data: bytes, why: str) -> None:
    """By the reader, and in pieces of one byte."""
    with pytest.raises(VerificationError, match=why):
        read(data)
    parser = CarParser()
    with pytest.raises(VerificationError, match=why):
        feed_bytes(parser, data)


def section(cid: bytes, data: bytes) -> bytes:
    return car_of._varint(len(cid) + len(data)) + cid + data


def with_header(value: object, rest: bytes = b"") -> bytes:
    header = value if isinstance(value, bytes) else _core.encode(value)
    return car_of._varint(len(header)) + header + rest


HEADER = {"roots": [_core.Cid(ROOT[0])], "version": 1}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    data = car_of_blocks()
    assert read(data) == ([ROOT[0]], BLOCKS)
    (tmp_path / "x.car").write_bytes(data)
    with (tmp_path / "x.car").open("rb") as file:
        roots, blocks = read_car(file)
        assert (roots, list(blocks)) == ([ROOT[0]], BLOCKS)


def test_the_bytes_are_locked() -> None:
    vector = json.loads((ROOT_FOLDER / "tests" / "vectors" / "car.json").read_text())
    roots = [bytes(_core.Cid(root)) for root in vector["roots"]]
    blocks = [
        (bytes(_core.Cid(one["cid"])), bytes.fromhex(one["data"])) for one in vector["blocks"]
    ]
    data = bytes.fromhex(vector["car"])
    assert b"".join(write_car(roots, blocks)) == data
    assert read(data) == (roots, blocks)


def test_the_bytes_are_those_of_the_specification() -> None:
    leaf = raw(b"qflow")
    header = cbor2.dumps({"roots": [cbor2.CBORTag(42, b"\x00" + leaf[0])], "version": 1})
    section = bytes([36 + 5]) + leaf[0] + b"qflow"
    data = bytes([len(header)]) + header + section
    assert b"".join(write_car([leaf[0]], [leaf])) == data


def test_a_block_of_a_codec_that_is_not_known_is_refused() -> None:
    data = (ROOT_FOLDER / "tests" / "vectors" / "codec-fixtures.car").read_bytes()
    with pytest.raises(VerificationError, match="no kind that is known: 01a90212"):  # DAG-JSON
        read(data)


@given(st.lists(st.integers(1, 5_000), max_size=40))
def test_pieces_of_any_size_give_the_same(sizes: list[int]) -> None:
    data, parser, found, at = car_of_blocks(), CarParser(), list[Block](), 0
    for size in [*sizes, len(data)]:
        found += parser.feed(data[at : at + size])
        at += size
    parser.finish()
    assert (parser.roots, found) == ([ROOT[0]], BLOCKS)


def test_ten_thousand_roots_are_read_and_the_bound_is_named() -> None:
    leaves = [raw(b"%d" % number) for number in range(10_000)]
    roots = [cid for cid, _ in leaves]
    assert read(b"".join(write_car(roots, leaves))) == (roots, leaves)
    many = roots * 3
    with pytest.raises(ValueError, match="30000 roots"):
        write_car(many, [])
    header = _core.encode({"roots": [_core.Cid(root) for root in many], "version": 1})
    refused_early = car_of._varint(len(header))
    with pytest.raises(VerificationError, match=f"of {car_of.HEADER_BYTES_MAX}"):
        CarParser().feed(refused_early)


def test_a_block_of_two_mib_is_read_and_one_more_byte_refused() -> None:
    large = raw(bytes(BLOCK_BYTES_MAX))
    assert read(car_of_blocks([large], large)) == ([large[0]], [large])
    larger = raw(bytes(BLOCK_BYTES_MAX + 1))
    with pytest.raises(ValueError, match=str(BLOCK_BYTES_MAX)):
        list(write_car([larger[0]], [larger]))
    with pytest.raises(VerificationError, match="larger than"):
        read(with_header(HEADER, section(*larger)))
    # Before its bytes are there to be kept.
    parser = CarParser()
    parser.feed(with_header(HEADER))
    with pytest.raises(VerificationError, match="larger than"):
        parser.feed(car_of._varint(1 << 27))


@pytest.mark.holds("S14")
def test_a_car_that_is_cut_is_refused_or_ends_between_two_blocks(tmp_path: Path) -> None:
    data = car_of_blocks()
    ends = {len(with_header(HEADER))}
    for cid, content in BLOCKS:
        ends.add(max(ends) + len(section(cid, content)))
    whole = 0
    for at in range(len(data)):
        if at in ends:
            roots, blocks = read(data[:at])
            assert roots == [ROOT[0]]
            assert blocks == BLOCKS[: len(blocks)]
            whole += 1
        else:
            with pytest.raises(VerificationError, match="ends"):
                read(data[:at])
    assert whole == len(BLOCKS)
    # What is missing then, the pin says.
    with Database(tmp_path / "state.db") as database:
        store = SqliteBlocks(database)
        store.ingest(read(data[: sorted(ends)[-2]])[1])
        with pytest.raises(BlockNotFoundError):
            database.write(lambda db: store.pin_block(db, ROOT[0]))


@pytest.mark.holds("S14")
def test_any_changed_byte_is_refused_or_other_roots_or_a_missing_block() -> None:
    blocks = BLOCKS[:4]
    data = car_of_blocks(blocks)
    quiet = []
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            roots, found = read(bytes(changed))
        except VerificationError:
            continue
        quiet.append(at)
        # Of a root nothing says what it should be; the codec of a CID is not hashed.
        assert roots != [ROOT[0]] or dict(blocks).keys() - dict(found).keys()
        assert all(hashlib.sha256(data).digest() == cid[4:] for cid, data in found)
    assert len(quiet) <= len(ROOT[0]) + len(blocks)


@pytest.mark.holds("S11")
def test_a_block_that_is_not_what_its_cid_says_is_refused() -> None:
    other = LEAVES[3][0], LEAVES[4][1]
    refused(car_of_blocks([ROOT, other]), "is not what its CID says")
    given = read_car(io.BytesIO(car_of_blocks([ROOT, *[raw(bytes(99_999))] * 9, other])))[1]
    assert next(given) == ROOT
    with pytest.raises(VerificationError):
        list(given)


def test_a_block_that_is_no_canonical_dag_cbor_is_refused() -> None:
    data = b"\x18\x01"
    refused(car_of_blocks([(bytes(_core.cid_of(data)), data)]), "is not what its CID says")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "empty"),
        (b"\xa2", "header"),
        ([1], "not {roots, version}"),
        ({"version": 1}, "not {roots, version}"),
        ({"roots": []}, "not {roots, version}"),
        ({**HEADER, "more": 1}, "not {roots, version}"),
        ({**HEADER, "version": 2}, "of version 2"),
        ({"version": 2}, "not {roots, version}"),
        ({**HEADER, "version": 1.0}, "of version 1.0"),
        ({**HEADER, "version": True}, "of version True"),
        ({**HEADER, "version": "1"}, "of version '1'"),
        ({**HEADER, "roots": [b"\x01\x55"]}, "not a list of CIDs"),
        ({**HEADER, "roots": {"a": _core.Cid(ROOT[0])}}, "not a list of CIDs"),
        ({**HEADER, "roots": None}, "not a list of CIDs"),
        (b"\xa2gversion\x01eroots\x80", "header"),  # its keys are out of order
        (b"\xa2eroots\x80gversion\x18\x01", "header"),  # its number is too long
        (b"\xa2eroots\x80gversion\x01\x00", "header"),
        (b"\xbferoots\x80gversion\x01\xff", "header"),
    ],
)
def test_a_header_of_any_other_form_is_refused(header: object, why: str) -> None:
    refused(with_header(header, section(*ROOT)), why)


def test_a_car_without_roots_has_none() -> None:
    assert read(with_header({"roots": [], "version": 1}, section(*ROOT))) == ([], [ROOT])
    with pytest.raises(ValueError, match="root"):
        write_car([], [ROOT])
    with pytest.raises(ValueError, match="CID"):
        write_car([b"\x01\x55\x12"], [])


@pytest.mark.parametrize("data", [b"", b"\x3a", b"\x3a\xa2eroots"])
def test_what_ends_in_its_header_is_no_car(data: bytes) -> None:
    refused(data, "ends in its header")


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (b"\x00", "a section is empty"),
        (section(*ROOT) + bytes(64), "a section is empty"),  # padding, as some readers take it
        (b"\x80\x00", "longer than it has to be"),
        (b"\xa9\x80\x00" + section(*LEAVES[1])[1:], "longer than it has to be"),
        (b"\xff\xff\xff\xff\x7f", "larger than any"),
        (b"\x80" * 4, "larger than any"),
        (b"\x80" * 20, "larger than any"),
        (b"\x01\x01", "no kind that is known"),
        (section(ROOT[0][:-1], b""), "no kind that is known"),
        # By identity: its bytes are its name, and nothing has to be sent.
        (section(b"\x01\x55\x00\x20" + bytes(32), b""), "is not what its CID says"),
        (section(b"\x01\x55\x00\x03abc", b"abc"), "no kind that is known"),
        # CIDv0, another version, sha2-512, a codec of two bytes.
        (section(b"\x12\x20" + bytes(32), b"\n\x00"), "no kind that is known"),
        (section(b"\x02" + LEAVES[1][0][1:], LEAVES[1][1]), "no kind that is known"),
        (section(b"\x01\x55\x13\x40" + hashlib.sha512(b"x").digest(), b"x"), "no kind"),
        (section(b"\x01\xa9\x02\x12\x20" + hashlib.sha256(b"{}").digest(), b"{}"), "no kind"),
        (section(b"\x01\x55\x16\x20" + hashlib.sha3_256(b"x").digest(), b"x"), "not what its CID"),
    ],
)
def test_a_section_of_any_other_form_is_refused(rest: bytes, why: str) -> None:
    refused(with_header(HEADER, rest), why)


def test_a_block_may_come_twice_and_need_not_be_a_roots() -> None:
    stranger = raw(b"nobody links to it")
    blocks = [*BLOCKS, BLOCKS[2], stranger, stranger]
    assert read(car_of_blocks(blocks)) == ([ROOT[0]], blocks)


def test_an_empty_block_is_a_block() -> None:
    empty = raw(b"")
    assert read(car_of_blocks([empty], empty)) == ([empty[0]], [empty])


def test_a_store_is_written_and_read_as_a_whole(tmp_path: Path) -> None:
    with Database(tmp_path / "one.db") as one, Database(tmp_path / "two.db") as two:
        source, target = SqliteBlocks(one), SqliteBlocks(two)
        source.ingest(BLOCKS)
        data = b"".join(write_car([ROOT[0]], source.walk([ROOT[0]])))
        roots, blocks = read_car(io.BytesIO(data))
        assert target.ingest(blocks) == len(BLOCKS)
        two.write(lambda db: target.pin_block(db, roots[0]))
        assert target.load([cid for cid, _ in BLOCKS]) == [data for _, data in BLOCKS]
